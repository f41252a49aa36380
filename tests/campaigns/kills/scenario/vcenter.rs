//! Over a vCenter.

use super::{End, Scenario};

/// What every project here has.
pub(super) const HEAD: &str = r#"
version: 1
project: kills
hypervisors:
  vc:
    type: vcenter
    endpoint: ENDPOINT
    tls: { ca_file: ca.pem }
    auth: { username: novahost@vsphere.local, password: env:NOVAHOST_VC_PASSWORD }
    defaults: { datacenter: DC0, cluster: DC0_C0, datastore: fast, folder: novahost }
networks:
  web: { cidr: 10.20.0.0/24, gateway: 10.20.0.1, dns: [10.20.0.2], at: { vc: { portgroup: web } } }
  back: { cidr: 10.30.0.0/24, at: { vc: { portgroup: dvs-app } } }
images:
  debian: { os: linux, init: cloud-init, firmware: uefi, at: { vc: { template: tpl-debian-13 } } }
  linked: { os: linux, init: cloud-init, firmware: uefi, at: { vc: { template: tpl-debian-13, clone: linked, snapshot: base } } }
  plain: { os: linux, init: none, firmware: uefi, at: { vc: { template: tpl-debian-13 } } }
  installer: { os: bsd, init: none, at: { vc: { iso: "[local] iso/opnsense.iso" } } }
users:
  reader: { at: { vc: { principal: 'VSPHERE.LOCAL\reader' } } }
  oncall: { at: { vc: { principal: 'VSPHERE.LOCAL\operators', group: true } } }
plans:
  small: { cpu: 2, memory: 2GiB, disk: 16GiB }
"#;

const ONE: &str = r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
";

/// All of them.
pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "create-from-template",
        before: "",
        // Another kind of card is another card, and the boot order comes in a write of its own.
        after: r#"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71, model: e1000 } }
    boot: [network, disk]
    init: { user: deploy, password: { from: "secret:first", version: 1 } }
    power: running
  b:
    hypervisor: vc
    image: linked
    resources: { cpu: 1, memory: 1GiB, disk: 8GiB }
    disks: { data: { size: 4GiB } }
    nics: { eth0: { network: back, ip: 10.30.0.72 } }
    power: running
    after: [a]
