//! Rights on a pool against VMware's own simulator, and VMware's own client over them.
//!
//! The simulator has a role for everybody and checks nobody's; it knows people without their
//! domain, and of the permissions on an object it keeps those of the last call alone. So one
//! person is granted something here, and that others keep theirs is our simulator's to say.

use super::road::Road;

/// `admin` is in the simulator's directory.
const USERS: &str = r"users:
  alice: { at: { vc: { principal: 'VSPHERE.LOCAL\admin' } } }
  ghost: { at: { vc: { principal: 'VSPHERE.LOCAL\ghost' } } }
";
const FOLDER: &str = "/DC0/vm/Tenants/acme";
const SHARE: &str = "/DC0/host/DC0_C0/Resources/Tenants/acme";

fn declare(road: &Road, acl: &str) {
    let yaml = road.project.read("novahost.yaml");
    let head = yaml.split("pools:").next().unwrap().split("users:").next().unwrap().to_owned();
    let pools = format!(
        "pools:\n  tenant: {{ at: {{ vc: {{ folder: Tenants/acme, resource_pool: Tenants/acme }} }}, \
         acl: [{acl}] }}\n"
    );
    road.project.write("novahost.yaml", &format!("{head}{USERS}{pools}"));
}

/// Rows of govc on both objects, each as role, principal, and whether it is propagated.
fn rows(road: &Road) -> Vec<Vec<String>> {
    let on = |path: &str| {
        let told = road.govc(&["permissions.ls", "-a=false", path]);
        let lines = told.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        lines.into_iter().map(|line| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            vec![words[0].clone(), words[2].clone(), words[3].clone()]
        })
    };
    let (folder, share): (Vec<_>, Vec<_>) = (on(FOLDER).collect(), on(SHARE).collect());
    assert_eq!(folder, share);
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_on_a_pool_are_granted_changed_and_taken_away() {
    let Some(road) = Road::begin("vcsim-grants").await else { return };
    declare(&road, "{ user: alice, role: viewer }, { user: ghost, role: viewer }");
    let ran = road.project.run("plan").code(0);
    ran.says_in_words(r"`VSPHERE.LOCAL\ghost` is not known there")
        .says(r"VSPHERE.LOCAL\admin: viewer");
    declare(&road, "{ user: alice, role: viewer }");
    road.project.run("apply --yes").code(0);
    let row = |role: &str| {
        vec![format!("nh-acme-lab-{role}"), r"VSPHERE.LOCAL\admin".to_owned(), "Yes".to_owned()]
    };
    assert_eq!(rows(&road), [row("viewer")]);
    let quiet = || {
        let before = road.methods().len();
        road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
        road.project.run("apply --yes").code(0).says("Nothing to do.");
        let sent = road.methods().split_off(before);
        let changes = ["SetEntityPermissions", "RemoveEntityPermission", "AddAuthorizationRole"];
        assert!(sent.iter().all(|it| !changes.contains(&it.as_str())), "{sent:?}");
    };
    quiet();
    declare(&road, "{ user: alice, role: admin }");
    road.project.run("apply --yes").code(0).says("1 done");
    assert_eq!(rows(&road), [row("admin")]);
    quiet();
    // The simulator takes no privilege that a real server does not have.
    let roles = road.govc(&["role.ls"]);
    assert!(!roles.contains("nh-acme-lab-operator"), "{roles}");
    let own = road.govc(&["role.ls", "nh-acme-lab-admin"]);
    let lines: Vec<&str> =
        own.lines().map(str::trim).filter(|it| !it.starts_with("System.")).collect();
    assert_eq!(lines.len(), 10, "{own}");
    assert!(lines.contains(&"VirtualMachine.State.RevertToSnapshot"), "{own}");

    // Somebody takes it away; it comes back.
    for path in [FOLDER, SHARE] {
        road.govc(&["permissions.remove", "-principal", r"VSPHERE.LOCAL\admin", path]);
    }
    assert!(rows(&road).is_empty());
    road.project.run("apply --yes").code(0).says("1 done");
    assert_eq!(rows(&road), [row("admin")]);
    // Somebody changes the role; it is left, and told.
    road.govc(&["role.update", "-a", "nh-acme-lab-admin", "Folder.Delete"]);
    road.project.run("plan").code(0).says("role-changed");
    road.project.run("apply --yes").code(5);
    assert!(road.govc(&["role.ls", "nh-acme-lab-admin"]).contains("Folder.Delete"));
    road.govc(&["role.update", "-r", "nh-acme-lab-admin", "Folder.Delete"]);
    quiet();
    declare(&road, "");
    road.project.run("apply --yes").code(0).says("1 done");
    assert!(rows(&road).is_empty());
    quiet();
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}
