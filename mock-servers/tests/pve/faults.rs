//! Faults: lost replies, failing tasks, killed workers, and the load model.

use std::time::Duration;

use mock_servers::harness::{Actor, Chance, Effect, FaultPlan, Rule, Where};
use mock_servers::pve::{Deed, Fault, FieldModel, Timing, World, hook};
use std::sync::{Arc, Mutex};

use crate::client::{RELEASES, cluster, options, start, world};

#[tokio::test]
async fn a_lost_reply_may_hide_an_effect_or_not() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let plant = |fault: Fault| {
            cluster
                .control
                .set_fault(Box::new(move |point| (point.method != "GET").then(|| fault.clone())));
        };
        plant(Fault::DropBefore);
        assert!(cluster.api.send("POST", "/pools", "poolid=a").await.is_err());
        plant(Fault::DropAfter);
        assert!(cluster.api.send("POST", "/pools", "poolid=b").await.is_err());
        plant(Fault::StatusAfter(596, "Connection timed out".to_owned()));
        assert_eq!(cluster.api.post("/pools", &[("poolid", "c")]).await.status, 596);
        plant(Fault::Status(500, "got no worker upid".to_owned()));
        cluster.api.post("/pools", &[("poolid", "d")]).await.refused(500, "got no worker upid");
        cluster.control.clear_fault();
        let pools =
            cluster.control.inspect(|world| world.pools.keys().cloned().collect::<Vec<_>>());
        assert_eq!(pools, ["b", "c", "shared-infra"]);
    }
}

#[tokio::test]
async fn tasks_fail_late_warn_or_vanish() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let plant = |fault: Fault| {
            cluster.control.set_fault(Box::new(move |point| {
                point.template.ends_with("/clone").then(|| fault.clone())
            }));
        };
        let clone = "/nodes/pve1/qemu/9000/clone";
        plant(Fault::TaskFails("clone failed: rbd error".to_owned()));
        api.fails("POST", clone, &[("newid", "150")], "clone failed: rbd error").await;
        assert!(!cluster.control.inspect(|world| world.guests.contains_key(&150)));
        plant(Fault::TaskWarns("could not trim".to_owned()));
        let upid = api.post(clone, &[("newid", "150")]).await.text();
        assert_eq!(api.wait(&upid).await, "WARNINGS: 1");
        plant(Fault::TaskUnexpectedStatus);
        let upid = api.post(clone, &[("newid", "151")]).await.text();
        assert_eq!(api.wait(&upid).await, "unexpected status");
        // A killed worker cleans nothing up.
        assert_eq!(api.get("/nodes/pve1/qemu/151/config").await.data()["lock"], "clone");
    }
}

fn rule(call: &str, fault: Fault) -> Rule<Fault> {
    let at = Where { call: call.to_owned(), ..Where::default() };
    Rule { name: "planted".to_owned(), at, after: 0, times: 1, fault }
}

#[tokio::test]
async fn a_reply_breaks_in_its_middle_or_is_something_else_or_never_comes() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let short = Duration::from_millis(10);
        let faults = [
            (Fault::DropDuring, true),
            (Fault::Garbage("<html>".to_owned()), true),
            (Fault::HangAfter(short), true),
            (Fault::HangBefore(short), false),
        ];
        for (number, (fault, happens)) in faults.into_iter().enumerate() {
            let plan: FaultPlan<Fault> =
                FaultPlan::new(vec![rule("create-pool", fault.clone())], None::<Chance<Fault>>);
            let log = plan.log();
            cluster.control.set_fault(hook(plan));
            let sent = cluster.api.send("POST", "/pools", &format!("poolid=p{number}")).await;
            let garbage = matches!(fault, Fault::Garbage(_));
            assert_eq!(sent.is_ok(), garbage, "{fault:?}");
            let made =
                cluster.control.inspect(|world| world.pools.contains_key(&format!("p{number}")));
            assert_eq!(made, happens, "{fault:?}");
            assert_eq!(log.all().len(), 1);
        }
    }
}

