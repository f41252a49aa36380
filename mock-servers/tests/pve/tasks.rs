//! Tasks: asynchronous, readable by few, ended by a restart.

use std::time::Duration;

use mock_servers::pve::Timing;

use crate::client::{RELEASES, cluster, options, start, world};

#[tokio::test]
async fn a_task_runs_for_a_while_and_tells_its_end() {
    for release in RELEASES {
        let mut options = options(release);
        let range = (Duration::from_millis(300), Duration::from_millis(300));
        options.timing.kinds.insert("qmstart".to_owned(), range);
        let cluster = start(world(), options).await;
        let api = &cluster.api;
        let upid = api.post("/nodes/pve2/qemu/102/status/start", &[]).await.text();
        assert!(
            upid.starts_with("UPID:pve2:") && upid.ends_with(":qmstart:102:novahost@pve!sandbox:"),
            "{upid}"
        );
        let path = format!("/nodes/pve2/tasks/{upid}");
        let first = api.get(&format!("{path}/status")).await;
        assert_eq!(first.data()["status"], "running");
        assert_eq!(
            (&first.data()["user"], &first.data()["tokenid"]),
            (&"novahost@pve".into(), &"sandbox".into())
        );
        assert!(first.data().get("exitstatus").is_none());
        assert_eq!(api.wait(&upid).await, "OK");
        let log = api.get(&format!("{path}/log?limit=1")).await;
        assert_eq!(log.data()[0]["t"], "TASK OK");
        assert_eq!(log.body["total"], 1);
        let listed = api.get("/nodes/pve2/tasks?vmid=102&typefilter=qmstart").await;
        assert_eq!(listed.data()[0]["status"], "OK");
        // Another node does not know the task.
        api.get(&format!("/nodes/pve1/tasks/{upid}/status")).await.refused(400, "no such task");
        api.get("/nodes/pve1/tasks/nonsense/status")
            .await
            .refused(400, "unable to parse worker upid");
        assert_eq!(api.get("/cluster/tasks").await.data()[0]["upid"], upid);
        api.fails("POST", "/nodes/pve2/qemu/102/status/start", &[], "VM 102 already running").await;
    }
}

#[tokio::test]
async fn a_stopped_task_cleans_up() {
    for release in RELEASES {
        let mut options = options(release);
        options
            .timing
            .kinds
            .insert("qmclone".to_owned(), (Duration::from_secs(60), Duration::from_secs(60)));
        let cluster = start(world(), options).await;
        let api = &cluster.api;
        let upid = api
            .post("/nodes/pve1/qemu/9000/clone", &[("newid", "150"), ("full", "1")])
            .await
            .text();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(api.get("/nodes/pve1/qemu/150/config").await.data()["lock"], "clone");
        assert_eq!(api.delete(&format!("/nodes/pve1/tasks/{upid}")).await.status, 200);
        assert_eq!(api.wait(&upid).await, "interrupted by signal");
        api.get("/nodes/pve1/qemu/150/config").await.refused(500, "does not exist");
    }
}

#[tokio::test]
async fn a_restart_ends_running_tasks_and_keeps_the_authority() {
    for release in RELEASES {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = options(release);
        options.persist = Some(folder.path().join("world.json"));
        options.timing =
            Timing { task: (Duration::from_secs(60), Duration::from_secs(60)), ..Timing::fast() };
        let first = start(world(), options.clone()).await;
        let fingerprint = first.server.leaf_sha256();
        let create = [
            ("vmid", "150"),
            ("name", "kept"),
            ("scsi0", "fast:8"),
            ("net0", "virtio,bridge=vmbr0"),
        ];
        let upid = first.api.post("/nodes/pve3/qemu", &create).await.text();
        first.server.stop().await;
        let second = start(world(), options).await;
        assert_eq!(second.server.leaf_sha256(), fingerprint);
        assert_eq!(second.api.wait(&upid).await, "OK");
        let config = second.api.get("/nodes/pve3/qemu/150/config").await;
        assert_eq!(config.data()["name"], "kept");
        assert_eq!(config.data()["scsi0"], "fast:vm-150-disk-0,size=8G");
        assert!(config.data().get("lock").is_none());
    }
}

#[tokio::test]
async fn the_same_seed_makes_the_same_world() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let cluster = cluster(RELEASES[1]).await;
        let create = [("vmid", "150"), ("net0", "virtio,bridge=vmbr0")];
        cluster.api.done("POST", "/nodes/pve1/qemu", &create).await;
        let config = cluster.api.get("/nodes/pve1/qemu/150/config").await;
        seen.push((config.data()["net0"].clone(), config.data()["smbios1"].clone()));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].0.as_str().expect("a net").starts_with("virtio=BC:24:11:"));
}

#[tokio::test]
async fn a_node_that_loses_power_leaves_tasks_and_locks_behind() {
    for release in RELEASES {
        let mut options = options(release);
        let range = (Duration::from_secs(60), Duration::from_secs(60));
        options.timing.kinds.insert("qmclone".to_owned(), range);
        let cluster = start(world(), options).await;
        let api = &cluster.api;
        let form = [("newid", "150"), ("full", "1")];
        let upid = api.post("/nodes/pve1/qemu/9000/clone", &form).await.text();
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.control.node_crash("pve1");
        assert_eq!(api.get(&format!("/nodes/pve1/tasks/{upid}/status")).await.status, 595);
        let rows = api.get("/cluster/resources?type=vm").await;
        let rows = rows.data().as_array().expect("rows");
        let row = rows.iter().find(|row| row["vmid"] == 101).expect("a row");
        assert_eq!(row["status"], "running", "the last broadcast is still believed");
        cluster.control.node_offline("pve1", false);
        assert_eq!(api.wait(&upid).await, "unexpected status");
        assert_eq!(api.get("/nodes/pve1/qemu/150/config").await.data()["lock"], "clone");
        let status = api.get("/nodes/pve1/qemu/101/status/current").await;
        assert_eq!(status.data()["status"], "stopped");
    }
}
