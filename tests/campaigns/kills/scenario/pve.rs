//! Over Proxmox VE.

use super::{End, Scenario};

/// What every project here has.
pub(super) const HEAD: &str = r#"
version: 1
project: kills
hypervisors:
  pve:
    type: proxmox
    endpoint: ENDPOINT
    tls: { ca_file: ca.pem }
    auth: { token_id: novahost@pve!sandbox, token_secret: env:NOVAHOST_PVE_TOKEN }
    defaults: { node: pve1, storage: fast }
networks:
  web: { cidr: 10.20.0.0/24, gateway: 10.20.0.1, dns: [10.20.0.2], at: { pve: { bridge: vmbr0 } } }
  back: { cidr: 10.30.0.0/24, at: { pve: { bridge: vmbr1 } } }
images:
  debian: { os: linux, init: cloud-init, firmware: uefi, agent: true, at: { pve: { template: { id: 9000, name: tpl-debian-13 } } } }
  ubuntu: { os: linux, init: cloud-init, at: { pve: { template: { id: 9001, name: tpl-ubuntu-24 } } } }
  installer: { os: bsd, init: none, at: { pve: { iso: "local:iso/opnsense.iso" } } }
plans:
  small: { cpu: 2, memory: 2GiB, disk: 16GiB }
"#;

const ONE: &str = r"
vms:
  a:
    hypervisor: pve
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
        after: r#"
vms:
  a:
    hypervisor: pve
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    init: { user: deploy, password: { from: "secret:first", version: 1 } }
    power: running
  b:
    hypervisor: pve
    image: ubuntu
    plan: small
    disks: { data: { size: 4GiB } }
    nics: { eth0: { network: back, ip: dhcp } }
    power: running
    after: [a]
"#,
        allow: "",
        deletes: &[],
        ends: &[
            End { key: "vm/a", boots: 1, holds: &[("ciuser", "deploy")], volumes: 3 },
            End { key: "vm/b", boots: 1, holds: &[], volumes: 3 },
        ],
        pools: &[],
    },
    Scenario {
        name: "create-from-iso",
        before: "",
        after: r"
vms:
  wall:
    hypervisor: pve
    image: installer
    plan: small
    disks: { logs: { size: 8GiB } }
    nics: { lan: { network: back } }
    boot: [disk, cdrom]
    power: running
",
        allow: "",
        deletes: &[],
        ends: &[End { key: "vm/wall", boots: 1, holds: &[("cores", "2")], volumes: 2 }],
        pools: &[],
    },
    Scenario {
        name: "update",
        before: ONE,
        after: r"
vms:
  a:
    hypervisor: pve
    image: debian
    resources: { cpu: 4, memory: 4GiB, disk: 16GiB }
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    tags: [night]
    notes: Changed at night
    power: running
",
        allow: "--allow restart",
        deletes: &[],
        ends: &[End {
            key: "vm/a",
            boots: 2,
            holds: &[("cores", "4"), ("memory", "4096")],
            volumes: 3,
        }],
        pools: &[],
    },
    Scenario {
        name: "disks",
        before: r"
vms:
  a:
    hypervisor: pve
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
    hypervisor: pve
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
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 5 }],
        pools: &[],
    },
    Scenario {
        name: "replace",
        before: r"
vms:
  a:
    hypervisor: pve
    image: ubuntu
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        after: r"
vms:
  a:
    hypervisor: pve
    image: ubuntu
    firmware: uefi
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        allow: "--allow replace",
        deletes: &["vm/a"],
        ends: &[End { key: "vm/a", boots: 1, holds: &[("bios", "ovmf")], volumes: 3 }],
        pools: &[],
    },
    Scenario {
        name: "delete",
        before: r"
vms:
  a:
    hypervisor: pve
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
  b:
    hypervisor: pve
    image: ubuntu
    plan: small
    nics: { eth0: { network: back, ip: dhcp } }
    power: running
",
        after: r"
vms:
  a:
    hypervisor: pve
    image: debian
    plan: small
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        allow: "--allow delete",
        deletes: &["vm/b"],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 3 }],
        pools: &[],
    },
    Scenario {
        name: "pool",
        before: "",
        after: r"
pools:
  team: { comment: Team, at: { pve: {} } }
vms: {}
",
        allow: "",
        deletes: &[],
        ends: &[],
        pools: &["team"],
    },
    Scenario {
        name: "pool-with-member",
        before: ONE,
        after: r"
pools:
  team: { comment: Team, at: { pve: {} } }
vms:
  a:
    hypervisor: pve
    image: debian
    plan: small
    pool: team
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        allow: "",
        deletes: &[],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 3 }],
        pools: &["team"],
    },
    Scenario {
        name: "pool-deleted",
        before: r"
pools:
  team: { comment: Team, at: { pve: {} } }
  rest: { comment: Rest, at: { pve: {} } }
vms:
  a:
    hypervisor: pve
    image: debian
    plan: small
    pool: team
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        after: r"
pools:
  rest: { comment: The rest, at: { pve: {} } }
vms:
  a:
    hypervisor: pve
    image: debian
    plan: small
    pool: rest
    nics: { eth0: { network: web, ip: 10.20.0.71 } }
    power: running
",
        allow: "--allow delete",
        deletes: &["pool/team"],
        ends: &[End { key: "vm/a", boots: 1, holds: &[], volumes: 3 }],
        pools: &["rest"],
    },
];
