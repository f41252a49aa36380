//! Who may ask, in which order a call is checked, and what lists hide.

use mock_servers::pve::access::{AclEntry, AclKind, Token, User};
use mock_servers::pve::{Switches, Timing};

use crate::client::{RELEASES, cluster, options, start, world};

fn entry(path: &str, kind: AclKind, who: &str, role: &str) -> AclEntry {
    AclEntry {
        path: path.to_owned(),
        kind,
        who: who.to_owned(),
        role: role.to_owned(),
        propagate: true,
    }
}

#[tokio::test]
async fn strangers_get_an_empty_401_after_a_while() {
    for release in RELEASES {
        let mut options = options(release);
        options.timing =
            Timing { auth_delay: std::time::Duration::from_millis(120), ..Timing::fast() };
        let cluster = start(world(), options).await;
        let begun = tokio::time::Instant::now();
        let reply = cluster.api.with(&[]).get("/version").await;
        assert!(begun.elapsed().as_millis() >= 120);
        assert_eq!((reply.status, reply.reason.as_str()), (401, "No ticket"));
        assert!(reply.body.is_null());
        assert_eq!(
            cluster.api.token("novahost@pve!sandbox=wrong").get("/version").await.status,
            401
        );
        assert_eq!(cluster.api.with(&[]).get("/access/domains").await.status, 200);
    }
}

#[tokio::test]
async fn a_ticket_needs_its_csrf_token_for_changes_and_can_be_renewed() {
    for release in RELEASES {
        let cluster = cluster(release).await;
        let stranger = cluster.api.with(&[]);
        let login = [("username", "novahost@pve"), ("password", "sandbox-password")];
        let reply = stranger.post("/access/ticket", &login).await;
        let ticket = reply.data()["ticket"].as_str().expect("a ticket").to_owned();
        let csrf = reply.data()["CSRFPreventionToken"].as_str().expect("a token").to_owned();
        let cookie = format!("PVEAuthCookie={ticket}");
        let reader = stranger.with(&[("Cookie", &cookie)]);
        assert_eq!(reader.get("/version").await.status, 200);
        reader.post("/pools", &[("poolid", "a")]).await.refused(401, "invalid csrf token");
        let writer = stranger.with(&[("Cookie", &cookie), ("CSRFPreventionToken", &csrf)]);
        assert_eq!(writer.post("/pools", &[("poolid", "a")]).await.status, 200);
        let renewal = [("username", "novahost@pve"), ("password", ticket.as_str())];
        assert_eq!(stranger.post("/access/ticket", &renewal).await.status, 200);
        let wrong = [("username", "novahost@pve"), ("password", "no")];
        stranger.post("/access/ticket", &wrong).await.refused(401, "authentication failure");
    }
}

