//! Births.

use super::*;

fn build(
    machine: &DesiredMachine,
    template: Option<&ObservedMachine>,
    seen: Option<&ObservedMachine>,
) -> Result<Lowered, Vec<Unsupported>> {
    let spec = normalized(machine);
    let allotted = allotted();
    let build = Build { machine, spec: &spec, template, snapshot: None, allotted: &allotted, seen };
    Proxmox.lower(&Change::Build(build))
}

fn ops(lowered: &Lowered) -> Vec<&'static str> {
    lowered.steps.iter().map(|step| step.op.name()).collect()
}

#[test]
fn a_machine_from_a_template_converges_in_every_field() {
    let options = template_options();
    let template = template_seen(&options);
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template), None).unwrap();
    assert_eq!(ops(&lowered), ["clone", "configure", "grow-disk", "configure", "start"]);
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps);
    assert!(server.running);
    assert_converged(&full_spec(), &server);
    let seen = server.seen();
    let marker = seen.marker.found().unwrap();
    assert_eq!((marker.stage, marker.uuid), (Stage::Ready, seen.uuid));
    assert_eq!(seen.uuid, identity().uuid);
    let entries = marker.map.disks.values().chain(marker.map.nics.values());
    assert!(entries.clone().all(|entry| entry.confirmed) && entries.count() == 3);
    assert!(seen.bulk_mark && marker.protect);
    // What the template brought and nobody declared is gone, or kept as it was.
    assert!(!server.next.contains_key("net1") && !server.next.contains_key("ipconfig1"));
    assert!(server.next["scsi0"].contains("discard=on"));
    assert!(server.next["net0"].contains("firewall=1"));
    assert_eq!(server.next["balloon"], "4096");
}

#[test]
fn the_requests_of_a_small_birth_are_these() {
    let options = [
        ("name", "tpl"),
        ("boot", "order=scsi0"),
        ("scsi0", "fast:base-9000-disk-0,size=8G"),
        ("ide2", "fast:vm-9000-cloudinit,media=cdrom"),
        ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr9"),
    ];
    let mut spec = MachineSpec {
        name: Some("web-1".into()),
        cpu: Some(2),
        memory: Some(Bytes::gib(2)),
        pool: Some("acme".into()),
        init: Some(InitSpec {
            user: Some("deploy".into()),
            ssh_keys: Some(vec!["ssh-ed25519 AAAA me@host".into()]),
            digest: Some("0123456789abcdef0123456789abcdef".into()),
            ..InitSpec::default()
        }),
        ..MachineSpec::default()
    };
    let boot = DiskSpec { size: Some(Bytes::gib(32)), ..DiskSpec::default() };
    spec.disks.insert("boot".into(), boot);
    let nic = NicSpec {
        network: Some(NetworkBinding { name: None, native: "vmbr0".into() }),
        mac: MAC.parse().ok(),
        ip: Some(IpSetting::Static { address: "10.20.0.71".parse().unwrap(), prefix: 24 }),
        gateway: "10.20.0.1".parse().ok(),
        ..NicSpec::default()
    };
    spec.nics.insert("eth0".into(), nic);
    let lowered =
        build(&from_template(spec.clone()), Some(&template_seen(&options)), None).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
    let Identity { intent, uuid, .. } = identity();
    let uuid = uuid.unwrap();
    let head = "novahost/1 project=acme key=vm/web-1";
    let tail = |stage: &str, init: &str| {
        format!("id=20071 stage={stage} intent={intent} init={init} protect=0")
    };
    let init = "0123456789abcdef0123456789abcdef";
    let map = "novahost-map/1 disk.boot=scsi0 nic.eth0=net0";
    let expected = [
        format!(
            "Post /nodes/pve1/qemu/9000/clone description={head} uuid=none {}&full=1&name=web-1\
             &newid=20071&pool=acme",
            tail("new", "none")
        ),
        format!(
            "Post /nodes/pve1/qemu/20071/config ciupgrade=0&ciuser=deploy&cores=2\
             &description={head} uuid={uuid} {}\n{map}&digest=d1\
             &ipconfig0=ip=10.20.0.71/24,gw=10.20.0.1&memory=2048\
             &net0=virtio={MAC},bridge=vmbr0&smbios1=uuid={uuid}&sockets=1\
             &sshkeys=ssh-ed25519%20AAAA%20me%40host&tags=nh-acme",
            tail("new", init)
        ),
        "Put /nodes/pve1/qemu/20071/resize digest=d1&disk=scsi0&size=32G".to_owned(),
        format!(
            "Post /nodes/pve1/qemu/20071/config description={head} uuid={uuid} {}\n{map}&digest=d1",
            tail("ready", init)
        ),
        "Post /nodes/pve1/qemu/20071/status/start ".to_owned(),
    ];
    assert_eq!(server.lines(), expected);
}

