//! What the product has, what it has not, and how it is spelt.

use super::*;

fn faults(edit: impl FnOnce(&mut MachineSpec)) -> BTreeMap<String, String> {
    let mut spec = full_spec();
    edit(&mut spec);
    let found = Vcenter.normalize(&from_template(spec)).err().unwrap_or_default();
    found.into_iter().map(|it| (it.field.to_string(), it.why)).collect()
}

fn normalized(edit: impl FnOnce(&mut MachineSpec)) -> MachineSpec {
    let mut spec = full_spec();
    edit(&mut spec);
    Vcenter.normalize(&from_template(spec)).unwrap()
}

fn eth0(spec: &mut MachineSpec) -> &mut NicSpec {
    spec.nics.get_mut("eth0").unwrap()
}

fn data(spec: &mut MachineSpec) -> &mut DiskSpec {
    spec.disks.get_mut("data").unwrap()
}

#[test]
fn what_the_product_cannot_have_is_an_error_on_its_field() {
    type Edit = fn(&mut MachineSpec);
    let on = Autostart { enabled: true, order: None, wait_s: None };
    assert_eq!(faults(|it| it.autostart = Some(on)).keys().next().unwrap(), "autostart");
    let cases: [(&str, Edit); 31] = [
        ("name", |it| it.name = None),
        ("name", |it| it.name = Some(String::new())),
        ("name", |it| it.name = Some("a/b".into())),
        ("name", |it| it.name = Some("a\\b".into())),
        ("name", |it| it.name = Some("a%b".into())),
        ("name", |it| it.name = Some("a\nb".into())),
        ("name", |it| it.name = Some("a".repeat(81))),
        ("sockets", |it| it.sockets = Some(3)),
        ("memory", |it| it.memory = Some(Bytes::mib(4098))),
        ("memory", |it| it.memory = Some(Bytes(0))),
        ("tags", |it| it.tags = Some(["prod".to_owned()].into())),
        ("tpm", |it| it.tpm = Some(true)),
        ("notes", |it| it.notes = Some("novahost/1 x".into())),
        ("notes", |it| it.notes = Some("a\u{1}b".into())),
        ("boot", |it| it.boot = Some(vec![BootDevice::Disk, BootDevice::Disk])),
        ("cdrom", |it| it.cdrom = Some(Cdrom::Iso("fast:iso/a.iso".into()))),
        ("cdrom", |it| it.cdrom = Some(Cdrom::Iso("[fast]iso/a.iso".into()))),
        ("disk.data.size", |it| data(it).size = Some(Bytes(Bytes::MIB + 512))),
        ("disk.data.bus", |it| data(it).bus = Some(Bus::Virtio)),
        ("disk.data", |it| data(it).slot = Some(7)),
        ("disk.data", |it| data(it).slot = Some(16)),
        ("disk.data", |it| (data(it).bus, data(it).slot) = (Some(Bus::Ide), Some(4))),
        ("disk.data", |it| (data(it).bus, data(it).slot) = (Some(Bus::Sata), Some(30))),
        ("nic.eth0.model", |it| eth0(it).model = Some(NicModel::Rtl8139)),
        ("nic.eth0.mac", |it| eth0(it).mac = "00:50:56:40:00:00".parse().ok()),
        ("nic.eth0.mac", |it| eth0(it).mac = "BC:24:11:00:00:01".parse().ok()),
        ("nic.eth0.gateway", |it| eth0(it).ip = Some(IpSetting::Dhcp)),
        ("init.hostname", |it| it.init.as_mut().unwrap().hostname = Some("web_1".into())),
        ("init.hostname", |it| {
            it.name = Some("Web 1".into());
            it.init.as_mut().unwrap().hostname = None;
        }),
        ("init.user", |it| it.init.as_mut().unwrap().user = Some(" ".into())),
        ("init.domain", |it| it.init.as_mut().unwrap().domain = Some(String::new())),
    ];
    for (field, edit) in cases {
        let found = faults(edit);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), [field], "{found:?}");
    }
}

#[test]
fn a_spec_is_spelt_as_it_will_be_read_back() {
    let off = Autostart { enabled: false, order: None, wait_s: None };
    let found = normalized(|it| {
        eth0(it).model = Some(NicModel::Virtio);
        it.notes = Some("Front end\nsecond line \n\n".into());
        (it.tpm, it.tags, it.autostart) = (Some(false), Some(BTreeSet::new()), Some(off));
    });
    assert_eq!(found, full_spec());
    let empty = normalized(|it| {
        let init = it.init.as_mut().unwrap();
        (init.ssh_keys, init.dns) = (Some(vec![" ".into()]), Some(Vec::new()));
    });
    let init = empty.init.unwrap();
    assert_eq!((init.ssh_keys, init.dns), (None, None));
}

