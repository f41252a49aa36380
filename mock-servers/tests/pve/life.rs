//! Power, agents, deletion, pools, and what operators do meanwhile.

use std::time::Duration;

use mock_servers::pve::access::{AclEntry, AclKind};
use mock_servers::pve::world::Guest;
use serde_json::json;

use crate::client::{Api, RELEASES, cluster, options, start, world};

async fn addresses(api: &Api, path: &str) -> Vec<String> {
    for _ in 0..100 {
        let reply = api.get(&format!("{path}/agent/network-get-interfaces")).await;
        if reply.status == 200 {
            let rows = reply.data()["result"].as_array().expect("rows").clone();
            return rows
                .iter()
                .flat_map(|row| row["ip-addresses"].as_array().cloned().unwrap_or_default())
                .map(|entry| entry["ip-address"].as_str().expect("an address").to_owned())
                .collect();
        }
        reply.refused(500, "QEMU guest agent is not running");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the agent never answers");
}

#[tokio::test]
async fn a_guest_remembers_whether_it_was_seeded_before_its_first_start() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        let path = "/nodes/pve1/qemu/150";
        api.done("POST", "/nodes/pve1/qemu/9000/clone", &[("newid", "150"), ("name", "web")]).await;
        api.done("POST", &format!("{path}/status/start"), &[]).await;
        api.done("POST", &format!("{path}/status/stop"), &[]).await;
        api.done(
            "POST",
            &format!("{path}/config"),
            &[("ipconfig0", "ip=10.9.8.7/24"), ("ciuser", "a")],
        )
        .await;
        api.done("PUT", &format!("{path}/cloudinit"), &[]).await;
        api.get(&format!("{path}/agent/network-get-interfaces"))
            .await
            .refused(500, "VM 150 is not running");
        api.done("POST", &format!("{path}/status/start"), &[]).await;
        assert!(addresses(api, path).await.contains(&"10.9.8.7".to_owned()));
        let boots = cluster.control.inspect(|world| world.guests[&150].boots.clone());
        assert_eq!(boots.iter().map(|boot| boot.had_seed).collect::<Vec<_>>(), [false, true]);
        assert_ne!(boots[0].instance_id, boots[1].instance_id);
        // Legacy guests have no agent at all.
        api.get("/nodes/pve1/qemu/101/agent/network-get-interfaces")
            .await
            .refused(500, "No QEMU guest agent configured");
    }
}

#[tokio::test]
async fn a_deaf_guest_only_goes_down_by_force() {
    for release in RELEASES {
        let mut options = options(release);
        options.timing.second = Duration::from_millis(20);
        let cluster = start(world(), options).await;
        cluster.control.edit(|world| {
            world.guests.get_mut(&101).expect("a guest").behaviour.answers_shutdown = false;
        });
        let api = &cluster.api;
        let path = "/nodes/pve1/qemu/101/status/shutdown";
        api.fails("POST", path, &[("timeout", "2")], "VM quit/powerdown failed - got timeout")
            .await;
        assert!(cluster.control.inspect(|world| world.guests[&101].running));
        api.done("POST", path, &[("timeout", "2"), ("forceStop", "1")]).await;
        assert!(!cluster.control.inspect(|world| world.guests[&101].running));
        // A second power call waits for the first one's lock, in vain.
        cluster.control.power(101, true);
        let hanging = api.post(path, &[("timeout", "120")]).await.text();
        tokio::time::sleep(Duration::from_millis(20)).await;
        api.fails("POST", "/nodes/pve1/qemu/101/status/stop", &[], "got timeout").await;
        api.done("POST", "/nodes/pve1/qemu/101/status/stop", &[("overrule-shutdown", "1")]).await;
        assert_eq!(api.wait(&hanging).await, "interrupted by signal");
        api.post("/nodes/pve1/qemu/101/status/reboot", &[])
            .await
            .refused(500, "VM 101 not running");
        api.done("POST", "/nodes/pve1/qemu/101/status/stop", &[]).await;
    }
}