#[tokio::test]
async fn calls_are_checked_in_the_real_order() {
    for release in RELEASES {
        let mut world = world();
        world.access.users.insert(
            "guest@pve".to_owned(),
            User {
                tokens: [("t".to_owned(), Token { secret: "s".to_owned(), ..Token::default() })]
                    .into(),
                ..User::default()
            },
        );
        let cluster = start(world, options(release)).await;
        let nobody = cluster.api.token("guest@pve!t=s");
        // Unknown paths come before rights, rights before parameters, parameters before existence.
        nobody.get("/nope").await.refused(501, "Method 'GET /nope' not implemented");
        nobody
            .put("/nodes/pve1/qemu/999/config", &[("ostype", "linux")])
            .await
            .refused(403, "/vms/999");
        cluster
            .api
            .put("/nodes/pve1/qemu/999/config", &[("ostype", "linux")])
            .await
            .refused(400, "enumeration");
        let missing = cluster.api.get("/nodes/pve1/qemu/999/config").await;
        missing.refused(500, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist");
        assert_eq!(missing.headers["connection"], "close");
        assert_eq!(missing.headers["server"], "pve-api-daemon/3.0");
        // Creation does its own checks of rights, so that parameters come first there.
        nobody.post("/nodes/pve1/qemu", &[("name", "x")]).await.refused(400, "property is missing");
        nobody
            .post("/nodes/pve1/qemu", &[("vmid", "500")])
            .await
            .refused(403, "/vms/500, VM.Allocate");
        cluster.api.get("/nodes/pve9/qemu").await.refused(500, "hostname lookup 'pve9' failed");
        let guest_on_other_node = cluster.api.get("/nodes/pve2/qemu/101/config").await;
        guest_on_other_node.refused(500, "does not exist");
        let body = cluster.api.send("DELETE", "/pools", "poolid=a").await.expect("a reply");
        body.refused(501, "Unexpected content for method 'DELETE'");
        cluster
            .api
            .put("/nodes/pve1/qemu/101/config", &[("vmid", "102")])
            .await
            .refused(400, "conflicting values");
    }
}

#[tokio::test]
async fn lists_show_only_what_the_caller_may_see() {
    for release in RELEASES {
        let mut world = world();
        let token = Token { secret: "s".to_owned(), privsep: true, ..Token::default() };
        world.access.users.insert(
            "team@pve".to_owned(),
            User { tokens: [("t".to_owned(), token)].into(), ..User::default() },
        );
        world.pools.entry("team".to_owned()).or_default().guests.insert(102);
        world.access.acl.push(entry("/pool/team", AclKind::User, "team@pve", "PVEVMAdmin"));
        let cluster = start(world, options(release)).await;
        let team = cluster.api.token("team@pve!t=s");
        // A separated token without entries of its own can do nothing.
        assert_eq!(team.get("/cluster/resources?type=vm").await.data(), &serde_json::json!([]));
        cluster.control.edit(|world| {
            world.access.acl.push(entry("/pool/team", AclKind::Token, "team@pve!t", "PVEVMAdmin"));
        });
        let seen = team.get("/cluster/resources?type=vm").await;
        let rows = seen.data().as_array().expect("rows");
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0]["vmid"], 102);
        assert!(rows[0].get("pool").is_none(), "the pool itself may not be seen");
        team.done("DELETE", "/nodes/pve2/qemu/102", &[]).await;
        // A deleted guest leaves its pool, and with it the right to hear that it is gone.
        team.get("/nodes/pve2/qemu/102/config")
            .await
            .refused(403, "Permission check failed (/vms/102, VM.Audit)");
    }
}

#[tokio::test]
async fn a_token_of_root_is_not_root() {
    for release in RELEASES {
        let mut world = world();
        let token = Token { secret: "s".to_owned(), privsep: false, ..Token::default() };
        world
            .access
            .users
            .entry("root@pam".to_owned())
            .or_default()
            .tokens
            .insert("t".to_owned(), token);
        let cluster = start(world, options(release)).await;
        let root = cluster.api.token("root@pam!t=s");
        assert_eq!(root.get("/nodes/pve1/status").await.status, 200);
        root.put("/nodes/pve1/qemu/101/config", &[("args", "-S")])
            .await
            .refused(500, "only root can set 'args' config");
        let login = [("username", "root@pam"), ("password", "sandbox-root")];
        let reply = cluster.api.with(&[]).post("/access/ticket", &login).await;
        let cookie =
            format!("PVEAuthCookie={}", reply.data()["ticket"].as_str().expect("a ticket"));
        let csrf = reply.data()["CSRFPreventionToken"].as_str().expect("a token").to_owned();
        let login = cluster.api.with(&[("Cookie", &cookie), ("CSRFPreventionToken", &csrf)]);
        login.done("PUT", "/nodes/pve1/qemu/101/config", &[("args", "-S")]).await;
    }
}

