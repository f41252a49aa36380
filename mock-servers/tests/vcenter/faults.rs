//! What goes wrong around calls, and what others do in between.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mock_servers::harness::{FaultPlan, Rule, Where};
use mock_servers::vcenter::{Control, Deed, Fault, Options, World, hook, serve};

use crate::client::{Api, USER, center, error_of, extra, props, start, through, world};

fn plant(control: &Control, call: &str, fault: Fault) {
    let at = Where { call: call.to_owned(), ..Where::default() };
    let rule = Rule { name: "one".to_owned(), at, after: 0, times: 1, fault };
    control.set_fault(hook(FaultPlan::new(vec![rule], None)));
}

#[tokio::test]
async fn calls_are_cut_before_and_after_their_effect() {
    let center = center().await;
    let vm = center.vm("old-print");
    let on = ("VirtualMachine", vm.as_str());
    let state = || center.control.inspect(|world| world.vm(&vm).unwrap().power.clone());
    plant(&center.control, "start", Fault::DropBefore);
    center.api.try_call("PowerOnVM_Task", on, "").await.expect_err("a cut");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(state(), "poweredOff");
    for fault in [Fault::DropAfter, Fault::DropDuring] {
        plant(&center.control, "start", fault);
        center.api.try_call("PowerOnVM_Task", on, "").await.expect_err("a cut");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(state(), "poweredOn");
        center.control.power(&vm, false);
    }
    plant(&center.control, "start", Fault::Status(503, "vpxd is starting".to_owned()));
    let reply = center.api.call("PowerOnVM_Task", on, "").await;
    assert_eq!((reply.status, reply.text.as_str()), (503, "vpxd is starting"));
    plant(&center.control, "start", Fault::Garbage("<html>".to_owned()));
    assert_eq!(center.api.call("PowerOnVM_Task", on, "").await.text, "<html>");
    plant(
        &center.control,
        "stop",
        Fault::Refused("HostCommunication".to_owned(), "lost".to_owned()),
    );
    center.api.call("PowerOffVM_Task", on, "").await.refused("HostCommunication", "lost");
}

#[tokio::test]
async fn tasks_fail_vanish_and_take_long() {
    let center = center().await;
    let api = &center.api;
    let vm = center.vm("old-print");
    let on = ("VirtualMachine", vm.as_str());
    let state = || center.control.inspect(|world| world.vm(&vm).unwrap().power.clone());
    plant(&center.control, "start", Fault::TaskFails("boom".to_owned()));
    let info = api.task("PowerOnVM_Task", on, "").await;
    assert_eq!((error_of(&info), info.text("error/fault/reason")), ("SystemError", "boom"));
    assert_eq!(state(), "poweredOff");
    plant(&center.control, "start", Fault::TaskVanishes);
    let task = api.call("PowerOnVM_Task", on, "").await.value().text;
    tokio::time::sleep(Duration::from_millis(120)).await;
    let spec = props("Task", &["info"])
        + &format!("<objectSet><obj type=\"Task\">{task}</obj></objectSet>");
    api.retrieve(&spec, "").await.refused("ManagedObjectNotFound", &task);
    assert_eq!(state(), "poweredOn");
    plant(&center.control, "clone", Fault::TaskFails("no".to_owned()));
    let args = center.clone_args("web", "", "<powerOn>false</powerOn>");
    let info =
        api.task("CloneVM_Task", ("VirtualMachine", &center.vm("tpl-debian-13")), &args).await;
    assert_eq!(error_of(&info), "SystemError");
    assert!(center.control.find_vm("web").is_none() && center.control.is_idle());
}

#[tokio::test]
async fn a_stale_list_is_an_old_one() {
    let center = center().await;
    let api = &center.api;
    let list = async || {
        let view = api.view(&center, &["VirtualMachine"]).await;
        let spec = props("VirtualMachine", &["name"]) + &through("ContainerView", &view);
        api.retrieve(&spec, "").await.value().all("objects").len()
    };
    plant(&center.control, "nothing", Fault::Stale);
    assert_eq!(list().await, 7);
    center.control.delete_vm(&center.vm("old-print"));
    plant(&center.control, "list", Fault::Stale);
    assert_eq!(list().await, 7);
    assert_eq!(list().await, 6);
}

