//! Which host a new machine goes to.

use super::{Allotment, Demand, NoPlace, Request, Site, disk_need};
use crate::model::{
    Bytes, Choice, Claim, Code, DeviceKind, NodeName, ObservedNode, Policy, StorageName,
};

impl Site<'_> {
    /// The pinned host, or the default one, or the one with most memory left; always
    /// one that can reach everything the machine needs.
    pub(super) fn choose_node(
        &mut self,
        request: &Request<'_>,
        demand: &Demand,
        policy: &Policy,
        result: &mut Allotment,
    ) -> Result<NodeName, NoPlace> {
        let mut feasible: Vec<(&NodeName, u64)> = Vec::new();
        let mut refused: Vec<String> = Vec::new();
        for (name, node) in &self.seen.nodes {
            match self.node_fits(name, node, request, demand, policy) {
                Ok(left) => feasible.push((name, left)),
                Err(why) => refused.push(format!("{name}: {why}")),
            }
        }
        let pinned = request.machine.pinned_node.as_ref();
        let default = self.config.default_node();
        let is = |wanted: Option<&NodeName>| {
            wanted.and_then(|wanted| feasible.iter().find(|(name, _)| *name == wanted))
        };
        let (chosen, why) = if pinned.is_some() {
            (is(pinned), "pinned".to_owned())
        } else if let Some(found) = is(default) {
            (Some(found), "the hypervisor's default".to_owned())
        } else {
            // Names break ties, so that the choice is the same on every machine.
            let best = feasible.iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(a.0)));
            let left = best.map_or(0, |(_, left)| *left);
            (best, format!("most memory left: {}", Bytes(left / Bytes::MIB * Bytes::MIB)))
        };
        let Some((node, _)) = chosen else {
            let what = pinned.map_or_else(|| "no host".to_owned(), |name| format!("host `{name}`"));
            return Err(NoPlace {
                code: Code::NoFeasibleNode,
                message: format!("{what} can take it ({})", refused.join("; ")),
                help: "make room, or change `placement`, `plan` or the storages; what the account may not see counts as missing, `novahost doctor` tells"
                    .to_owned(),
            });
        };
        let node = (*node).clone();
        let load = self.nodes.entry(node.clone()).or_default();
        load.memory += demand.memory;
        load.cpu += demand.cpu;
        result.claims.push(Claim::Node(node.clone()));
        result.claims.push(Claim::Capacity { node: node.clone(), memory: Bytes(demand.memory) });
        result.choices.push(Choice { what: "node".to_owned(), value: node.to_string(), why });
        Ok(node)
    }

    /// Memory that is left afterwards, or why the host cannot take it.
    fn node_fits(
        &self,
        name: &NodeName,
        node: &ObservedNode,
        request: &Request<'_>,
        demand: &Demand,
        policy: &Policy,
    ) -> Result<u64, String> {
        if !node.online {
            return Err("offline".to_owned());
        }
        if self.config.allowed_nodes().is_some_and(|allowed| !allowed.contains(name)) {
            return Err("not in `nodes.allow`".to_owned());
        }
        if self.config.maintenance().contains(name) {
            return Err("in maintenance".to_owned());
        }
        if let Some(pinned) = &request.machine.pinned_node
            && pinned != name
        {
            return Err("another one is pinned".to_owned());
        }
        self.networks_reach(node, request)?;
        self.template_reaches(name, request)?;
        for disk in request.new_disks {
            if let Some((storage, _)) = self.storage_for(request, disk) {
                self.storage_fits(&storage, name, disk_need(request, disk), policy)
                    .map_err(|why| format!("storage `{storage}`: {why}"))?;
            }
        }
        let load = self.nodes.get(name).copied().unwrap_or_default();
        let cpu_limit = policy.cpu_limit(node.cpus);
        if load.cpu + demand.cpu > cpu_limit {
            return Err(format!("{} of {cpu_limit} virtual processors are taken", load.cpu));
        }
        let limit = policy.memory_limit(node.memory);
        limit.checked_sub(load.memory + demand.memory).ok_or_else(|| {
            let free = limit.saturating_sub(load.memory) / Bytes::MIB * Bytes::MIB;
            format!(
                "{} memory are free above the {} % headroom, {} are needed",
                Bytes(free),
                policy.memory_headroom_percent,
                Bytes(demand.memory)
            )
        })
    }

    fn networks_reach(&self, node: &ObservedNode, request: &Request<'_>) -> Result<(), String> {
        let Some(known) = &node.networks else { return Ok(()) };
        for nic in request.spec.nics.values() {
            if let Some(network) = &nic.network
                && !known.contains(&network.native)
            {
                return Err(format!("no network `{}`", network.native));
            }
        }
        Ok(())
    }

    /// A template on local storage is cloned where it lies; one whose disks are all
    /// shared can be cloned to any host that sees them, onto shared storage.
    fn template_reaches(&self, name: &NodeName, request: &Request<'_>) -> Result<(), String> {
        let Some(template) = request.template else { return Ok(()) };
        if template.node.as_ref() == Some(name) {
            return Ok(());
        }
        let shared = |storage: &StorageName| {
            self.seen
                .storages
                .iter()
                .any(|row| row.name == *storage && row.shared && row.node == *name)
        };
        let home = template.node.as_ref().map_or("another host", |node| node.as_str());
        if let Some(local) = template.disk_storages().find(|storage| !shared(storage)) {
            return Err(format!("the template's disk lies on `{local}` of {home}"));
        }
        let boot = request.new_disks.iter().find(|disk| disk.is_boot());
        if let Some((storage, _)) = boot.and_then(|disk| self.storage_for(request, disk))
            && !shared(&storage)
        {
            return Err(format!("a clone from {home} cannot go to the local storage `{storage}`"));
        }
        Ok(())
    }
}

impl crate::model::ObservedMachine {
    /// The storages of everything that a clone copies.
    pub(crate) fn disk_storages(&self) -> impl Iterator<Item = &StorageName> {
        self.devices.iter().filter_map(|device| {
            let copied = matches!(
                device.kind,
                DeviceKind::Disk | DeviceKind::Firmware | DeviceKind::Tpm | DeviceKind::Seed
            );
            device.storage.as_ref().filter(|_| copied)
        })
    }
}
