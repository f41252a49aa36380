//! Machines that are there: configuration, hot changes, power, snapshots, pools.

use std::time::Duration;

use mock_servers::vcenter::{Options, Switches, Timing};

use crate::births::disk_of;
use crate::client::{center, error_of, extra, start, world};

#[tokio::test]
async fn a_change_on_an_old_reading_is_refused() {
    let center = center().await;
    let vm = center.vm("old-print");
    let old = center.change(&vm);
    let spec =
        |change: &str| format!("<changeVersion>{change}</changeVersion><annotation>x</annotation>");
    assert_eq!(center.reconfigure(&vm, &spec(&old)).await.text("state"), "success");
    let info = center.reconfigure(&vm, &spec(&old)).await;
    assert_eq!(error_of(&info), "ConcurrentAccess");
    let now = center.change(&vm);
    center.control.change_vm(&vm, |vm| vm.config.annotation = "by hand".to_owned());
    assert_eq!(error_of(&center.reconfigure(&vm, &spec(&now)).await), "ConcurrentAccess");
    assert_eq!(center.reconfigure(&vm, &spec(&center.change(&vm))).await.text("state"), "success");
}

#[tokio::test]
async fn running_machines_take_only_what_was_prepared() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    center.api.done("PowerOnVM_Task", on, "").await;
    let cases = [
        ("<numCPUs>4</numCPUs>", "CpuHotPlugNotSupported"),
        ("<memoryMB>4096</memoryMB>", "MemoryHotPlugNotSupported"),
        ("<numCoresPerSocket>2</numCoresPerSocket>", "InvalidPowerState"),
        ("<cpuHotAddEnabled>true</cpuHotAddEnabled>", "InvalidPowerState"),
        ("<memoryMB>2050</memoryMB>", "InvalidArgument"),
    ];
    for (spec, fault) in cases {
        assert_eq!(error_of(&center.reconfigure(&vm, spec).await), fault, "{spec}");
    }
    center.api.done("PowerOffVM_Task", on, "").await;
    let flags =
        "<memoryHotAddEnabled>true</memoryHotAddEnabled><cpuHotAddEnabled>true</cpuHotAddEnabled>";
    center.reconfigure(&vm, flags).await;
    center.api.done("PowerOnVM_Task", on, "").await;
    let more = center.reconfigure(&vm, "<numCPUs>4</numCPUs><memoryMB>4096</memoryMB>").await;
    assert_eq!(more.text("state"), "success");
    for (spec, fault) in [
        ("<numCPUs>2</numCPUs>", "CpuHotPlugNotSupported"),
        ("<memoryMB>2048</memoryMB>", "MemoryHotPlugNotSupported"),
    ] {
        assert_eq!(error_of(&center.reconfigure(&vm, spec).await), fault);
    }
    // All or nothing.
    let half = center.reconfigure(&vm, "<numCPUs>8</numCPUs><memoryMB>2048</memoryMB>").await;
    assert_eq!(error_of(&half), "MemoryHotPlugNotSupported");
    assert_eq!(center.control.inspect(|world| world.vm(&vm).unwrap().config.cpus), 4);

    let switches =
        Switches { hot_add_power_fault: true, three_gib_rule: true, ..Switches::default() };
    let center = start(world(), Options { switches, ..Options::new(1) }).await;
    let info = center.reconfigure(&center.vm("legacy-db"), "<numCPUs>8</numCPUs>").await;
    assert_eq!(error_of(&info), "InvalidPowerState");
    assert_eq!(info.text("error/fault/existingState"), "poweredOn");
}

