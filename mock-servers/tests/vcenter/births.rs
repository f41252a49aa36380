//! New machines: cloned, linked, created; what they get, and what is refused.

use std::time::Duration;

use mock_servers::vcenter::{Options, Timing};

use crate::client::{center, error_of, extra, start, world};

const OFF: &str = "<powerOn>false</powerOn>";

#[tokio::test]
async fn a_clone_carries_everything_but_its_identity() {
    let center = center().await;
    let api = &center.api;
    let source = center.vm("team-web");
    let spec = format!(
        "<config>{}{}</config>{OFF}",
        "<annotation>mine</annotation>",
        extra("novahost.id", "us")
    );
    let args = center.clone_args("web", "", &spec);
    let info = api.done("CloneVM_Task", ("VirtualMachine", &source), &args).await;
    let id = info.text("result").to_owned();
    let (old, new) = center
        .control
        .inspect(|world| (world.vm(&source).unwrap().clone(), world.vm(&id).unwrap().clone()));
    assert_ne!((&old.uuid, &old.instance_uuid), (&new.uuid, &new.instance_uuid));
    assert_eq!((new.config.cpus, new.config.memory_mb), (old.config.cpus, old.config.memory_mb));
    assert_eq!(new.config.annotation, "mine");
    assert_eq!(new.config.extra["novahost.id"], "us");
    // What is not said anew comes along, a mark as well as anything else.
    assert_eq!(new.config.extra["novahost.map"], old.config.extra["novahost.map"]);
    assert_ne!(old.config.nics().next().unwrap().mac, new.config.nics().next().unwrap().mac);
    assert_ne!(old.config.disks().next().unwrap().uuid, new.config.disks().next().unwrap().uuid);
    assert_eq!(new.power, "poweredOff");
    let fresh = api.read(("VirtualMachine", &id), &["name", "config.files.vmPathName"]).await;
    assert_eq!(fresh.prop("config.files.vmPathName").unwrap().text, "[fast] web/web.vmx");
}

#[tokio::test]
async fn we_choose_the_uuids_of_a_clone() {
    let center = center().await;
    let source = center.vm("tpl-debian-13");
    let uuid = "6f9619ff-8b86-5011-b42d-00c04fc964ff";
    let ids =
        format!("<config><uuid>{uuid}</uuid><instanceUuid>{uuid}</instanceUuid></config>{OFF}");
    let on = ("VirtualMachine", source.as_str());
    center.api.done("CloneVM_Task", on, &center.clone_args("one", "", &ids)).await;
    let search =
        format!("<uuid>{uuid}</uuid><vmSearch>true</vmSearch><instanceUuid>true</instanceUuid>");
    let found =
        center.api.call("FindAllByUuid", ("SearchIndex", "SearchIndex"), &search).await.done();
    assert_eq!(found.text("returnval"), center.vm("one"));
    let again = center.api.task("CloneVM_Task", on, &center.clone_args("two", "", &ids)).await;
    assert_eq!(error_of(&again), "InvalidArgument");
    assert!(center.control.find_vm("two").is_none());
}

#[tokio::test]
async fn a_clone_is_there_before_it_can_be_read() {
    let mut timing = Timing::fast();
    timing.kinds.insert(
        "CloneVM_Task".to_owned(),
        (Duration::from_millis(400), Duration::from_millis(400)),
    );
    let center = start(world(), Options { timing, ..Options::new(1) }).await;
    let api = &center.api;
    let source = center.vm("tpl-debian-13");
    let on = ("VirtualMachine", source.as_str());
    let task = api.call("CloneVM_Task", on, &center.clone_args("web", "", OFF)).await.value().text;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let id = center.vm("web");
    let half =
        api.read(("VirtualMachine", &id), &["name", "config", "config.uuid", "recentTask"]).await;
    assert_eq!(half.prop("name").unwrap().text, "web");
    assert!(half.prop("config").is_none() && half.prop("config.uuid").is_none());
    assert_eq!(half.prop("recentTask").unwrap().kids[0].text, task);
    // Its name is taken already, in any case of its letters; nobody else may work on it or on its source.
    let twice = api.task("CloneVM_Task", on, &center.clone_args("WEB", "", OFF)).await;
    assert_eq!(error_of(&twice), "DuplicateName");
    assert_eq!(twice.get("error/fault/object").unwrap().text, id);
    let busy = api.task("PowerOnVM_Task", ("VirtualMachine", &id), "").await;
    assert_eq!(error_of(&busy), "TaskInProgress");
    assert_eq!(busy.text("error/fault/task"), task);
    let renamed = api.task("Rename_Task", on, "<newName>tpl</newName>").await;
    assert_eq!(error_of(&renamed), "TaskInProgress");
    assert_eq!(api.ended(&task).await.text("result"), id);
    assert!(
        api.read(("VirtualMachine", &id), &["config.uuid"]).await.prop("config.uuid").is_some()
    );
}

