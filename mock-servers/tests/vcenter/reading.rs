//! Reads: pages, paths, views, updates.

use std::time::Duration;

use mock_servers::vcenter::{Options, Switches};

use crate::client::{Api, Center, Node, center, extra, props, start, through, world};

const COLLECTOR: (&str, &str) = ("PropertyCollector", "propertyCollector");

#[tokio::test]
async fn reads_come_in_pages_and_tokens_serve_once() {
    let center = center().await;
    let api = &center.api;
    for number in 0..120 {
        center.control.clone_vm(&center.vm("old-print"), &format!("many-{number}"));
    }
    let view = api.view(&center, &["VirtualMachine"]).await;
    let spec = props("VirtualMachine", &["name"]) + &through("ContainerView", &view);
    let first = api.retrieve(&spec, "").await.value();
    assert_eq!(first.all("objects").len(), 100);
    let token = format!("<token>{}</token>", first.text("token"));
    let other = api.fresh();
    other.log_in(("reader@vsphere.local", "sandbox-reader")).await;
    other
        .call("ContinueRetrievePropertiesEx", COLLECTOR, &token)
        .await
        .refused("InvalidProperty", "token");
    let second = api.call("ContinueRetrievePropertiesEx", COLLECTOR, &token).await.value();
    assert_eq!((second.all("objects").len(), second.text("token")), (27, ""));
    api.call("ContinueRetrievePropertiesEx", COLLECTOR, &token)
        .await
        .refused("InvalidProperty", "token");
    let all = api.retrieve(&spec, "<maxObjects>500</maxObjects>").await.value();
    assert_eq!(all.all("objects").len(), 127);
    for none in ["0", "-1"] {
        let options = format!("<maxObjects>{none}</maxObjects>");
        api.retrieve(&spec, &options).await.refused("InvalidArgument", "maxObjects");
    }
}

