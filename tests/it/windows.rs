//! The example with a Windows, against a vCenter that has a template of one.

use crate::{
    cli_secrets::holding,
    scratch::{Scratch, repository, runtime},
};
use mock_servers::{pve::Release, vcenter};
use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

const WORLD: &str = include_str!("../../fixtures/worlds/vcenter.yaml");
/// What `secret:` names in the example, the variable that holds it, and what it is.
const SECRETS: [(&str, &str, &str); 3] = [
    ("windows-admin", "WINDOWS_ADMIN", "adm1n-S3CRET-word"),
    ("windows-key", "WINDOWS_KEY", "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"),
    ("windows-join", "WINDOWS_JOIN", "j0in-S3CRET-word"),
];

/// A Windows beside the other templates, since the sandbox's world has none.
fn with_a_windows(server: &vcenter::Server) {
    let control = server.control();
    let template = control.find_vm("tpl-debian-13").unwrap();
    let windows = control.clone_vm(&template, "tpl-windows-2022").unwrap();
    control.change_vm(&windows, |vm| {
        "windows2019srvNext_64Guest".clone_into(&mut vm.config.guest_id);
    });
}

#[test]
fn the_example_with_a_windows_settles_and_its_secrets_are_nowhere() {
    let runtime = runtime();
    let server = runtime.block_on(async {
        let mut options = vcenter::Options::new(7);
        options.timing = vcenter::Timing::fast();
        vcenter::serve(vcenter::World::from_yaml(WORLD).unwrap(), options).await.unwrap()
    });
    with_a_windows(&server);
    let mut it = Scratch::empty("windows", Release::V9_2)
        .unrecorded()
        .variable("NOVAHOST_VC_PASSWORD", novahost::sandbox::PASSWORD);
    it.copy(&repository().join("examples/windows.yaml"), "novahost.yaml");
    it.write("vc.pem", server.ca_pem());
    it.edit(
        "endpoint: https://127.0.0.1:8443\n",
        &format!("endpoint: {}\n    tls: {{ ca_file: vc.pem }}\n", server.endpoint()),
    );
    // Trust settings lie outside of the tree that they judge.
    let outside = tempfile::tempdir().unwrap();
    let trust = outside.path().join("trust.toml");
    let names = SECRETS.map(|(name, ..)| format!("\"secret:{name}\"")).join(", ");
    let places =
        SECRETS.map(|(name, variable, _)| format!("[secrets.{name}]\nenv = \"{variable}\"\n"));
    std::fs::write(&trust, format!("guest = [{names}]\n\n{}", places.join("\n"))).unwrap();
    std::fs::set_permissions(&trust, std::fs::Permissions::from_mode(0o600)).unwrap();
    it = it.variable("NOVAHOST_TRUST", trust.to_str().unwrap());
    for (_, variable, secret) in SECRETS {
        it = it.variable(variable, secret);
    }

    it.run("validate").code(0);
    it.run("plan").code(0);
    let done = it.run("apply --yes").code(0);
    it.run("plan --detailed-exitcode").code(0).says("Nothing to do.");
    let told = |name: &str| {
        let control = server.control();
        let id = control.find_vm(name).unwrap();
        control.inspect(|world| format!("{:?}", world.vm(&id).unwrap()))
    };
    assert!(told("files-1").contains("FILES-1"), "{}", told("files-1"));
    assert!(told("legacy-1").contains("legacy-1"), "{}", told("legacy-1"));
    for (.., secret) in SECRETS {
        assert!(!format!("{}{}", done.out, done.err).contains(secret), "a secret in {done}");
        assert_eq!(holding(&it, secret), Vec::<PathBuf>::new());
    }
    runtime.block_on(server.stop());
}