#[tokio::test]
async fn hardware_gets_newer_while_it_is_off_and_never_older() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    let to = |version: &str| format!("<version>{version}</version>");
    for (version, fault) in
        [("vmx-19", "AlreadyUpgraded"), ("vmx-17", "AlreadyUpgraded"), ("vmx-12", "NotSupported")]
    {
        let info = center.api.task("UpgradeVM_Task", on, &to(version)).await;
        assert_eq!(error_of(&info), fault, "{version}");
    }
    let before = center.change(&vm);
    center.api.done("UpgradeVM_Task", on, &to("vmx-20")).await;
    let version =
        |id: &str| center.control.inspect(|world| world.vm(id).unwrap().config.version.clone());
    assert_eq!(version(&vm), "vmx-20");
    assert_ne!(center.change(&vm), before);
    center.api.done("PowerOnVM_Task", on, "").await;
    let info = center.api.task("UpgradeVM_Task", on, &to("vmx-21")).await;
    assert_eq!(error_of(&info), "InvalidPowerState");
    let template = center.vm("tpl-debian-13");
    let info = center.api.task("UpgradeVM_Task", ("VirtualMachine", &template), "").await;
    assert_eq!(error_of(&info), "InvalidState");
}

#[tokio::test]
async fn a_disk_that_is_named_moves_and_the_others_with_the_machine_unless_named_too() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    let store = |name: &str| {
        let found =
            center.control.inspect(|world| world.find("Datastore", name).map(str::to_owned));
        format!("<datastore type=\"Datastore\">{}</datastore>", found.unwrap())
    };
    let files = || {
        center.control.inspect(|world| {
            let vm = world.vm(&vm).unwrap();
            let disks: Vec<String> = vm.config.disks().map(|it| it.file.clone()).collect();
            (disks, vm.path.clone(), world.volumes.len())
        })
    };
    let (before, path, count) = files();
    let locator =
        |key: i64, name: &str| format!("<disk><diskId>{key}</diskId>{}</disk>", store(name));
    let spec = |inside: String| format!("<spec>{inside}</spec>");
    let key = center.control.inspect(|world| {
        let all = &world.vm(&vm).unwrap().config.devices;
        all.iter().find(|it| it.kind.type_name() == "VirtualDisk").unwrap().key
    });
    center.api.done("RelocateVM_Task", on, &spec(locator(key, "local-lvm"))).await;
    let (moved, same, now) = files();
    assert!(moved[0].starts_with("[local-lvm] ") && moved != before, "{moved:?}");
    assert_eq!((same, now), (path, count), "one file went, one came, and nothing else moved");
    // With the machine's own files go the disks that are not named.
    center.api.done("RelocateVM_Task", on, &spec(store("fast"))).await;
    assert!(files().0[0].starts_with("[fast] "));
    let pinned = format!("{}{}", store("local-lvm"), locator(key, "fast"));
    center.api.done("RelocateVM_Task", on, &spec(pinned)).await;
    let (disks, path, _) = files();
    assert!(
        disks[0].starts_with("[fast] ") && path.starts_with("[local-lvm] "),
        "{disks:?} {path}"
    );
    let info = center.api.task("RelocateVM_Task", on, &spec(locator(9, "fast"))).await;
    assert_eq!(error_of(&info), "InvalidArgument");
}