#[tokio::test]
async fn one_view_reads_the_whole_inventory() {
    let center = center().await;
    let api = &center.api;
    let kinds = [
        "Datacenter",
        "Folder",
        "ComputeResource",
        "HostSystem",
        "ResourcePool",
        "VirtualMachine",
        "Datastore",
        "Network",
        "DistributedVirtualSwitch",
    ];
    let view = api.view(&center, &kinds).await;
    let spec = [
        props(
            "VirtualMachine",
            &[
                "name",
                "parent",
                "resourcePool",
                "runtime.powerState",
                "runtime.connectionState",
                "runtime.host",
                "config.template",
                "config.uuid",
                "config.instanceUuid",
                "config.changeVersion",
                "config.guestId",
                "config.version",
                "config.firmware",
                "config.annotation",
                "config.hardware.numCPU",
                "config.hardware.numCoresPerSocket",
                "config.hardware.memoryMB",
                "config.hardware.device",
                "config.cpuHotAddEnabled",
                "config.cpuHotRemoveEnabled",
                "config.memoryHotAddEnabled",
                "datastore",
                "network",
                "snapshot",
                "guest.toolsRunningStatus",
                "guest.hostName",
                "guest.net",
                "customValue",
                "runtime.question",
                "recentTask",
            ],
        ),
        props(
            "HostSystem",
            &[
                "name",
                "parent",
                "runtime.connectionState",
                "runtime.inMaintenanceMode",
                "summary.hardware.memorySize",
                "summary.hardware.numCpuCores",
                "summary.hardware.numCpuThreads",
                "summary.hardware.cpuMhz",
                "summary.quickStats.overallCpuUsage",
                "summary.quickStats.overallMemoryUsage",
                "datastore",
                "network",
                "summary.config.product.version",
            ],
        ),
        props(
            "ComputeResource",
            &["name", "parent", "host", "resourcePool", "datastore", "network", "summary"],
        ),
        props("ClusterComputeResource", &["configurationEx"]),
        props(
            "ResourcePool",
            &[
                "name",
                "parent",
                "owner",
                "resourcePool",
                "config.cpuAllocation",
                "config.memoryAllocation",
                "runtime.cpu",
                "runtime.memory",
            ],
        ),
        props(
            "Datastore",
            &[
                "name",
                "parent",
                "summary.capacity",
                "summary.freeSpace",
                "summary.uncommitted",
                "summary.accessible",
                "summary.maintenanceMode",
                "summary.type",
                "summary.url",
                "host",
            ],
        ),
        props("Network", &["name", "parent", "summary.accessible"]),
        props("DistributedVirtualPortgroup", &["key", "config.distributedVirtualSwitch"]),
        props("DistributedVirtualSwitch", &["name", "uuid", "config.uplinkPortgroup"]),
        props("Folder", &["name", "parent", "childType"]),
        props(
            "Datacenter",
            &["name", "parent", "vmFolder", "hostFolder", "datastoreFolder", "networkFolder"],
        ),
    ]
    .concat()
        + &through("ContainerView", &view);
    let result = api.retrieve(&spec, "<maxObjects>500</maxObjects>").await.value();
    let of = |kind: &str| -> Vec<Node> {
        let all = result.all("objects").into_iter();
        all.filter(|it| it.get("obj").unwrap().attribute("type") == kind).cloned().collect()
    };
    assert_eq!(
        (of("HostSystem").len(), of("Datastore").len(), of("VirtualMachine").len()),
        (3, 3, 7)
    );
    let cluster = &of("ClusterComputeResource")[0];
    let summary = cluster.prop("summary").unwrap();
    // One is in bytes, the other in MiB.
    assert_eq!(summary.text("totalMemory"), ((3_u64 * 64) << 30).to_string());
    assert_eq!(summary.text("effectiveMemory"), (3 * 64 * 1024).to_string());
    assert_eq!(cluster.prop("configurationEx").unwrap().text("drsConfig/enabled"), "true");
    let group = of("DistributedVirtualPortgroup")
        .into_iter()
        .find(|it| it.prop("name").unwrap().text == "dvs-app");
    let switch = &of("VmwareDistributedVirtualSwitch")[0];
    assert_eq!(
        group.unwrap().prop("config.distributedVirtualSwitch").unwrap().text,
        switch.text("obj")
    );
    let template = of("VirtualMachine")
        .into_iter()
        .find(|it| it.prop("name").unwrap().text == "tpl-debian-13")
        .unwrap();
    assert!(template.prop("resourcePool").is_none() && template.prop("runtime.question").is_none());
    assert_eq!(template.prop("config.template").unwrap().text, "true");
    let devices = template.prop("config.hardware.device").unwrap();
    assert_eq!(devices.attribute("xsi:type"), "ArrayOfVirtualDevice");
    let disk = devices.kids.iter().find(|it| it.attribute("xsi:type") == "VirtualDisk").unwrap();
    assert_eq!((disk.name.as_str(), disk.text("capacityInKB")), ("VirtualDevice", "8388608"));
    assert!(disk.get("backing/parent").is_some(), "a snapshot leaves a chain");
    assert_eq!(center.control.counts().values().sum::<usize>(), 3);
}

#[tokio::test]
async fn paths_are_known_keyed_or_refused() {
    let center = center().await;
    let api = &center.api;
    let vm = center.vm("old-print");
    center.reconfigure(&vm, &extra("a.b", "x &lt; y")).await;
    let on = ("VirtualMachine", vm.as_str());
    let keyed = "config.extraConfig[\"a.b\"].value";
    let found = api.read(on, &[keyed, "config.extraConfig[\"none\"].value", "snapshot"]).await;
    let value = found.prop(keyed).expect("a value");
    assert_eq!((value.text.as_str(), value.attribute("xsi:type")), ("x < y", "xsd:string"));
    assert_eq!(found.all("propSet").len(), 1);
    assert!(found.all("missingSet").is_empty());
    let whole = api.read(on, &["config.extraConfig"]).await;
    assert_eq!(whole.prop("config.extraConfig").unwrap().all("OptionValue").len(), 9);
    let object = format!("<objectSet><obj type=\"VirtualMachine\">{vm}</obj></objectSet>");
    for path in ["config.nope", "config.hardware.device.key", "nope"] {
        let spec = props("VirtualMachine", &["name", path]) + &object;
        api.retrieve(&spec, "").await.refused("InvalidProperty", path);
    }
    let spec = props("Nothing", &["name"]) + &object;
    api.retrieve(&spec, "").await.refused("InvalidType", "Nothing");
    let gone = props("VirtualMachine", &["name"])
        + "<objectSet><obj type=\"VirtualMachine\">vm-9</obj></objectSet>";
    api.retrieve(&gone, "").await.refused("ManagedObjectNotFound", "vm-9");

    let switches = Switches { no_keyed_paths: true, ..Switches::default() };
    let center = start(world(), Options { switches, ..Options::new(1) }).await;
    let spec = props("VirtualMachine", &[keyed]) + &object;
    center.api.retrieve(&spec, "").await.refused("InvalidProperty", "extraConfig");
}

