//! Guests that VMware's own simulator sets up: by a specification that it keeps, and by one
//! that we write.

use super::road::Road;

const SET_UP: &str = r#"vms:
  kept:
    hypervisor: vc
    image: base
    nics: { eth0: { network: web, ip: 10.20.0.81 } }
    init: { hostname: kept-1, customization_spec: vcsim-linux }
    power: running
  written:
    hypervisor: vc
    image: windows
    nics: { eth0: { network: web, ip: 10.20.0.82 } }
    init: { hostname: WRITTEN-1, timezone: Europe/Paris, windows: { organization: Acme } }
    power: stopped
"#;

#[tokio::test(flavor = "multi_thread")]
async fn guests_are_set_up_once_by_what_is_kept_and_by_what_is_written() {
    let Some(road) = Road::begin("vcsim-setups").await else { return };
    let yaml = road.project.read("novahost.yaml");
    let windows = "images:\n  windows: { os: windows, init: sysprep, at: { vc: { template: DC0_C0_RP0_VM0, clone: full } } }\n";
    road.project.write("novahost.yaml", &yaml.replacen("images:\n", windows, 1));
    road.declare(&SET_UP.replace("vcsim-linux", "missing"));
    road.project.run("plan").says("there is no customization spec `missing`");
    road.declare(&SET_UP.replace("vcsim-linux", "vcsim-windows-static"));
    road.project.run("plan").says("is for windows");
    road.declare(SET_UP);
    road.project.run("apply --yes").code(0).says("2 done");
    let tasks = || road.tasks().iter().filter(|it| *it == "CustomizeVM_Task").count();
    assert_eq!(tasks(), 2);
    let told = |name: &str, path: &str| {
        let at = format!("/DC0/vm/novahost/{name}");
        road.govc(&["object.collect", "-s", &at, path]).trim().to_owned()
    };
    assert_eq!(told("kept", "guest.hostName"), "kept-1");
    assert_eq!(told("kept", "guest.ipAddress"), "10.20.0.81");
    assert_eq!(told("kept", "config.tools.pendingCustomization"), "");
    assert_ne!(told("written", "config.tools.pendingCustomization"), "");
    road.project.run("apply --yes").code(0).says("Nothing to do. 3 unchanged.");
    // What waits is carried out by whoever starts the machine.
    road.govc(&["vm.power", "-on", "/DC0/vm/novahost/written"]);
    assert_eq!(told("written", "guest.hostName"), "WRITTEN-1");
    road.govc(&["vm.power", "-off", "/DC0/vm/novahost/written"]);
    road.project.run("plan --detailed-exitcode").code(0).says("Nothing to do. 3 unchanged.");
    assert_eq!(tasks(), 2);
    assert_eq!(road.vcsim.sessions_of_ours(), 0);
}