#[tokio::test]
async fn acl_changes_take_effect_and_are_listed() {
    for release in RELEASES {
        let mut world = world();
        world.access.acl.push(entry("/", AclKind::User, "novahost@pve", "Administrator"));
        world.access.acl.push(entry("/", AclKind::Token, "novahost@pve!sandbox", "Administrator"));
        world.access.users.insert("new@pve".to_owned(), User::default());
        let cluster = start(world, options(release)).await;
        let grant = [("path", "/pool/shared-infra"), ("roles", "PVEAuditor"), ("users", "new@pve")];
        for _ in 0..2 {
            cluster.api.done("PUT", "/access/acl", &grant).await;
        }
        assert!(cluster.control.has_privilege("new@pve", "/vms/200", "VM.Audit"));
        let listed = cluster.api.get("/access/acl").await;
        let rows = listed.data().as_array().expect("rows");
        assert_eq!(rows.iter().filter(|row| row["ugid"] == "new@pve").count(), 1);
        cluster
            .api
            .done("PUT", "/access/acl", &[grant[0], grant[1], grant[2], ("delete", "1")])
            .await;
        assert!(!cluster.control.has_privilege("new@pve", "/vms/200", "VM.Audit"));
        let unknown = [("path", "/"), ("roles", "Nope"), ("users", "new@pve")];
        cluster.api.put("/access/acl", &unknown).await.refused(500, "role 'Nope' does not exist");
        let mine = cluster.api.get("/access/permissions?path=/vms/101").await;
        assert_eq!(mine.data()["/vms/101"]["VM.Audit"], 1);
        assert_eq!(cluster.api.get("/access/permissions").await.status, 200);
        assert_eq!(cluster.api.get("/access/roles").await.status, 200);
        assert_eq!(cluster.api.get("/access/users?full=1").await.status, 200);
        assert_eq!(cluster.api.get("/access/users").await.status, 200);
    }
}

#[tokio::test]
async fn every_read_answers_in_both_positions_of_the_switches() {
    for release in RELEASES {
        for switches in [Switches::default(), Switches { no_message: false, ..Switches::flipped() }]
        {
            let mut options = options(release);
            options.switches = switches;
            let cluster = start(world(), options).await;
            for path in [
                "/version",
                "/cluster/resources",
                "/cluster/status",
                "/cluster/nextid",
                "/cluster/tasks",
                "/nodes",
                "/nodes/pve1/status",
                "/nodes/pve1/version",
                "/nodes/pve1/network",
                "/nodes/pve1/network?type=any_bridge",
                "/nodes/pve1/storage",
                "/nodes/pve1/storage/local/content",
                "/nodes/pve1/storage/fast/content?vmid=9000",
                "/nodes/pve1/certificates/info",
                "/nodes/pve1/tasks?source=all",
                "/nodes/pve1/qemu",
                "/nodes/pve1/qemu?full=1",
                "/nodes/pve1/qemu/9000/config",
                "/nodes/pve1/qemu/9000/config?current=1",
                "/nodes/pve1/qemu/101/pending",
                "/nodes/pve1/qemu/101/status/current",
                "/nodes/pve1/qemu/101/snapshot",
                "/nodes/pve1/lxc",
                "/nodes/pve1/lxc/200/config",
                "/nodes/pve1/lxc/200/status/current",
                "/storage",
                "/pools",
                "/pools?poolid=shared-infra",
                "/pools/shared-infra",
                "/cluster/resources?type=sdn",
            ] {
                let reply = cluster.api.get(path).await;
                assert_eq!(reply.status, 200, "{path} {reply:?}");
            }
            let next = cluster.api.get("/cluster/nextid").await;
            assert_eq!(next.data().is_string(), !switches.nextid_number);
        }
    }
}

#[tokio::test]
async fn large_replies_are_compressed_for_those_who_accept_it() {
    let cluster = cluster(RELEASES[1]).await;
    let mut headers: Vec<(&str, &str)> =
        cluster.api.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.push(("Accept-Encoding", "gzip, br"));
    let api = cluster.api.with(&headers);
    let large = api.get("/cluster/resources").await;
    assert_eq!(large.headers["content-encoding"], "gzip");
    assert!(large.data().is_array());
    assert!(!api.get("/version").await.headers.contains_key("content-encoding"));
}