#[tokio::test]
async fn copies_queue_at_their_host() {
    let mut timing = Timing::fast();
    timing.kinds.insert(
        "CloneVM_Task".to_owned(),
        (Duration::from_millis(300), Duration::from_millis(300)),
    );
    timing.host_units = 8;
    let center = start(world(), Options { timing, ..Options::new(1) }).await;
    let source = center.vm("tpl-debian-13");
    let mut tasks = Vec::new();
    for number in 0..3 {
        let args = center.clone_args(&format!("web-{number}"), "", OFF);
        let reply = center.api.call("CloneVM_Task", ("VirtualMachine", &source), &args).await;
        tasks.push(reply.value().text);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let states: Vec<String> = center
        .control
        .inspect(|world| tasks.iter().map(|it| world.tasks[it].state.clone()).collect());
    assert_eq!(states, ["running", "running", "queued"]);
    for task in &tasks {
        assert_eq!(center.api.ended(task).await.text("state"), "success");
    }
}

#[tokio::test]
async fn linked_clones_go_on_from_a_snapshot() {
    let center = center().await;
    let api = &center.api;
    let source = center.vm("tpl-debian-13");
    let on = ("VirtualMachine", source.as_str());
    let linked = "<diskMoveType>createNewChildDiskBacking</diskMoveType>";
    let without = api.task("CloneVM_Task", on, &center.clone_args("a", linked, OFF)).await;
    assert_eq!(error_of(&without), "InvalidArgument");
    let snapshot =
        center.control.inspect(|world| world.vm(&source).unwrap().snapshots[0].id.clone());
    let rest = format!("{OFF}<snapshot type=\"VirtualMachineSnapshot\">{snapshot}</snapshot>");
    let info = api.done("CloneVM_Task", on, &center.clone_args("a", linked, &rest)).await;
    let id = info.text("result").to_owned();
    let volume = center.control.inspect(|world| {
        world.volumes[&world.vm(&id).unwrap().config.disks().next().unwrap().file].clone()
    });
    assert_eq!(volume.parent.as_deref(), Some("[fast] tpl-debian-13/tpl-debian-13.vmdk"));
    assert!(volume.used < 1 << 30);
    // A disk with a parent does not grow.
    let disk = disk_of(&center, &id).await;
    let grown = disk
        .replace("<capacityInKB>8388608<", "<capacityInKB>16777216<")
        .replace("<capacityInBytes>8589934592<", "<capacityInBytes>17179869184<");
    let change = format!("<deviceChange><operation>edit</operation>{grown}</deviceChange>");
    assert_eq!(error_of(&center.reconfigure(&id, &change).await), "InvalidDeviceOperation");
    // What others are built on outlives its machine.
    api.done("Destroy_Task", on, "").await;
    assert!(
        center
            .control
            .inspect(|world| world.volumes.contains_key("[fast] tpl-debian-13/tpl-debian-13.vmdk"))
    );
}

/// The first disk of a machine, as it is read and sent back.
pub async fn disk_of(center: &crate::client::Center, id: &str) -> String {
    let spec = crate::client::props("VirtualMachine", &["config.hardware.device[2000]"])
        + &format!("<objectSet><obj type=\"VirtualMachine\">{id}</obj></objectSet>");
    let text = center.api.retrieve(&spec, "").await.text;
    let from = text.find("<val").expect("a device");
    let to = text.find("</val>").expect("its end");
    let inner = &text[text[from..].find('>').unwrap() + from + 1..to];
    format!("<device xsi:type=\"VirtualDisk\">{inner}</device>")
}

#[tokio::test]
async fn refusals_of_births() {
    let mut world = world();
    let fast = world.find("Datastore", "fast").unwrap().to_owned();
    if let mock_servers::vcenter::world::Kind::Datastore(store) =
        &mut world.entities.get_mut(&fast).unwrap().kind
    {
        store.other_used = store.capacity - (18 << 30);
    }
    let center = start(world, Options::new(1)).await;
    let api = &center.api;
    let source = center.vm("tpl-debian-13");
    let on = ("VirtualMachine", source.as_str());
    let folder = center.id("Folder", "novahost");
    let no_pool = format!(
        "<folder type=\"Folder\">{folder}</folder><name>a</name><spec><location/><template>false</template>{OFF}</spec>"
    );
    let info = api.task("CloneVM_Task", on, &no_pool).await;
    assert_eq!(
        (error_of(&info), info.text("error/fault/invalidProperty")),
        ("InvalidArgument", "spec.location.pool")
    );
    let host_folder = center.id("Folder", "host");
    let elsewhere = center.clone_args("a", "", OFF).replace(&folder, &host_folder);
    assert_eq!(error_of(&api.task("CloneVM_Task", on, &elsewhere).await), "InvalidFolder");
    let lvm = center.vm("tpl-ubuntu-24");
    let store = format!("<datastore type=\"Datastore\">{fast}</datastore>");
    for number in 0..2 {
        let args = center.clone_args(&format!("b{number}"), &store, OFF);
        center.api.done("CloneVM_Task", ("VirtualMachine", &lvm), &args).await;
    }
    let full = api
        .task("CloneVM_Task", ("VirtualMachine", &lvm), &center.clone_args("b3", &store, OFF))
        .await;
    assert_eq!((error_of(&full), full.text("error/fault/datastore")), ("NoDiskSpace", "fast"));
    assert!(center.control.find_vm("b3").is_none());
    let long = center.clone_args(&"x".repeat(81), "", OFF);
    assert_eq!(error_of(&api.task("CloneVM_Task", on, &long).await), "InvalidName");
    let slash =
        center.clone_args("a/b", &store.replace(&fast, &center.id("Datastore", "local-lvm")), OFF);
    let id = api.done("CloneVM_Task", on, &slash).await.text("result").to_owned();
    assert_eq!(
        api.read(("VirtualMachine", &id), &["name"]).await.prop("name").unwrap().text,
        "a%2fb"
    );
}

fn create_spec(name: &str, disk: &str) -> String {
    format!(
        "<name>{name}</name><version>vmx-19</version><guestId>debian12_64Guest</guestId>\
         <annotation>text</annotation><files><vmPathName>[fast]</vmPathName></files><numCPUs>2</numCPUs>\
         <memoryMB>2048</memoryMB><memoryHotAddEnabled>true</memoryHotAddEnabled>\
         <deviceChange><operation>add</operation><device xsi:type=\"ParaVirtualSCSIController\"><key>-100</key>\
         <busNumber>0</busNumber><sharedBus>noSharing</sharedBus></device></deviceChange>\
         <deviceChange><operation>add</operation><fileOperation>create</fileOperation>\
         <device xsi:type=\"VirtualDisk\"><key>-101</key><backing xsi:type=\"VirtualDiskFlatVer2BackingInfo\">\
         <fileName></fileName><diskMode>persistent</diskMode><thinProvisioned>true</thinProvisioned></backing>\
         {disk}<capacityInKB>20971520</capacityInKB></device></deviceChange>\
         <deviceChange><operation>add</operation><device xsi:type=\"VirtualVmxnet3\"><key>-102</key>\
         <backing xsi:type=\"VirtualEthernetCardNetworkBackingInfo\"><deviceName>web</deviceName></backing>\
         <addressType>manual</addressType><macAddress>02:00:00:AA:00:01</macAddress></device></deviceChange>\
         <deviceChange><operation>add</operation><device xsi:type=\"VirtualCdrom\"><key>-103</key>\
         <backing xsi:type=\"VirtualCdromIsoBackingInfo\"><fileName>[local] iso/opnsense.iso</fileName></backing>\
         <controllerKey>200</controllerKey></device></deviceChange>\
         <extraConfig><key>novahost.id</key><value xsi:type=\"xsd:string\">us</value></extraConfig>\
         <firmware>efi</firmware>"
    )
}

#[tokio::test]
async fn machines_are_created_from_nothing() {
    let center = center().await;
    let api = &center.api;
    let folder = center.id("Folder", "novahost");
    let pool =
        format!("<pool type=\"ResourcePool\">{}</pool>", center.id("ResourcePool", "Resources"));
    let place = "<controllerKey>-100</controllerKey><unitNumber>0</unitNumber>";
    let args = format!("<config>{}</config>{pool}", create_spec("fw", place));
    let id = api.done("CreateVM_Task", ("Folder", &folder), &args).await.text("result").to_owned();
    let found = api
        .read(
            ("VirtualMachine", &id),
            &["config.hardware.device", "config.firmware", "config.instanceUuid"],
        )
        .await;
    assert_eq!(found.prop("config.firmware").unwrap().text, "efi");
    let devices = found.prop("config.hardware.device").unwrap();
    let of = |ty: &str| devices.kids.iter().find(|it| it.attribute("xsi:type") == ty).unwrap();
    assert_eq!(
        of("VirtualDisk").text("controllerKey"),
        of("ParaVirtualSCSIController").text("key")
    );
    assert_eq!(of("VirtualDisk").text("backing/fileName"), "[fast] fw/fw.vmdk");
    assert_eq!(of("VirtualVmxnet3").text("macAddress"), "02:00:00:aa:00:01");
    assert_eq!(of("VirtualCdrom").text("backing/fileName"), "[local] iso/opnsense.iso");
    let again = api.task("CreateVM_Task", ("Folder", &folder), &args).await;
    assert_eq!(error_of(&again), "DuplicateName");
    for wrong in [
        "",
        "<controllerKey>-100</controllerKey><unitNumber>7</unitNumber>",
        "<controllerKey>9</controllerKey>",
    ] {
        let args = format!("<config>{}</config>{pool}", create_spec("fw2", wrong));
        let info = api.task("CreateVM_Task", ("Folder", &folder), &args).await;
        assert_eq!(
            (error_of(&info), info.text("error/fault/deviceIndex")),
            ("InvalidDeviceSpec", "1"),
            "{wrong}"
        );
    }
    let iso = args.replace("opnsense", "nothing").replace("<name>fw", "<name>fw3");
    assert_eq!(
        error_of(&api.task("CreateVM_Task", ("Folder", &folder), &iso).await),
        "FileNotFound"
    );
    assert!(center.control.inspect(|world| !world.volumes.keys().any(|file| file.contains("fw3"))));
}
