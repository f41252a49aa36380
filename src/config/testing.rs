//! Configurations of any size, for benches and tests.

use std::fmt::Write;

/// A configuration of so many machines, about 900 bytes each, as one file.
///
/// No machine uses a profile or a pattern, so that every value is written out; each has an address of its own in
/// networks of 65,000. It names no file, so that it can be loaded from memory.
pub fn synthetic(machines: usize) -> String {
    let mut text = String::with_capacity(machines * 950 + 2_000);
    text.push_str(HEAD);
    for network in 0..=machines / PER_NETWORK {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "  net-{network}: {{ cidr: 10.{network}.0.0/16, gateway: 10.{network}.0.1, dns: [10.{network}.0.2], at: {{ pve: {{ bridge: vmbr0 }} }} }}"
        );
    }
    text.push_str("vms:\n");
    for at in 0..machines {
        machine(&mut text, at);
    }
    text
}

/// Machines in one network; the first hundred addresses are left to gateways and resolvers.
const PER_NETWORK: usize = 60_000;

const HEAD: &str = "\
version: 1
project: synthetic
hypervisors:
  pve:
    type: proxmox
    endpoint: https://127.0.0.1:8006
    auth: { token_id: novahost@pve!bench, token_secret: env:NOVAHOST_PVE_TOKEN }
    defaults: { node: pve1, storage: local-lvm }
images:
  debian: { os: linux, init: cloud-init, firmware: uefi, agent: true, at: { pve: { template: { id: 9000, name: tpl-debian-13 } } } }
pools:
  all: { comment: All of them, at: { pve: {} } }
networks:
";

fn machine(text: &mut String, at: usize) {
    let (network, place) = (at / PER_NETWORK, at % PER_NETWORK + 100);
    let (high, low) = (place / 256, place % 256);
    let after = at.checked_sub(10).map_or(String::new(), |before| format!("vm-{before:06}"));
    let _ = write!(
        text,
        "  vm-{at:06}:
    # Machine {at} of the synthetic fleet, written out in full.
    hypervisor: pve
    image: debian
    pool: all
    resources:
      cpu: {cpu}
      sockets: 1
      memory: {memory}GiB
      disk: 32GiB
    disks:
      boot:
        storage: fast
      data:
        size: {data}GiB
        bus: scsi
        slot: 1
        storage: local-zfs
        on_remove: detach
    nics:
      eth0:
        network: net-{network}
        ip: 10.{network}.{high}.{low}
        model: virtio
    init:
      hostname: vm-{at:06}
      domain: synthetic.example.net
      user: deploy
      ssh_keys:
        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFabR2Z19k0jBqCUFDH0r6DojBKOKvOU8EVP5gRjlRC deploy@synthetic
      dns: [10.{network}.0.2, 10.{network}.0.3]
    firmware: uefi
    tpm: false
    boot: [disk, cdrom]
    power: running
    autostart: {{ order: {order}, wait: 30s }}
    protect: false
    tags: [synthetic, \"group-{group}\"]
    notes: |
      Machine {at} of the synthetic fleet.
      It serves no purpose but its own.
    after: [{after}]
",
        cpu = at % 8 + 1,
        memory = at % 16 + 1,
        data = at % 100 + 1,
        order = at % 1000,
        group = at % 20,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_str;
    use std::collections::BTreeMap;

    #[test]
    fn a_synthetic_fleet_loads_without_a_word() {
        let files = BTreeMap::from([("novahost.yaml".to_owned(), synthetic(300))]);
        let loaded = load_str(&files, "novahost.yaml");
        assert!(loaded.report.iter().next().is_none(), "{:?}", loaded.report.iter().next());
        assert_eq!(loaded.desired.expect("no errors").machines.len(), 300);
    }
}