#[test]
fn a_machine_from_an_iso_converges_in_every_field() {
    let mut spec = full_spec();
    spec.cdrom = Some(Cdrom::Iso("local:iso/debian.iso".into()));
    let medium = Medium::Iso { volume: "local:iso/debian.iso".into() };
    let machine = desired(spec.clone(), medium);
    let lowered = build(&machine, None, None).unwrap();
    assert_eq!(ops(&lowered), ["create", "configure", "start"]);
    let mut server = Server::default();
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
    assert_eq!(server.seen().uuid, identity().uuid);
    let created = &server.log[0];
    assert!(created.secret_params.is_empty(), "a password would be stored as it was sent");
    assert_eq!(server.log[1].secret_params, ["cipassword"]);
    let param = |key: &str| created.params.iter().find(|it| it.0 == key).map(|it| it.1.as_str());
    assert_eq!(param("scsi0"), Some("fast:32"));
    assert_eq!(param("virtio0"), Some("fast:100"));
    assert_eq!(param("ide2"), Some("local:iso/debian.iso,media=cdrom"));
    assert_eq!(
        (param("ostype"), param("machine"), param("agent")),
        (Some("l26"), Some("q35"), Some("1"))
    );
}

#[test]
fn a_build_that_stopped_anywhere_is_finished_without_a_second_birth() {
    let options = template_options();
    let template = template_seen(&options);
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template), None).unwrap();
    for done in 1..lowered.steps.len() - 1 {
        let mut server = Server::with_template(&options);
        server.run(&lowered.steps[..done]);
        let seen = server.seen();
        let rest = build(&machine, Some(&template), Some(&seen)).unwrap();
        assert!(!rest.steps.iter().any(|step| step.op.is_birth()));
        server.run(&rest.steps);
        assert_converged(&full_spec(), &server);
        let seen = server.seen();
        assert_eq!(seen.marker.found().unwrap().stage, Stage::Ready);
        assert_eq!(seen.uuid, identity().uuid, "after {done} steps");
    }
}

#[test]
fn a_finished_build_lacks_nothing_but_its_seed_and_marker() {
    let options = template_options();
    let template = template_seen(&options);
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template), None).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps[..3]);
    let seen = server.seen();
    let rest = build(&machine, Some(&template), Some(&seen)).unwrap();
    let StepOp::Configure(settings) = &rest.steps[0].op else { panic!("{rest:?}") };
    let left: Vec<&Setting> = settings.iter().collect();
    assert!(matches!(left[..], [Setting::Seed(_), Setting::Marker(_)]), "{left:?}");
}

#[test]
fn a_config_write_that_was_carried_out_in_part_is_sent_again() {
    let options = template_options();
    let template = template_seen(&options);
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template), None).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps[..1]);
    server.store("virtio0", "fast:100");
    server.run(&lowered.steps[1..]);
    assert_converged(&full_spec(), &server);
    assert!(!server.next.contains_key("virtio1"));
}

#[test]
fn a_write_that_died_half_way_leaves_a_marker_that_binds() {
    let options = template_options();
    let template = template_seen(&options);
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template), None).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps[..1]);
    // The server puts all values into the pending section first, in no order.
    let request = server.request(&lowered.steps[1]);
    let written = request.params.iter().find(|(key, _)| key == "description").unwrap();
    server.next.insert("description".into(), written.1.clone());
    let seen = server.seen();
    assert_eq!(seen.marker.found().unwrap().uuid, None);
    let rest = build(&machine, Some(&template), Some(&seen)).unwrap();
    server.run(&rest.steps);
    assert_converged(&full_spec(), &server);
    assert_eq!(server.seen().uuid, identity().uuid);
}

