//! Creation, cloning, configuration: stages, locks, races, pending values.

use std::time::Duration;

use mock_servers::pve::Timing;
use serde_json::json;

use crate::client::{RELEASES, cluster, options, start, world};

const CLONE: &str = "/nodes/pve1/qemu/9000/clone";

#[tokio::test]
async fn a_clone_is_visible_and_locked_before_it_is_whole() {
    for release in RELEASES {
        let mut options = options(release);
        options.timing = Timing { statistics: Duration::from_secs(60), ..Timing::fast() };
        let range = (Duration::from_millis(500), Duration::from_millis(500));
        options.timing.kinds.insert("qmclone".to_owned(), range);
        let cluster = start(world(), options).await;
        let api = &cluster.api;
        let form = [
            ("newid", "150"),
            ("name", "web"),
            ("description", "mine"),
            ("target", "pve3"),
            ("full", "1"),
        ];
        let upid = api.post(CLONE, &form).await.text();
        assert!(upid.contains(":qmclone:9000:"));
        tokio::time::sleep(Duration::from_millis(10)).await;
        let rows = api.get("/cluster/resources?type=vm").await;
        let row = rows
            .data()
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["vmid"] == 150)
            .expect("the clone")
            .clone();
        assert_eq!((&row["status"], &row["lock"]), (&json!("unknown"), &json!("clone")));
        assert!(row.get("name").is_none() && row.get("template").is_none());
        let early = api.get("/nodes/pve1/qemu/150/config").await;
        assert!(early.data().get("description").is_none());
        api.put("/nodes/pve1/qemu/150/config", &[("cores", "2")])
            .await
            .refused(500, "VM is locked (clone)");
        assert_eq!(api.wait(&upid).await, "OK");
        let config = api.get("/nodes/pve3/qemu/150/config").await;
        let config = config.data();
        let source = api.get("/nodes/pve1/qemu/9000/config").await;
        for key in ["net0", "smbios1", "vmgenid", "scsi0", "ide2", "efidisk0"] {
            assert_ne!(config[key], source.data()[key], "{key}");
        }
        for key in ["tags", "cores", "memory", "boot", "agent"] {
            assert_eq!(config[key], source.data()[key], "{key}");
        }
        assert_eq!(config["description"], "mine");
        assert!(config.get("template").is_none() && config.get("lock").is_none());
        let rows = api.get("/cluster/resources?type=vm").await;
        let row = rows
            .data()
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["vmid"] == 150)
            .expect("the clone")
            .clone();
        assert_eq!(row["status"], "unknown", "no broadcast yet");
        cluster.control.tick_statistics();
        let rows = api.get("/cluster/resources?type=vm").await;
        let row = rows
            .data()
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["vmid"] == 150)
            .expect("the clone")
            .clone();
        assert_eq!((&row["name"], &row["status"]), (&json!("web"), &json!("stopped")));
    }
}

#[tokio::test]
async fn linked_clones_hold_their_base_and_have_rules_of_their_own() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        api.post(CLONE, &[("newid", "150"), ("storage", "fast")])
            .await
            .refused(500, "not allowed for linked clones");
        api.done("POST", CLONE, &[("newid", "150")]).await;
        let config = api.get("/nodes/pve1/qemu/150/config").await;
        let disk = config.data()["scsi0"].as_str().expect("a disk").to_owned();
        assert!(disk.starts_with("fast:base-9000-disk-0/vm-150-disk-"), "{disk}");
        api.fails("DELETE", "/nodes/pve1/qemu/9000", &[], "still in use by linked cloned").await;
        let local = "/nodes/pve1/qemu/9001/clone";
        let away = [("newid", "151"), ("target", "pve2")];
        api.post(local, &away)
            .await
            .refused(500, "can't clone VM to node 'pve2' (VM uses local storage)");
        let away = [("newid", "151"), ("target", "pve2"), ("full", "1"), ("storage", "local-zfs")];
        api.post(CLONE, &away).await.refused(500, "can't clone to non-shared storage 'local-zfs'");
        let pool = [("newid", "151"), ("pool", "nope")];
        api.post(CLONE, &pool).await.refused(403, "pool 'nope' does not exist");
    }
}