#[tokio::test]
async fn disks_grow_and_do_not_shrink() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let disk = disk_of(&center, &vm).await;
    let sized = |kib: u64, bytes: u64| {
        let device = disk
            .replace("<capacityInKB>8388608<", &format!("<capacityInKB>{kib}<"))
            .replace("<capacityInBytes>8589934592<", &format!("<capacityInBytes>{bytes}<"));
        format!("<deviceChange><operation>edit</operation>{device}</deviceChange>")
    };
    let gib = 1 << 30;
    assert_eq!(
        error_of(&center.reconfigure(&vm, &sized(0, 16 * gib)).await),
        "InvalidDeviceOperation"
    );
    assert_eq!(
        error_of(&center.reconfigure(&vm, &sized(4 << 20, 4 * gib)).await),
        "InvalidDeviceOperation"
    );
    let grown = center.reconfigure(&vm, &sized(16 << 20, 16 * gib)).await;
    assert_eq!(grown.text("state"), "success");
    let bytes = |vm: &str| {
        center.control.inspect(|world| {
            let disk = world.vm(vm).unwrap().config.disks().next().unwrap().clone();
            (disk.bytes, world.volumes[&disk.file].bytes)
        })
    };
    assert_eq!(bytes(&vm), (16 * gib, 16 * gib));
    center
        .api
        .done(
            "CreateSnapshot_Task",
            ("VirtualMachine", &vm),
            "<name>s</name><memory>false</memory><quiesce>false</quiesce>",
        )
        .await;
    let disk = disk_of(&center, &vm).await;
    let more = disk.replace(">16777216<", ">33554432<").replace(">17179869184<", ">34359738368<");
    let spec = format!("<deviceChange><operation>edit</operation>{more}</deviceChange>");
    assert_eq!(error_of(&center.reconfigure(&vm, &spec).await), "InvalidDeviceOperation");
    let other = disk.replace("<key>2000</key>", "<key>2001</key>");
    let spec = format!("<deviceChange><operation>edit</operation>{other}</deviceChange>");
    assert_eq!(error_of(&center.reconfigure(&vm, &spec).await), "InvalidDeviceSpec");
}

#[tokio::test]
async fn a_detached_disk_stays_and_a_destroyed_one_goes() {
    let center = center().await;
    for (name, operation, left) in
        [("a", "", true), ("b", "<fileOperation>destroy</fileOperation>", false)]
    {
        let vm = center.cloned("tpl-debian-13", name).await;
        let disk = disk_of(&center, &vm).await;
        let spec =
            format!("<deviceChange><operation>remove</operation>{operation}{disk}</deviceChange>");
        assert_eq!(center.reconfigure(&vm, &spec).await.text("state"), "success");
        let file = format!("[fast] {name}/{name}.vmdk");
        assert_eq!(center.control.inspect(|world| world.volumes.contains_key(&file)), left);
    }
}

#[tokio::test]
async fn power_states_are_kept_apart() {
    let timing = Timing {
        boot: Duration::from_millis(700),
        shutdown: Duration::from_millis(300),
        ..Timing::fast()
    };
    let center = start(world(), Options { timing, ..Options::new(1) }).await;
    let api = &center.api;
    let vm = center.cloned("tpl-debian-13", "web").await;
    center.reconfigure(&vm, &extra("guestinfo.userdata", "I2Nsb3VkLWNvbmZpZw==")).await;
    let on = ("VirtualMachine", vm.as_str());
    let off = api.task("PowerOffVM_Task", on, "").await;
    assert_eq!(
        (error_of(&off), off.text("error/fault/existingState")),
        ("InvalidPowerState", "poweredOff")
    );
    api.call("ShutdownGuest", on, "").await.refused("InvalidPowerState", "");
    api.done("PowerOnVM_Task", on, "").await;
    assert_eq!(error_of(&api.task("PowerOnVM_Task", on, "").await), "InvalidPowerState");
    assert_eq!(error_of(&api.task("Destroy_Task", on, "").await), "InvalidPowerState");
    let seen = center.control.objects()[&format!("vm/{vm}")].clone();
    assert_eq!((seen.running, seen.starts, seen.seeded), (true, 1, Some(true)));
    // The tools need their time; going down needs some too.
    api.call("ShutdownGuest", on, "").await.refused("ToolsUnavailable", "");
    tokio::time::sleep(Duration::from_millis(750)).await;
    let up = api.read(on, &["guest.toolsRunningStatus", "guest.net"]).await;
    assert_eq!(up.prop("guest.toolsRunningStatus").unwrap().text, "guestToolsRunning");
    assert_eq!(up.prop("guest.net").unwrap().kids.len(), 1);
    api.call("ShutdownGuest", on, "").await.done();
    let state = || center.control.inspect(|world| world.vm(&vm).unwrap().power.clone());
    assert_eq!(state(), "poweredOn");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(state(), "poweredOff");
    api.done("Destroy_Task", on, "").await;
    assert!(
        center.control.inspect(|world| !world.volumes.keys().any(|file| file.contains(" web/")))
    );
    let print = center.vm("old-print");
    api.done("PowerOnVM_Task", ("VirtualMachine", &print), "").await;
    tokio::time::sleep(Duration::from_millis(750)).await;
    api.call("ShutdownGuest", ("VirtualMachine", &print), "").await.refused("ToolsUnavailable", "");
}