"#,
        allow: "",
        deletes: &[],
        ends: &[
            End { key: "vm/a", boots: 1, holds: &[("memoryMB", "2048")], volumes: 1 },
            End { key: "vm/b", boots: 1, holds: &[("numCPUs", "1")], volumes: 2 },
        ],
        pools: &[],
    },
    Scenario {
        name: "create-from-iso",
        before: "",
        after: r"
vms:
  wall:
    hypervisor: vc
    image: installer
    plan: small
    disks: { logs: { size: 8GiB } }
    nics: { lan: { network: back } }
    boot: [disk, cdrom]
    power: running
",
        allow: "",
        deletes: &[],
        ends: &[End { key: "vm/wall", boots: 1, holds: &[("numCPUs", "2")], volumes: 2 }],
        pools: &[],
    },
    Scenario {
        name: "update",
        before: ONE,
        after: r"
vms:
  a:
    hypervisor: vc
    image: debian
    resources: { cpu: 4, memory: 4GiB, disk: 16GiB }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    notes: Changed at night
    labels: { tenant: acme }
    power: running
",
        allow: "--allow restart",
        deletes: &[],
        ends: &[End {
            key: "vm/a",
            boots: 2,
            holds: &[("numCPUs", "4"), ("memoryMB", "4096"), ("annotation", "Changed at night")],
            volumes: 1,
        }],
        pools: &[],
    },
    Scenario {
        name: "disks",
        before: r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    disks:
      data: { size: 4GiB, bus: scsi, slot: 1, on_remove: detach }
      scratch: { size: 4GiB, bus: scsi, slot: 2, on_remove: delete }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        after: r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    disks:
      data: { size: 6GiB, bus: scsi, slot: 1, on_remove: detach }
      extra: { size: 4GiB, bus: scsi, slot: 3 }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        allow: "--allow data-loss",
        deletes: &[],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 3 }],
        pools: &[],
    },
    Scenario {
        name: "replace",
        before: r"
vms:
  wall:
    hypervisor: vc
    image: installer
    firmware: bios
    plan: small
    nics: { lan: { network: back } }
    power: running
",
        after: r"
vms:
  wall:
    hypervisor: vc
    image: installer
    firmware: uefi
    plan: small
    nics: { lan: { network: back } }
    power: running
",
        allow: "--allow replace",
        deletes: &["vm/wall"],
        ends: &[End { key: "vm/wall", boots: 1, holds: &[("firmware", "efi")], volumes: 1 }],
        pools: &[],
    },
    Scenario {
        name: "delete",
        before: r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
  b:
    hypervisor: vc
    image: debian
    plan: small
    nics: { eth0: { network: back, ip: 10.30.0.72 } }
    power: running
",
        after: ONE,
        allow: "--allow delete",
        deletes: &["vm/b"],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 1 }],
        pools: &[],
    },
    Scenario {
        name: "pool",
        before: ONE,
        after: r#"
pools:
  team: { at: { vc: { folder: team-a, resource_pool: team-a } }, comment: The team's own }
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    pool: team
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
"#,
        allow: "",
        deletes: &[],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 1 }],
        pools: &["Folder team-a", "ResourcePool team-a"],
    },
    Scenario {
        name: "no-pool",
        before: r"
pools:
  team: { at: { vc: { folder: team-a, resource_pool: team-a } } }
",
        after: ONE,
        allow: "--allow delete",
        deletes: &["pool/team"],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 1 }],
        pools: &[],
    },
    Scenario {
        name: "kept",
        before: r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    snapshots: { before_change: true, keep: 5 }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        after: r"
vms:
  a:
    hypervisor: vc
    image: debian
    resources: { cpu: 4, memory: 2GiB, disk: 16GiB }
    snapshots: { before_change: true, keep: 5 }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    vcenter: { hardware_version: 20 }
    power: running
",
        allow: "--allow restart",
        deletes: &[],
        ends: &[End {
            key: "vm/a",
            boots: 2,
            holds: &[("numCPUs", "4"), ("version", "vmx-20"), ("is kept", "true")],
            volumes: 1,
        }],
        pools: &[],
    },
    Scenario {
        name: "apart",
        before: r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
  b:
    hypervisor: vc
    image: debian
    plan: small
    nics: { eth0: { network: back, ip: 10.30.0.72 } }
    power: running
",
        after: r"
vms:
  a:
    hypervisor: vc
    image: debian
    plan: small
    placement: { spread: web, storage: local }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
  b:
    hypervisor: vc
    image: debian
    plan: small
    placement: { spread: web }
    nics: { eth0: { network: back, ip: 10.30.0.72 } }
    power: running
",
        allow: "",
        deletes: &[],
        ends: &[
            End { key: "vm/a", boots: 1, holds: &[("datastores", "local")], volumes: 1 },
            End { key: "vm/b", boots: 1, holds: &[("datastores", "fast")], volumes: 1 },
        ],
        pools: &["rule nh-kills-web: a, b"],
    },
    Scenario {
        name: "setup",
        before: "",
        after: r"
vms:
  a:
    hypervisor: vc
    image: plain
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    init: { hostname: a, customization_spec: old-linux }
    power: running
",
        allow: "",
        deletes: &[],
        ends: &[End { key: "vm/a", boots: 1, holds: &[("is set up", "true")], volumes: 1 }],
        pools: &[],
    },
    Scenario {
        name: "grants",
        before: r"
pools:
  team:
    at: { vc: { folder: team-a } }
    acl: [{ user: reader, role: viewer }]
",
        after: r"
pools:
  team:
    at: { vc: { folder: team-a } }
    acl: [{ user: oncall, role: operator }]
",
        allow: "",
        deletes: &[],
        ends: &[],
        pools: &["Folder team-a", r"Folder team-a: VSPHERE.LOCAL\operators is nh-kills-operator"],
    },
];