#[tokio::test]
async fn of_two_that_take_one_id_one_wins() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let form = [("vmid", "150"), ("memory", "512")];
        let (one, two) =
            tokio::join!(api.post("/nodes/pve1/qemu", &form), api.post("/nodes/pve2/qemu", &form));
        let won = [&one, &two].into_iter().filter(|reply| reply.status == 200).count();
        assert_eq!(won, 1);
        let lost = if one.status == 200 { two } else { one };
        lost.refused(500, "unable to create VM 150 - VM 150 already exists on node 'pve");
        api.post("/nodes/pve1/qemu", &[("vmid", "200")])
            .await
            .refused(500, "CT 200 already exists on node 'pve1'");

        // Clones meet in the task.
        let form = [("newid", "160"), ("full", "1")];
        let (one, two) = tokio::join!(api.post(CLONE, &form), api.post(CLONE, &form));
        let mut ends = Vec::new();
        for reply in [one, two] {
            if reply.status == 200 {
                ends.push(api.wait(&reply.text()).await);
            } else {
                reply.refused(500, "config file already exists");
                ends.push("refused".to_owned());
            }
        }
        assert_eq!(ends.iter().filter(|end| *end == "OK").count(), 1, "{ends:?}");
        // Only the id's own node refuses at once; elsewhere the file system does, in the task.
        api.fails("POST", CLONE, &[("newid", "102"), ("full", "1")], "File exists").await;
        api.get("/cluster/nextid?vmid=160").await.refused(400, "VM 160 already exists");
    }
}

#[tokio::test]
async fn a_template_is_cloned_many_times_at_once_but_a_running_guest_is_not() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let mut upids = Vec::new();
        for id in ["150", "151", "152"] {
            upids.push(api.post(CLONE, &[("newid", id), ("full", "1")]).await.text());
        }
        for upid in upids {
            assert_eq!(api.wait(&upid).await, "OK");
        }
        let mut options = options(release);
        options
            .timing
            .kinds
            .insert("qmclone".to_owned(), (Duration::from_millis(400), Duration::from_millis(400)));
        let slow = start(world(), options).await;
        let api = &slow.api;
        let clone = "/nodes/pve1/qemu/101/clone";
        let first = api.post(clone, &[("newid", "150")]).await.text();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let text = "can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout";
        api.fails("POST", clone, &[("newid", "151")], text).await;
        assert_eq!(api.wait(&first).await, "OK");
    }
}

#[tokio::test]
async fn what_cannot_be_allocated_is_cleaned_up() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        cluster.control.edit(|world| {
            world.storages.get_mut("local-zfs").expect("a storage").other_used = 1_099_511_627_000;
        });
        let form =
            [("newid", "150"), ("full", "1"), ("storage", "local-zfs"), ("pool", "shared-infra")];
        api.fails("POST", CLONE, &form, "clone failed: zfs error").await;
        let form = [("vmid", "151"), ("scsi0", "fast:4"), ("scsi1", "local-zfs:4")];
        api.fails("POST", "/nodes/pve1/qemu", &form, "out of space").await;
        let world = cluster.control.snapshot();
        assert!(!world.guests.contains_key(&150) && !world.guests.contains_key(&151));
        assert!(!world.pools["shared-infra"].guests.contains(&150));
        assert!(!world.volumes.values().any(|volume| volume.vmid == 150 || volume.vmid == 151));
        let form = [("vmid", "151"), ("scsi0", "nope:4")];
        api.post("/nodes/pve1/qemu", &form).await.refused(500, "storage 'nope' does not exist");
        let form = [("vmid", "151"), ("scsi0", "local:4")];
        api.post("/nodes/pve1/qemu", &form).await.refused(400, "does not support vm images");
    }
}