#[tokio::test]
async fn a_deed_comes_before_the_request_and_everybody_is_told_apart() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let effects: Arc<Mutex<Vec<Effect>>> = Arc::default();
        let kept = Arc::clone(&effects);
        cluster.control.watch(Box::new(move |effect| kept.lock().unwrap().push(effect)));
        let deed = Fault::Deed(Deed::Rename("other".to_owned()));
        let plan = FaultPlan::new(vec![rule("configure", deed)], None);
        cluster.control.set_fault(hook(plan));
        let form = [("description", "hello")];
        cluster.api.put("/nodes/pve2/qemu/102/config", &form).await;
        let seen = effects.lock().unwrap();
        assert_eq!(seen.len(), 2, "{seen:#?}");
        assert_eq!(seen[0].by, Actor::Operator);
        assert_eq!(seen[0].after.as_ref().unwrap().name, "other");
        assert!(matches!(&seen[1].by, Actor::Client(_)));
        assert_eq!(seen[1].after.as_ref().unwrap().notes, "hello");
        assert_eq!(seen[0].request, seen[1].request);
    }
}

#[tokio::test]
async fn a_list_may_be_as_it_was_and_a_guest_may_be_hidden() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let rows = || async {
            let rows = cluster.api.get("/cluster/resources?type=vm").await;
            rows.data().as_array().map_or(0, Vec::len)
        };
        cluster.control.set_fault(hook(FaultPlan::new(
            vec![Rule { after: 1, ..rule("list", Fault::Stale) }],
            None,
        )));
        let all = rows().await;
        cluster.control.delete_guest(102);
        assert_eq!(rows().await, all);
        assert_eq!(rows().await, all - 1);
        cluster.control.perform(&Deed::To(101, Box::new(Deed::Hide(true))), None);
        let root_sees = rows().await;
        assert!(root_sees == all - 1 || root_sees == all - 2);
        assert!(!cluster.control.has_privilege("novahost@pve!sandbox", "/vms/101", "VM.Audit"));
        cluster.control.perform(&Deed::To(101, Box::new(Deed::Hide(false))), None);
        assert!(cluster.control.has_privilege("novahost@pve!sandbox", "/vms/101", "VM.Audit"));
    }
}

#[tokio::test]
async fn a_slow_synchronous_call_times_out_while_its_work_goes_on() {
    for release in RELEASES {
        let mut options = options(release);
        options.timing = Timing {
            slow_call: Duration::from_millis(150),
            proxy_timeout: Duration::from_millis(30),
            ..Timing::fast()
        };
        let cluster = start(world(), options).await;
        let form = [("scsi1", "fast:4")];
        assert_eq!(cluster.api.put("/nodes/pve2/qemu/102/config", &form).await.status, 596);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let config = cluster.api.get("/nodes/pve2/qemu/102/config").await;
        assert_eq!(config.data()["scsi1"], "fast:vm-102-disk-0,size=4G");
    }
}

#[tokio::test]
async fn a_large_cluster_answers_under_the_load_model() {
    let large = World::synthetic(4, 2000, 3, &|vmid, number| {
        (number % 2 == 0).then(|| (format!("novahost/1 id={vmid}"), "nh-bench".to_owned()))
    });
    let mut options = options(RELEASES[1]);
    options.record = None;
    options.field_model = Some(FieldModel::default());
    let cluster = start(large, options).await;
    let begun = tokio::time::Instant::now();
    let rows = cluster.api.get("/cluster/resources?type=vm").await;
    assert_eq!(rows.data().as_array().map(Vec::len), Some(2001));
    assert!(begun.elapsed() >= Duration::from_millis(6));
    let config = cluster.api.get("/nodes/pve1/qemu/1000/config").await;
    assert_eq!(config.data()["tags"], "nh-bench");
}