#[test]
fn a_disk_of_a_half_made_machine_that_is_no_longer_declared_waits_until_it_is_built() {
    let options = template_options();
    let template = template_seen(&options);
    let lowered = build(&from_template(full_spec()), Some(&template), None).unwrap();
    let mut server = Server::with_template(&options);
    // Its disks are there, and it is not ready yet; then the entry of one is taken away.
    server.run(&lowered.steps[..2]);
    let mut spec = full_spec();
    spec.disks.remove("data");
    let rest = build(&from_template(spec), Some(&template), Some(&server.seen())).unwrap();
    server.run(&rest.steps);
    let seen = server.seen();
    let marker = seen.marker.found().unwrap();
    assert_eq!(marker.stage, Stage::Ready);
    assert!(marker.map.disks.contains_key("data"), "what is not in the map is nobody's");
    assert!(server.running);
}

#[test]
fn a_disk_of_the_template_that_nobody_declares_is_named() {
    let mut options = template_options();
    options.push(("scsi5", "fast:base-9000-disk-1,size=8G"));
    options.push(("scsi6", "fast:base-9000-disk-2,size=8G"));
    let mut spec = full_spec();
    spec.disks.get_mut("data").unwrap().bus = None;
    let machine = from_template(spec.clone());
    let found = build(&machine, Some(&template_seen(&options)), None).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].why.contains("scsi6"), "{found:?}");
    options.pop();
    let lowered = build(&machine, Some(&template_seen(&options)), None).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps);
    assert_converged(&spec, &server);
    assert!(server.next["scsi5"].contains("size=100G"));
}

#[test]
fn what_a_template_cannot_become_is_refused_with_its_field() {
    type Case = (&'static str, Vec<(&'static str, &'static str)>, fn(&mut MachineSpec));
    let efi = vec![("bios", "ovmf"), ("efidisk0", "fast:base-9000-disk-3,size=528K")];
    let cases: [Case; 3] = [
        ("disk.boot.size", vec![], |it| {
            it.disks.get_mut("boot").unwrap().size = Some(Bytes::gib(4));
        }),
        ("disk.boot.bus", vec![], |it| {
            it.disks.get_mut("boot").unwrap().bus = Some(Bus::Virtio);
        }),
        ("firmware", efi, |_| {}),
    ];
    for (field, more, edit) in cases {
        let mut options = template_options();
        options.extend(more);
        let mut spec = full_spec();
        edit(&mut spec);
        let found = build(&from_template(spec), Some(&template_seen(&options)), None).unwrap_err();
        assert_eq!(found[0].field.to_string(), field, "{found:?}");
    }
}

#[test]
fn a_linked_clone_stays_beside_its_template() {
    let options = template_options();
    let medium =
        Medium::Template { id: Some("9000".into()), name: None, linked: true, snapshot: None };
    let mut machine = desired(full_spec(), medium);
    let lowered = build(&machine, Some(&template_seen(&options)), None).unwrap();
    let StepOp::Clone(from) = &lowered.steps[0].op else { panic!("{lowered:?}") };
    assert!(from.linked && from.storage.is_none());
    machine.spec.disks.get_mut("boot").unwrap().storage = Some("slow".into());
    let found = build(&machine, Some(&template_seen(&options)), None).unwrap_err();
    assert_eq!(found[0].field.to_string(), "disk.boot.storage");
}

#[test]
fn a_template_without_a_seed_drive_gets_one_in_a_free_slot() {
    let mut options = template_options();
    options.retain(|(key, _)| *key != "ide2");
    let machine = from_template(full_spec());
    let lowered = build(&machine, Some(&template_seen(&options)), None).unwrap();
    let mut server = Server::with_template(&options);
    server.run(&lowered.steps);
    assert_converged(&full_spec(), &server);
    assert_eq!(server.next["ide2"], "local:iso/tools.iso,media=cdrom");
    assert_eq!(server.next["ide0"], "fast:vm-20071-cloudinit,media=cdrom");
}

#[test]
fn a_machine_that_shall_be_stopped_is_not_started() {
    let options = template_options();
    let machine = DesiredMachine { power: Power::Stopped, ..from_template(full_spec()) };
    let lowered = build(&machine, Some(&template_seen(&options)), None).unwrap();
    assert!(!ops(&lowered).contains(&"start"));
    assert_eq!(lowered.steps.last().unwrap().op.writes_stage(), Some(Stage::Ready));
}