#[tokio::test]
async fn values_are_printed_the_way_the_server_prints_them() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let form = [
            ("vmid", "150"),
            ("name", "made"),
            ("memory", "2048"),
            ("scsihw", "virtio-scsi-single"),
            ("scsi0", "local-lvm:1.5,ssd=1,iothread=on,discard=on"),
            ("ide0", "local:iso/debian-13.1.0-amd64-netinst.iso,media=cdrom"),
            ("ide2", "fast:cloudinit"),
            ("net0", "model=virtio,bridge=vmbr0,macaddr=bc:24:11:aa:bb:cc"),
            ("ciuser", "debian"),
            ("cipassword", "secret"),
        ];
        api.done("POST", "/nodes/pve2/qemu", &form).await;
        let config = api.get("/nodes/pve2/qemu/150/config").await;
        let config = config.data();
        assert_eq!(
            config["scsi0"],
            "local-lvm:vm-150-disk-0,discard=on,iothread=1,size=1536M,ssd=1"
        );
        assert_eq!(config["net0"], "virtio=bc:24:11:aa:bb:cc,bridge=vmbr0");
        assert_eq!(config["ide2"], "fast:vm-150-cloudinit,media=cdrom");
        assert_eq!(config["boot"], "order=scsi0;ide0;net0");
        assert_eq!(config["cipassword"], "**********");
        assert_eq!(config["memory"], "2048");
        let second = [("ide3", "fast:cloudinit")];
        api.put("/nodes/pve2/qemu/150/config", &second)
            .await
            .refused(500, "cloud-init drive is already attached at 'ide2'");
        let bare = [("ide3", "local:iso/opnsense.iso")];
        api.put("/nodes/pve2/qemu/150/config", &bare)
            .await
            .refused(400, "explicit 'media=cdrom' is required");
        api.put("/nodes/pve2/qemu/150/config", &[]).await.refused(500, "no options specified");
        api.put("/nodes/pve2/qemu/150/config", &[("balloon", "4096")])
            .await
            .refused(500, "balloon value too large");
        // A detached disk is kept, and destroyed only when the leftover is deleted.
        api.done("PUT", "/nodes/pve2/qemu/150/config", &[("delete", "scsi0")]).await;
        let config = api.get("/nodes/pve2/qemu/150/config").await;
        assert_eq!(config.data()["unused0"], "local-lvm:vm-150-disk-0");
        assert_eq!(config.data()["boot"], "order=ide0;net0");
        api.done("PUT", "/nodes/pve2/qemu/150/unlink", &[("idlist", "unused0")]).await;
        assert!(!cluster.control.snapshot().volumes.contains_key("pve2|local-lvm:vm-150-disk-0"));
        let json = r#"{"onboot":true,"cores":3}"#;
        assert_eq!(
            api.send("PUT", "/nodes/pve2/qemu/150/config", json).await.expect("a reply").status,
            200
        );
        let config = api.get("/nodes/pve2/qemu/150/config").await;
        assert_eq!((&config.data()["onboot"], &config.data()["cores"]), (&json!(1), &json!(3)));
    }
}

#[tokio::test]
async fn changes_of_a_running_guest_wait_where_they_must() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let path = "/nodes/pve2/qemu/20500/config";
        let before = api.get(path).await;
        let digest = before.data()["digest"].as_str().expect("a digest").to_owned();
        let form = [
            ("cores", "8"),
            ("name", "renamed"),
            ("net1", "virtio,bridge=vmbr1"),
            ("digest", &digest),
        ];
        api.done("PUT", path, &form).await;
        let (wanted, running) = (api.get(path).await, api.get(&format!("{path}?current=1")).await);
        assert_eq!((&wanted.data()["cores"], &running.data()["cores"]), (&json!(8), &json!(2)));
        assert_eq!(running.data()["name"], "renamed");
        assert!(running.data().get("net1").is_some());
        let pending = api.get("/nodes/pve2/qemu/20500/pending").await;
        let rows = pending.data().as_array().expect("rows");
        let cores = rows.iter().find(|row| row["key"] == "cores").expect("a row");
        assert_eq!((&cores["value"], &cores["pending"]), (&json!(2), &json!(8)));
        assert!(rows.iter().any(|row| row["key"] == "digest"));
        // Any write makes an older digest stale, also for a task.
        api.post(path, &[("memory", "1024"), ("digest", &digest)])
            .await
            .refused(500, "checksum mismatch");
        api.done("PUT", path, &[("delete", "agent")]).await;
        let pending = api.get("/nodes/pve2/qemu/20500/pending").await;
        let rows = pending.data().as_array().expect("rows");
        assert_eq!(rows.iter().find(|row| row["key"] == "agent").expect("a row")["delete"], 1);
        api.done("PUT", path, &[("revert", "agent")]).await;
        api.put(path, &[("net2", "virtio,bridge=vmbr9")])
            .await
            .refused(400, "hotplug problem - bridge 'vmbr9'");
        api.done("POST", "/nodes/pve2/qemu/20500/status/reboot", &[]).await;
        let running = api.get(&format!("{path}?current=1")).await;
        assert_eq!((&running.data()["cores"], &running.data()["agent"]), (&json!(8), &json!("1")));
        assert_eq!(api.put(path, &[("cores", "1"), ("background_delay", "1")]).await.status, 400);
        let waited = api.post(path, &[("description", "x"), ("background_delay", "5")]).await;
        assert!(waited.data().is_null());
    }
}