#[test]
fn a_vlan_of_the_network_goes_without_saying_and_one_of_the_card_is_refused() {
    let mut machine = from_template(full_spec());
    eth0(&mut machine.spec).vlan = Some(20);
    assert_eq!(Vcenter.normalize(&machine).unwrap(), full_spec());
    machine.places = vec![(FieldPath::on(FieldKind::NicVlan, &"eth0".into()), place())];
    let found = Vcenter.normalize(&machine).unwrap_err();
    assert_eq!(found[0].field.to_string(), "nic.eth0.vlan");
}

#[test]
fn a_name_need_not_be_a_host_name_where_the_guest_is_not_told() {
    let mut spec = full_spec();
    spec.name = Some("Web 1".into());
    assert!(Vcenter.normalize(&from_template(spec.clone())).is_ok(), "it has its own");
    spec.init = None;
    (eth0(&mut spec).ip, eth0(&mut spec).gateway) = (None, None);
    assert!(Vcenter.normalize(&from_template(spec)).is_ok());
}

/// Nothing that can be declared is dropped in silence.
#[test]
fn every_field_is_lowered_or_refused_or_known_to_be_unreadable() {
    let refused = [FieldKind::Tpm, FieldKind::Autostart, FieldKind::Tags, FieldKind::NicVlan];
    let fixed = [FieldKind::DiskBus];
    // What no file declares.
    let undeclared =
        [FieldKind::LabelValues, FieldKind::Members, FieldKind::Member, FieldKind::Enabled];
    let capabilities = Vcenter.capabilities();
    for kind in FieldKind::ALL.into_iter().filter(|it| !undeclared.contains(it)) {
        let ways = [
            capabilities.cost(kind, true).is_some(),
            refused.contains(&kind),
            fixed.contains(&kind),
            capabilities.unreadable.contains(&kind),
        ];
        assert_eq!(ways.iter().filter(|is| **is).count(), 1, "{kind:?}");
    }
    assert_eq!(capabilities.macs.at(u64::MAX).to_string(), "00:50:56:3F:FF:FF");
}

#[test]
fn prices_go_by_the_values_and_by_the_machine() {
    let lowered = build(&from_template(full_spec()), Some(&template().seen()), None).unwrap();
    let mut world = World::with_template();
    world.run(&lowered.steps);
    let seen = world.seen();
    let cost = |kind: FieldKind, device: Option<&str>, values: [Option<Value>; 2], running| {
        let field = FieldPath { kind, device: device.map(DeviceName::from) };
        let [before, after] = &values;
        let delta = FieldDelta { field: &field, before: before.as_ref(), after: after.as_ref() };
        Vcenter.cost(&delta, &seen, running)
    };
    use Disruption as D;
    let more = || [Some(Value::Count(2)), Some(Value::Count(4))];
    assert_eq!(cost(FieldKind::Cpu, None, more(), true), Some(D::Restart));
    assert_eq!(cost(FieldKind::Cpu, None, more(), false), Some(D::None));
    assert_eq!(cost(FieldKind::Firmware, None, [None, None], false), Some(D::Replace));
    assert_eq!(cost(FieldKind::Boot, None, [None, None], true), Some(D::NextBoot));
    let gone = || [Some(Value::Flag(true)), None];
    assert_eq!(cost(FieldKind::Disk, Some("data"), gone(), true), Some(D::Online));
    assert_eq!(cost(FieldKind::Disk, Some("unknown"), gone(), true), Some(D::Restart));
    assert_eq!(cost(FieldKind::DiskBus, Some("data"), [None, None], false), None);
    assert_eq!(cost(FieldKind::DiskStorage, Some("data"), [None, None], true), Some(D::Online));
    // A card's address is in the guest's documents, whether it runs or not.
    assert_eq!(cost(FieldKind::NicMac, Some("eth0"), [None, None], true), Some(D::Restart));
    assert_eq!(cost(FieldKind::NicMac, Some("eth0"), [None, None], false), Some(D::Reinit));
    assert_eq!(cost(FieldKind::NicMac, Some("eth9"), [None, None], false), Some(D::None));
}