#[tokio::test]
async fn nothing_at_all_is_no_answer() {
    let center = center().await;
    let view = center.api.view(&center, &["Datacenter"]).await;
    let spec = props("VirtualMachine", &["name"]) + &through("ContainerView", &view);
    assert!(center.api.retrieve(&spec, "").await.done().kids.is_empty());
    let on = ("ContainerView", view.as_str());
    center.api.call("DestroyView", on, "").await.done();
    center.api.retrieve(&spec, "").await.refused("ManagedObjectNotFound", "session[");
}

/// A collector with a filter over a list of tasks.
async fn filter(api: &Api, tasks: &[&str]) -> (String, String) {
    let collector = api.call("CreatePropertyCollector", COLLECTOR, "").await.value().text;
    let list: String = tasks.iter().map(|it| format!("<obj type=\"Task\">{it}</obj>")).collect();
    let view = api.call("CreateListView", ("ViewManager", "ViewManager"), &list).await.value().text;
    let spec = props("Task", &["info.state", "info.progress", "info.error", "info.result"])
        + &through("ListView", &view);
    let args = format!("<spec>{spec}</spec><partialUpdates>true</partialUpdates>");
    api.call("CreateFilter", ("PropertyCollector", &collector), &args).await.value();
    (collector, view)
}

async fn updates(api: &Api, collector: &str, version: &str, seconds: u32) -> Option<Node> {
    let args = format!(
        "<version>{version}</version><options><maxWaitSeconds>{seconds}</maxWaitSeconds></options>"
    );
    api.call("WaitForUpdatesEx", ("PropertyCollector", collector), &args)
        .await
        .done()
        .get("returnval")
        .cloned()
}

fn state_of(update: &Node) -> String {
    let object = update.get("filterSet/objectSet").expect("an object");
    let change = object.all("changeSet").into_iter().find(|it| it.text("name") == "info.state");
    change.map_or_else(String::new, |it| it.text("val").to_owned())
}

#[tokio::test]
async fn tasks_are_waited_for_with_one_long_poll() {
    let center = center().await;
    let api = &center.api;
    let vm = center.vm("old-print");
    let task = api.call("PowerOnVM_Task", ("VirtualMachine", &vm), "").await.value().text;
    let (collector, view) = filter(api, &[&task]).await;
    let first = updates(api, &collector, "", 10).await.expect("the present state");
    assert_eq!(first.text("filterSet/objectSet/kind"), "enter");
    let (mut seen, mut last) = (vec![state_of(&first)], first.text("version").to_owned());
    while seen.last().unwrap() != "success" {
        let next = updates(api, &collector, &last, 100).await.expect("a change");
        last = next.text("version").to_owned();
        let state = state_of(&next);
        if !state.is_empty() {
            seen.push(state);
        }
    }
    // A lost answer is told again; an unknown version is not.
    let before = (last.parse::<u64>().unwrap() - 1).to_string();
    let told = updates(api, &collector, &before, 0).await.expect("once more");
    let on = ("PropertyCollector", collector.as_str());
    api.call("WaitForUpdatesEx", on, "<version>77</version>")
        .await
        .refused("InvalidCollectorVersion", "");
    let version = told.text("version").to_owned();
    assert!(updates(api, &collector, &version, 1).await.is_none(), "nothing new");
    // More tasks come into the list; what is not there is given back.
    let off = api.call("PowerOffVM_Task", ("VirtualMachine", &vm), "").await.value().text;
    let args = format!("<add type=\"Task\">{off}</add><add type=\"Task\">task-777</add>");
    let lost = api.call("ModifyListView", ("ListView", &view), &args).await.done();
    assert_eq!(lost.text("returnval"), "task-777");
    let next = updates(api, &collector, &version, 100).await.expect("the new one");
    assert_eq!(next.text("filterSet/objectSet/obj"), off);
    api.call("DestroyPropertyCollector", on, "").await.done();
    api.call("WaitForUpdatesEx", on, "").await.refused("ManagedObjectNotFound", "session[");
}

