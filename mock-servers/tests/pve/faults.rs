//! Faults: lost replies, failing tasks, killed workers, and the load model.

use std::time::Duration;

use mock_servers::pve::{Fault, FieldModel, Timing, World};

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