#[tokio::test]
async fn deeds_come_between() {
    let center = center().await;
    let api = &center.api;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let on = ("VirtualMachine", vm.as_str());
    center.reconfigure(&vm, &extra("novahost.id", "ours")).await;
    let change = center.change(&vm);
    let spec = format!("<changeVersion>{change}</changeVersion><annotation>x</annotation>");
    plant(
        &center.control,
        "configure",
        Fault::Deed(Deed::Rewrite("ours".to_owned(), "theirs".to_owned())),
    );
    assert_eq!(error_of(&center.reconfigure(&vm, &spec).await), "ConcurrentAccess");
    let value =
        center.control.inspect(|world| world.vm(&vm).unwrap().config.extra["novahost.id"].clone());
    assert_eq!(value, "theirs");
    center.control.perform(&Deed::Question(Some("Did you copy it?".to_owned())), Some(&vm));
    assert_eq!(error_of(&api.task("PowerOnVM_Task", on, "").await), "QuestionPending");
    let asked = api.read(on, &["runtime.question"]).await;
    assert_eq!(asked.prop("runtime.question").unwrap().text("text"), "Did you copy it?");
    center.control.perform(&Deed::Question(None), Some(&vm));
    center.control.perform(&Deed::Connection("inaccessible".to_owned()), Some("web"));
    let lost = api.read(on, &["name", "config.uuid", "runtime.connectionState"]).await;
    assert!(lost.prop("config.uuid").is_none() && lost.all("missingSet").is_empty());
    assert_eq!(lost.prop("runtime.connectionState").unwrap().text, "inaccessible");
    center.control.perform(&Deed::Connection("connected".to_owned()), Some("web"));
    center.control.perform(&Deed::Reregister, Some(&vm));
    let again = center.vm("web");
    assert_ne!(again, vm);
    api.call("PowerOnVM_Task", on, "").await.refused("ManagedObjectNotFound", &vm);
    center.control.perform(&Deed::Clone("copy".to_owned()), Some(&again));
    let marks = center.control.inspect(|world| {
        world
            .vms()
            .filter(|(_, vm)| vm.config.extra.get("novahost.id").is_some_and(|it| it == "theirs"))
            .count()
    });
    assert_eq!(marks, 2);
    plant(&center.control, "clone", Fault::Deed(Deed::Occupy));
    let args = center.clone_args("taken", "", "<powerOn>false</powerOn>");
    let info =
        api.task("CloneVM_Task", ("VirtualMachine", &center.vm("tpl-debian-13")), &args).await;
    // The stranger lies where the clone was to go.
    assert_eq!(error_of(&info), "DuplicateName");
    let named = |world: &World| world.entities.values().filter(|it| it.name == "taken").count();
    assert_eq!(center.control.inspect(named), 1);
}

#[tokio::test]
async fn a_host_that_is_lost_takes_its_machines_along() {
    let center = center().await;
    let api = &center.api;
    let vm = center.vm("legacy-db");
    center.control.perform(&Deed::HostOffline("esx1.example.test".to_owned(), true), None);
    let found =
        api.read(("VirtualMachine", &vm), &["runtime.connectionState", "runtime.powerState"]).await;
    assert_eq!(found.prop("runtime.connectionState").unwrap().text, "disconnected");
    assert_eq!(
        error_of(&center.reconfigure(&vm, "<annotation>x</annotation>").await),
        "HostNotConnected"
    );
    let summary = api
        .read(
            ("ClusterComputeResource", &center.id("ClusterComputeResource", "DC0_C0")),
            &["summary.numEffectiveHosts"],
        )
        .await;
    assert_eq!(summary.prop("summary.numEffectiveHosts").unwrap().text, "2");
    // DRS puts a machine elsewhere.
    let args = center.clone_args("web", "", "<powerOn>true</powerOn>");
    let source = center.vm("old-print");
    let info = api.done("CloneVM_Task", ("VirtualMachine", &source), &args).await;
    let host = center.control.inspect(|world| world.vm(info.text("result")).unwrap().host.clone());
    assert_ne!(host, center.id("HostSystem", "esx1.example.test"));
}

#[tokio::test]
async fn effects_are_told_with_their_request() {
    let center = center().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (sink, seen) = (Arc::clone(&told), Arc::clone(&calls));
    center.control.watch(Box::new(move |effect| sink.lock().unwrap().push(effect)));
    center.control.witness(Box::new(move |arrival| seen.lock().unwrap().push(arrival.clone())));
    let vm = center.cloned("tpl-debian-13", "web").await;
    let calls: Vec<_> = calls.lock().unwrap().clone();
    let clone = calls.iter().find(|it| it.call == "clone").expect("the clone");
    assert_eq!((clone.object.as_deref(), clone.mutates), (Some("vm/web"), true));
    assert_eq!(clone.by, "VSPHERE.LOCAL\\novahost");
    assert!(calls.iter().any(|it| it.call == "read-task" && !it.mutates));
    let told = told.lock().unwrap();
    assert!(
        !told.is_empty()
            && told.iter().all(|it| it.request == Some(clone.n) && it.id == format!("vm/{vm}"))
    );
    assert!(
        told[0].before.is_none()
            && told[0].after.as_ref().unwrap().lock.as_deref() == Some("forming")
    );
    assert_eq!(told.last().unwrap().after.as_ref().unwrap().lock, None);
}

#[tokio::test]
async fn the_world_is_kept_and_recorded_without_secrets() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        persist: Some(folder.path().join("world.json")),
        record: Some(folder.path().join("log.jsonl")),
        ..Options::new(1)
    };
    let center = start(world(), options.clone()).await;
    let vm = center.cloned("tpl-debian-13", "web").await;
    let ca = center.server.ca_pem().to_owned();
    let cookie = center.api.cookie.lock().unwrap().clone();
    center.server.stop().await;
    let server = serve(world(), options).await.expect("a server");
    assert_eq!(server.ca_pem(), ca);
    let api = Api::new(&server);
    *api.cookie.lock().unwrap() = cookie;
    api.time().await.refused("NotAuthenticated", "");
    let api = api.fresh();
    api.log_in(USER).await;
    assert_eq!(
        api.read(("VirtualMachine", &vm), &["name"]).await.prop("name").unwrap().text,
        "web"
    );
    let log = std::fs::read_to_string(folder.path().join("log.jsonl")).expect("a log");
    assert!(log.contains("CloneVM_Task") && !log.contains(USER.1));
    let kept = std::fs::read(folder.path().join("world.json")).expect("a world");
    assert!(World::from_json(&kept).is_ok());
}