#[tokio::test]
async fn disks_grow_move_and_migrate() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let resize = "/nodes/pve2/qemu/102/resize";
        api.done("PUT", resize, &[("disk", "sata0"), ("size", "+1G")]).await;
        assert!(
            api.get("/nodes/pve2/qemu/102/config").await.data()["sata0"]
                .as_str()
                .is_some_and(|text| text.ends_with("size=41G"))
        );
        api.fails(
            "PUT",
            resize,
            &[("disk", "sata0"), ("size", "1G")],
            "shrinking disks is not supported",
        )
        .await;
        api.fails(
            "PUT",
            resize,
            &[("disk", "scsi5"), ("size", "1G")],
            "disk 'scsi5' does not exist",
        )
        .await;
        api.put(resize, &[("disk", "sata0"), ("size", "50GB")]).await.refused(400, "size");
        let migrate = "/nodes/pve2/qemu/102/migrate";
        api.fails("POST", migrate, &[("target", "pve1")], "local").await;
        api.done(
            "POST",
            "/nodes/pve2/qemu/102/move_disk",
            &[("disk", "sata0"), ("storage", "fast"), ("delete", "1")],
        )
        .await;
        api.done("POST", migrate, &[("target", "pve1")]).await;
        let config = api.get("/nodes/pve1/qemu/102/config").await;
        assert_eq!(config.data()["sata0"], "fast:vm-102-disk-0,size=41G");
        api.post("/nodes/pve1/qemu/101/migrate", &[("target", "pve2")])
            .await
            .refused(500, "without --online");
        let with = [("target", "pve2"), ("online", "1"), ("with-local-disks", "1")];
        api.done("POST", "/nodes/pve1/qemu/101/migrate", &with).await;
        assert!(cluster.control.snapshot().volumes.contains_key("pve2|local-lvm:vm-101-disk-0"));
    }
}

#[tokio::test]
async fn snapshots_are_part_of_the_digest_and_templates_do_not_come_back() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let base = "/nodes/pve2/qemu/102";
        let before = api.get(&format!("{base}/config")).await.data()["digest"].clone();
        api.done(
            "POST",
            &format!("{base}/snapshot"),
            &[("snapname", "first"), ("description", "d")],
        )
        .await;
        assert_ne!(api.get(&format!("{base}/config")).await.data()["digest"], before);
        let later = [("name", "changed"), ("description", "later")];
        api.done("PUT", &format!("{base}/config"), &later).await;
        api.fails("POST", &format!("{base}/snapshot"), &[("snapname", "first")], "already used")
            .await;
        assert_eq!(
            api.get(&format!("{base}/config?snapshot=first")).await.data()["name"],
            "old-print"
        );
        api.done("POST", &format!("{base}/snapshot/first/rollback"), &[]).await;
        let config = api.get(&format!("{base}/config")).await;
        assert_eq!(config.data()["name"], "old-print");
        assert_eq!(config.data()["description"], "later", "notes are no part of a snapshot");
        assert_eq!(
            api.get(&format!("{base}/snapshot")).await.data().as_array().map(Vec::len),
            Some(2)
        );
        api.post(&format!("{base}/template"), &[]).await.refused(500, "contains snapshots");
        api.done("DELETE", &format!("{base}/snapshot/first"), &[]).await;
        api.done("POST", &format!("{base}/template"), &[]).await;
        let config = api.get(&format!("{base}/config")).await;
        assert_eq!(config.data()["sata0"], "local-lvm:base-102-disk-0,size=40G");
        api.fails(
            "POST",
            &format!("{base}/status/start"),
            &[],
            "you can't start a vm if it's a template",
        )
        .await;
        api.post(&format!("{base}/template"), &[]).await.refused(500, "template to a template");
    }
}

#[tokio::test]
async fn a_clone_shows_its_options_before_its_disks_are_done() {
    for release in RELEASES {
        let mut options = options(release);
        let range = (Duration::from_millis(600), Duration::from_millis(600));
        options.timing.kinds.insert("qmclone".to_owned(), range);
        let cluster = start(world(), options).await;
        let api = &cluster.api;
        let form = [("newid", "150"), ("description", "mine"), ("full", "1")];
        let upid = api.post(CLONE, &form).await.text();
        tokio::time::sleep(Duration::from_millis(450)).await;
        let middle = api.get("/nodes/pve1/qemu/150/config").await;
        let middle = middle.data();
        assert_eq!((&middle["lock"], &middle["description"]), (&json!("clone"), &json!("mine")));
        assert!(middle.get("scsi0").is_none());
        api.post("/nodes/pve1/qemu/150/config", &[("cores", "1")])
            .await
            .refused(500, "VM is locked (clone)");
        assert_eq!(api.wait(&upid).await, "OK");
    }
}