#[tokio::test]
async fn a_wait_can_be_canceled() {
    let center = center().await;
    let api = center.api.clone();
    let (collector, _) = filter(&api, &[]).await;
    let waiting = {
        let (api, collector) = (api.clone(), collector.clone());
        tokio::spawn(async move {
            api.call("WaitForUpdatesEx", ("PropertyCollector", &collector), "").await
        })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    api.call("CancelWaitForUpdates", ("PropertyCollector", &collector), "").await.done();
    let reply =
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("in time").unwrap();
    reply.refused("RequestCanceled", "");
}

#[tokio::test]
async fn tasks_are_forgotten_after_a_while() {
    let center: Center = center().await;
    let vm = center.vm("old-print");
    let task = center.api.call("PowerOnVM_Task", ("VirtualMachine", &vm), "").await.value().text;
    center.api.ended(&task).await;
    let recent = center.api.read(("VirtualMachine", &vm), &["recentTask"]).await;
    assert_eq!(recent.prop("recentTask").unwrap().kids[0].text, task);
    center.control.advance(Duration::from_secs(601));
    let spec = props("Task", &["info"])
        + &format!("<objectSet><obj type=\"Task\">{task}</obj></objectSet>");
    center.api.retrieve(&spec, "").await.refused("ManagedObjectNotFound", &task);
}

#[tokio::test]
async fn a_thousand_machines_take_few_calls_and_pages_are_no_snapshot() {
    let center = center().await;
    let api = &center.api;
    let like = center.vm("old-print");
    center.control.edit(|world| {
        let entity = world.entities[&like].clone();
        for number in 0..1000 {
            let mut copy = entity.clone();
            copy.name = format!("many-{number}");
            world.add("vm", copy);
        }
    });
    let view = api.view(&center, &["VirtualMachine"]).await;
    let paths = ["name", "runtime.powerState", "config.hardware.numCPU", "config.annotation"];
    let spec = props("VirtualMachine", &paths) + &through("ContainerView", &view);
    center.control.clear_requests();
    let mut page = api.retrieve(&spec, "<maxObjects>500</maxObjects>").await.value();
    let mut seen = page.all("objects").len();
    let mut late_ones: Vec<String> = page_ids(&center);
    let (last, before_last) = (late_ones.pop().unwrap(), late_ones.pop().unwrap());
    center.control.edit(|world| {
        world.entities.remove(&last);
        world.vm_mut(&before_last).unwrap().config.annotation = "late".to_owned();
    });
    let mut late = false;
    while !page.text("token").is_empty() {
        let token = format!("<token>{}</token>", page.text("token"));
        page = api.call("ContinueRetrievePropertiesEx", COLLECTOR, &token).await.value();
        seen += page.all("objects").len();
        late |= page
            .all("objects")
            .iter()
            .any(|it| it.prop("config.annotation").is_some_and(|it| it.text == "late"));
    }
    assert_eq!((seen, late), (1006, true));
    assert!(center.control.requests().len() <= 6);
}

/// Ids of all machines, in the order in which views show them.
fn page_ids(center: &Center) -> Vec<String> {
    center.control.inspect(|world| world.vms().map(|(id, _)| id.to_owned()).collect())
}

#[tokio::test]
async fn single_properties_are_fetched() {
    let center = center().await;
    let vm = center.vm("team-web");
    let on = ("VirtualMachine", vm.as_str());
    let name = center.api.call("Fetch", on, "<prop>name</prop>").await.value();
    assert_eq!((name.text.as_str(), name.attribute("xsi:type")), ("team-web", "xsd:string"));
    let nets = center.api.call("Fetch", on, "<prop>network</prop>").await.value();
    assert_eq!(nets.attribute("xsi:type"), "ArrayOfManagedObjectReference");
    assert!(center.api.call("Fetch", on, "<prop>snapshot</prop>").await.done().kids.is_empty());
    center.api.call("Fetch", on, "<prop>nope</prop>").await.refused("InvalidProperty", "nope");
}

#[tokio::test]
async fn a_page_may_be_smaller_than_what_a_client_takes() {
    let center = start(world(), Options { page_max: 2, ..Options::new(1) }).await;
    let view = center.api.view(&center, &["VirtualMachine"]).await;
    let spec = props("VirtualMachine", &["name"]) + &through("ContainerView", &view);
    let first = center.api.retrieve(&spec, "<maxObjects>500</maxObjects>").await.value();
    assert_eq!(first.all("objects").len(), 2);
    assert!(!first.text("token").is_empty());
}