#[tokio::test]
async fn first_boot_data_decide_the_addresses() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let metadata = "instance-id: i-1\nlocal-hostname: web\nnetwork:\n  version: 2\n  ethernets:\n    eth0: {addresses: [10.0.0.9/24]}\n";
    center.reconfigure(&vm, &extra("guestinfo.metadata", metadata)).await;
    center.api.done("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let found = center.api.read(("VirtualMachine", &vm), &["guest.net", "guest.hostName"]).await;
    assert_eq!(found.prop("guest.hostName").unwrap().text, "web");
    assert_eq!(found.prop("guest.net").unwrap().kids[0].text("ipAddress"), "10.0.0.9");
}

#[tokio::test]
async fn memory_is_accounted() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "big").await;
    let pool = center.id("ResourcePool", "Resources");
    let spec = "<memoryMB>65536</memoryMB><memoryAllocation><reservation>65536</reservation></memoryAllocation>";
    center.reconfigure(&vm, spec).await;
    let info = center.api.task("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    assert_eq!(error_of(&info), "InsufficientMemoryResourcesFault");
    assert!(info.text("error/fault/requested").parse::<u64>().unwrap() > 64 << 30);
    // A pool that may not take from its parent has only its own.
    let part = |reservation: u64, expandable: bool| {
        format!(
            "<reservation>{reservation}</reservation><expandableReservation>{expandable}</expandableReservation>\
         <limit>-1</limit><shares><shares>4000</shares><level>normal</level></shares>"
        )
    };
    let args = format!(
        "<name>small</name><spec><cpuAllocation>{}</cpuAllocation><memoryAllocation>{}</memoryAllocation></spec>",
        part(0, true),
        part(512, false)
    );
    let small =
        center.api.call("CreateResourcePool", ("ResourcePool", &pool), &args).await.value().text;
    let member = format!("<list type=\"VirtualMachine\">{vm}</list>");
    center.api.call("MoveIntoResourcePool", ("ResourcePool", &small), &member).await.done();
    center
        .reconfigure(&vm, "<memoryAllocation><reservation>1024</reservation></memoryAllocation>")
        .await;
    let info = center.api.task("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    assert_eq!(error_of(&info), "InsufficientMemoryResourcesFault");
    center
        .reconfigure(&vm, "<memoryAllocation><reservation>256</reservation></memoryAllocation>")
        .await;
    center.api.done("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    // What was in a pool is in its parent when the pool is no more.
    center.api.done("Destroy_Task", ("ResourcePool", &small), "").await;
    assert_eq!(
        center.control.inspect(|world| world.vm(&vm).unwrap().pool.clone()),
        Some(pool.clone())
    );
    let missing = "<name>x</name><spec><cpuAllocation/><memoryAllocation/></spec>";
    center
        .api
        .call("CreateResourcePool", ("ResourcePool", &pool), missing)
        .await
        .refused("InvalidArgument", "spec.cpuAllocation");
    center
        .api
        .call("UpdateConfig", ("ResourcePool", &pool), "<name>x</name>")
        .await
        .refused("NotSupported", "root pool");
}

#[tokio::test]
async fn snapshots_bring_hardware_and_marks_back() {
    let center = center().await;
    let api = &center.api;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    center.reconfigure(&vm, &extra("novahost.id", "first")).await;
    let args = "<name>s</name><memory>false</memory><quiesce>false</quiesce>";
    let snapshot = api.done("CreateSnapshot_Task", on, args).await.text("result").to_owned();
    center
        .reconfigure(&vm, &format!("<numCPUs>4</numCPUs>{}", extra("novahost.id", "second")))
        .await;
    api.done("PowerOnVM_Task", on, "").await;
    let before = center.change(&vm);
    let of = ("VirtualMachineSnapshot", snapshot.as_str());
    api.done("RevertToSnapshot_Task", of, "").await;
    let now = center.control.inspect(|world| world.vm(&vm).unwrap().clone());
    assert_eq!((now.config.cpus, now.power.as_str()), (2, "poweredOff"));
    assert_eq!(now.config.extra["novahost.id"], "first");
    assert_ne!(now.change, before);
    let tree = api.read(on, &["snapshot"]).await;
    let tree = tree.prop("snapshot").unwrap();
    assert_eq!(
        (tree.text("rootSnapshotList/name"), tree.text("currentSnapshot")),
        ("s", snapshot.as_str())
    );
    api.done("RemoveSnapshot_Task", of, "<removeChildren>false</removeChildren>").await;
    assert!(api.read(on, &["snapshot"]).await.prop("snapshot").is_none());
    let file = center
        .control
        .inspect(|world| world.vm(&vm).unwrap().config.disks().next().unwrap().file.clone());
    assert_eq!(file, "[fast] web/web.vmdk");
}

#[tokio::test]
async fn templates_folders_and_moves() {
    let center = center().await;
    let api = &center.api;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    api.call("MarkAsTemplate", on, "").await.done();
    assert!(api.read(on, &["resourcePool"]).await.prop("resourcePool").is_none());
    assert_eq!(error_of(&center.reconfigure(&vm, "<numCPUs>4</numCPUs>").await), "NotSupported");
    assert_eq!(
        center.reconfigure(&vm, "<annotation>t</annotation>").await.text("state"),
        "success"
    );
    assert_eq!(error_of(&api.task("PowerOnVM_Task", on, "").await), "InvalidState");
    let pool = center.id("ResourcePool", "shared-infra");
    api.call("MarkAsVirtualMachine", on, &format!("<pool type=\"ResourcePool\">{pool}</pool>"))
        .await
        .done();
    assert_eq!(api.read(on, &["resourcePool"]).await.prop("resourcePool").unwrap().text, pool);
    let folder = center.id("Folder", "novahost");
    let made =
        api.call("CreateFolder", ("Folder", &folder), "<name>in/ner</name>").await.value().text;
    assert_eq!(api.read(("Folder", &made), &["name"]).await.prop("name").unwrap().text, "in%2fner");
    let twice = api.call("CreateFolder", ("Folder", &folder), "<name>IN/ner</name>").await;
    twice.refused("DuplicateName", &made);
    api.done(
        "MoveIntoFolder_Task",
        ("Folder", &made),
        &format!("<list type=\"VirtualMachine\">{vm}</list>"),
    )
    .await;
    assert_eq!(api.read(on, &["parent"]).await.prop("parent").unwrap().text, made);
    let store = center.id("Datastore", "local-lvm");
    let spec = format!("<spec><datastore type=\"Datastore\">{store}</datastore></spec>");
    api.done("RelocateVM_Task", on, &spec).await;
    let found = api.read(on, &["config.files.vmPathName", "datastore"]).await;
    assert_eq!(found.prop("config.files.vmPathName").unwrap().text, "[local-lvm] web/web.vmx");
    assert_eq!(found.prop("datastore").unwrap().kids.len(), 1);
    // A folder goes with all that is in it.
    api.done("Destroy_Task", ("Folder", &folder), "").await;
    assert!(center.control.find_vm("web").is_none());
}

#[tokio::test]
async fn a_folder_can_go_without_the_files_of_what_is_in_it() {
    let center = center().await;
    let api = &center.api;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let folder = center.id("Folder", "novahost");
    let inside = api.read(("VirtualMachine", &vm), &["parent"]).await;
    assert_eq!(inside.prop("parent").unwrap().text, folder);
    let files = || center.control.inspect(|world| world.volumes.len());
    let before = files();
    api.done("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    let running = api.task("UnregisterAndDestroy_Task", ("Folder", &folder), "").await;
    assert_eq!(error_of(&running), "InvalidPowerState");
    assert!(center.control.find_vm("web").is_some());
    api.done("PowerOffVM_Task", ("VirtualMachine", &vm), "").await;
    api.done("UnregisterAndDestroy_Task", ("Folder", &folder), "").await;
    assert!(center.control.find_vm("web").is_none());
    assert_eq!(files(), before, "its disks are where they were");
    let world = center.control.snapshot();
    assert_eq!(world.find("Folder", "novahost"), None);
    // It is a method of folders alone.
    let store = center.id("Datastore", "local-lvm");
    let wrong = api.call("UnregisterAndDestroy_Task", ("Datastore", &store), "").await;
    assert!(wrong.status >= 400, "{}", wrong.status);
}

#[tokio::test]
async fn a_chain_of_snapshots_has_32_levels_and_all_are_told() {
    let center = center().await;
    let api = &center.api;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    let args =
        |name: &str| format!("<name>{name}</name><memory>false</memory><quiesce>false</quiesce>");
    for level in 1..=32 {
        api.done("CreateSnapshot_Task", on, &args(&format!("s{level}"))).await;
    }
    let more = api.task("CreateSnapshot_Task", on, &args("s33")).await;
    assert_eq!(error_of(&more), "TooManySnapshotLevels");
    let told = api.read(on, &["snapshot", "config.hardware.device"]).await;
    let mut at = told.prop("snapshot").unwrap().get("rootSnapshotList");
    let mut levels = 0;
    while let Some(node) = at {
        levels += 1;
        at = node.get("childSnapshotList");
    }
    assert_eq!(levels, 32);
    let devices = told.prop("config.hardware.device").unwrap();
    let disk = devices.kids.iter().find(|it| it.get("capacityInKB").is_some()).unwrap();
    let (mut files, mut at) = (0, disk.get("backing"));
    while let Some(node) = at {
        files += 1;
        at = node.get("parent");
    }
    assert_eq!(files, 33, "what it writes, and what that goes on from down to the base");
}

#[tokio::test]
async fn events_tell_who_did_what() {
    let center = center().await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    center.api.done("PowerOnVM_Task", ("VirtualMachine", &vm), "").await;
    let filter = format!(
        "<filter><entity><entity type=\"VirtualMachine\">{vm}</entity><recursion>self</recursion></entity>\
         <eventTypeId>vim.event.VmPoweredOnEvent</eventTypeId></filter>"
    );
    let found =
        center.api.call("QueryEvents", ("EventManager", "EventManager"), &filter).await.done();
    let event = found.get("returnval").expect("an event");
    assert_eq!(found.all("returnval").len(), 1);
    assert_eq!(event.attribute("xsi:type"), "VmPoweredOnEvent");
    assert_eq!((event.text("userName"), event.text("vm/name")), ("VSPHERE.LOCAL\\novahost", "web"));
}

#[tokio::test]
async fn of_two_writers_at_once_one_wins() {
    let center = center().await;
    let vm = center.vm("old-print");
    let change = center.change(&vm);
    let args = |cpus: u32| {
        format!("<spec><changeVersion>{change}</changeVersion><numCPUs>{cpus}</numCPUs></spec>")
    };
    let on = ("VirtualMachine", vm.as_str());
    let one = center.api.call("ReconfigVM_Task", on, &args(2)).await.value().text;
    let two = center.api.call("ReconfigVM_Task", on, &args(4)).await.value().text;
    let ends = [center.api.ended(&one).await, center.api.ended(&two).await];
    let states: Vec<&str> = ends.iter().map(|it| it.text("state")).collect();
    assert_eq!(states, ["success", "error"]);
    // Which of the two it is depends on whether the first was still at work.
    assert!(matches!(error_of(&ends[1]), "TaskInProgress" | "ConcurrentAccess"));
    assert_eq!(center.control.inspect(|world| world.vm(&vm).unwrap().config.cpus), 2);
}

#[tokio::test]
async fn nothing_is_left_out_in_silence() {
    let center = center().await;
    let vm = center.vm("old-print");
    for spec in
        ["<swapPlacement>vmDirectory</swapPlacement>", "<alternateGuestName>x</alternateGuestName>"]
    {
        let info = center.reconfigure(&vm, spec).await;
        assert_eq!(error_of(&info), "NotSupported", "{spec}");
        assert!(info.text("error/localizedMessage").contains("in this simulator"));
    }
    let template = center.vm("tpl-debian-13");
    let args = center.clone_args("a", "<transform>sparse</transform>", "<powerOn>false</powerOn>");
    // The transform belongs after the pool: its place is checked first.
    let on = ("VirtualMachine", template.as_str());
    center
        .api
        .call("CloneVM_Task", on, &args)
        .await
        .refused("InvalidRequest", "&quot;pool&quot; seen");
    let args = args
        .replace("<transform>sparse</transform>", "")
        .replace("</pool>", "</pool><transform>sparse</transform>");
    assert_eq!(error_of(&center.api.task("CloneVM_Task", on, &args).await), "NotSupported");
}

#[tokio::test]
async fn a_boot_order_names_devices_that_there_are() {
    let center = center().await;
    let vm = center.vm("old-print");
    let card = |key: i64| {
        format!(
            "<bootOptions><bootOrder xsi:type=\"VirtualMachineBootOptionsBootableEthernetDevice\"><deviceKey>{key}</deviceKey></bootOrder></bootOptions>"
        )
    };
    for key in [-101, 4999] {
        let info = center.reconfigure(&vm, &card(key)).await;
        assert_eq!(error_of(&info), "InvalidArgument", "{key}");
    }
    assert_eq!(center.reconfigure(&vm, &card(4000)).await.text("state"), "success");
    // Another boot option leaves the order as it is.
    let secure = "<bootOptions><efiSecureBootEnabled>false</efiSecureBootEnabled></bootOptions>";
    assert_eq!(center.reconfigure(&vm, secure).await.text("state"), "success");
    let on = ("VirtualMachine", vm.as_str());
    let order = async || {
        let read = center.api.read(on, &["config.bootOptions"]).await;
        read.prop("config.bootOptions").unwrap().text("bootOrder/deviceKey").to_owned()
    };
    assert_eq!(order().await, "4000");
    let gone = "<deviceChange><operation>remove</operation><device xsi:type=\"VirtualVmxnet3\"><key>4000</key></device></deviceChange>";
    assert_eq!(center.reconfigure(&vm, gone).await.text("state"), "success");
    assert_eq!(order().await, "");
}

#[tokio::test]
async fn somebody_s_work_is_in_the_way_until_it_is_done() {
    let center = center().await;
    let vm = center.vm("old-print");
    center.control.busy(&vm, true);
    let info = center.reconfigure(&vm, "<annotation>x</annotation>").await;
    assert_eq!(error_of(&info), "TaskInProgress");
    center.control.busy(&vm, false);
    let info = center.reconfigure(&vm, "<annotation>x</annotation>").await;
    assert_eq!(info.text("state"), "success");
    // Hosts that have enough to do let a copy wait.
    center.control.crowd_hosts(true);
    let source = center.vm("tpl-debian-13");
    let args = center.clone_args("web", "", "<powerOn>false</powerOn>");
    let on = ("VirtualMachine", source.as_str());
    let task = center.api.call("CloneVM_Task", on, &args).await.value().text;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let read = center.api.read(("Task", &task), &["info.state"]).await;
    assert_eq!(read.prop("info.state").unwrap().text, "queued");
    center.control.crowd_hosts(false);
    assert_eq!(center.api.ended(&task).await.text("state"), "success");
}