#[tokio::test]
async fn deletion_refuses_protects_warns_and_forgets() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        api.delete("/nodes/pve1/qemu/101").await.refused(500, "VM 101 is running - destroy failed");
        api.done("PUT", "/nodes/pve2/qemu/102/config", &[("protection", "1")]).await;
        api.delete("/nodes/pve2/qemu/102")
            .await
            .refused(500, "can't remove VM 102 - protection mode enabled");
        api.done("PUT", "/nodes/pve2/qemu/102/config", &[("protection", "0")]).await;
        cluster.control.lock(102, "backup");
        api.fails("DELETE", "/nodes/pve2/qemu/102", &[], "VM is locked (backup)").await;
        api.put("/nodes/pve2/qemu/102/config", &[("name", "x")])
            .await
            .refused(500, "VM is locked (backup)");
        cluster.control.unlock(102);
        cluster.control.edit(|world| {
            world.volumes.get_mut("pve2|local-lvm:vm-102-disk-0").expect("a volume").stuck = true;
            let entry = AclEntry {
                path: "/vms/102".to_owned(),
                kind: AclKind::User,
                who: "novahost@pve".to_owned(),
                role: "PVEVMAdmin".to_owned(),
                propagate: true,
            };
            world.access.acl.push(entry);
        });
        let upid = api.delete("/nodes/pve2/qemu/102?purge=1").await.text();
        assert_eq!(api.wait(&upid).await, "WARNINGS: 1");
        let world = cluster.control.snapshot();
        assert!(!world.guests.contains_key(&102));
        assert!(
            world.volumes.contains_key("pve2|local-lvm:vm-102-disk-0"),
            "the disk is still there"
        );
        assert!(!world.access.acl.iter().any(|entry| entry.path == "/vms/102"));
        // A freed id is handed out again at once.
        assert_eq!(api.get("/cluster/nextid?vmid=102").await.status, 200);
    }
}

#[tokio::test]
async fn pools_hold_guests_in_both_generations() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let api = &cluster.api;
        api.done("POST", "/pools", &[("poolid", "nova"), ("comment", "ours")]).await;
        api.post("/pools", &[("poolid", "nova")]).await.refused(500, "pool 'nova' already exists");
        api.done("PUT", "/pools", &[("poolid", "nova"), ("vms", "102")]).await;
        api.put("/pools/nova", &[("vms", "102")])
            .await
            .refused(500, "VM 102 is already a pool member");
        let other = [("poolid", "shared-infra"), ("vms", "102")];
        api.put("/pools", &other).await.refused(500, "VM 102 belongs already to pool 'nova'");
        api.done("PUT", "/pools", &[other[0], other[1], ("allow-move", "1")]).await;
        assert_eq!(api.get("/pools/nova").await.data()["members"], json!([]));
        let shared = api.get("/pools?poolid=shared-infra").await;
        assert_eq!(shared.data()[0]["members"].as_array().map(Vec::len), Some(2));
        api.delete("/pools?poolid=shared-infra")
            .await
            .refused(500, "is not empty (contains VM 102)");
        api.done("PUT", "/pools/shared-infra", &[("vms", "102,200"), ("delete", "1")]).await;
        api.done("DELETE", "/pools/shared-infra", &[]).await;
        api.done("DELETE", "/pools?poolid=nova", &[]).await;
        api.get("/pools?poolid=nova").await.refused(500, "pool 'nova' does not exist");
    }
}

#[tokio::test]
async fn operators_change_the_world_behind_the_api() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let (api, control) = (&cluster.api, &cluster.control);
        let before = api.get("/nodes/pve2/qemu/102/config").await.data()["digest"].clone();
        control.rename(102, "by-hand");
        assert_ne!(api.get("/nodes/pve2/qemu/102/config").await.data()["digest"], before);
        control.migrate_guest(102, "pve3");
        api.get("/nodes/pve2/qemu/102/config").await.refused(500, "does not exist");
        assert_eq!(api.get("/nodes/pve3/qemu/102/config").await.data()["name"], "by-hand");
        control.restore(20500, 301);
        control.clone_guest(20500, 302, "copy");
        let uuid = |guest: &Guest| guest.config["smbios1"].clone();
        let uuids =
            control.inspect(|world| [20500, 301, 302].map(|vmid| uuid(&world.guests[&vmid])));
        assert!(uuids[0] == uuids[1] && uuids[0] != uuids[2]);
        control.delete_guest(301);
        control.power(102, true);
        assert_eq!(
            api.get("/nodes/pve3/qemu/102/status/current").await.data()["status"],
            "running"
        );
        control.node_offline("pve3", true);
        let gone = api.get("/nodes/pve3/qemu/102/status/current").await;
        assert_eq!(gone.status, 595);
        control.tick_statistics();
        let rows = api.get("/cluster/resources?type=vm").await;
        let row = rows
            .data()
            .as_array()
            .expect("rows")
            .iter()
            .find(|row| row["vmid"] == 102)
            .expect("a row")
            .clone();
        assert_eq!(row["status"], "unknown");
        control.node_offline("pve3", false);
        control.quorum(false);
        api.post("/pools", &[("poolid", "a")]).await.refused(500, "cluster not ready - no quorum?");
        assert_eq!(api.get("/cluster/status").await.data()[0]["quorate"], 0);
        control.quorum(true);
        control.storage_active("pve1", "fast", false);
        api.get("/nodes/pve1/storage/fast/content")
            .await
            .refused(500, "storage 'fast' is not online");
        let clone = [("newid", "150")];
        api.post("/nodes/pve1/qemu/9000/clone", &clone)
            .await
            .refused(500, "storage 'fast' is not online");
        control.clear_requests();
        api.get("/version").await;
        assert_eq!(control.requests().len(), 1);
        assert_eq!(control.requests()[0].template, "/version");
    }
}
