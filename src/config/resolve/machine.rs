//! One machine: everything that it refers to, looked up and written out.

use super::entries::MachineEntry;
use super::init::{self, KeyFiles};
use super::nics::Networks;
use super::places::Places;
use super::table::{Item, shown, spend, suggestion};
use super::world::World;
use crate::config::decode::{Cx, Int};
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::expand::Expansion;
use crate::config::raw::{
    CdromText, Product, RawAutostart, RawInit, RawMachine, RawSnapshots, Reference,
};
use crate::config::scalar::{Name, Spanned};
use crate::model::{
    Autostart, BirthSource, Bytes, Cdrom, DesiredMachine, DeviceName, DiskSpec, FieldKind,
    FieldPath, HypervisorConfig, HypervisorName, InitSpec, MacAddress, MachineSpec, Medium,
    NativeId, NodeName, Place, Power, ResourceKey, SnapshotPolicy, StorageName,
};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// What a machine is resolved against.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// What it refers to.
    pub world: &'a World,
    /// All machines by name.
    pub names: &'a Expansion,
    /// Keys of its guests.
    pub keys: &'a KeyFiles,
    /// Where things are written.
    pub places: &'a Places<'a>,
    /// Suggestions left for names of machines.
    pub suggestions: &'a Cell<u32>,
    /// How many more times a machine may wait for another; `None` = too often, which has been reported.
    pub edges: &'a Cell<Option<usize>>,
}

/// How often machines may wait for others, all together. Two patterns of 10,000 that wait for each
/// other's members would be a hundred million; ten machines that wait for all 10,000 are a tenth of this.
pub const EDGES_MAX: usize = 1_000_000;

/// A machine that could be resolved, and where the things are that are compared with other machines.
#[derive(Debug)]
pub struct Resolved {
    /// The machine.
    pub desired: DesiredMachine,
    /// Where its name is.
    pub key: Span,
    /// Where its native name is.
    pub name: Span,
    /// Its written addresses.
    pub addresses: Vec<Address>,
    /// Its default gateway as written, where that is, and the card's network.
    pub gateways: Vec<(Ipv4Addr, Span, Name)>,
    /// Its written hardware addresses.
    pub macs: Vec<(MacAddress, Span)>,
    /// The id that it asks for.
    pub vmid: Option<(u32, Span)>,
    /// Where the machine is named that it takes over.
    pub adopt: Option<Span>,
    /// Where the name is that it had before.
    pub was: Option<Span>,
    /// Where each of `after` is written, in the same order.
    pub after: Vec<(ResourceKey, Span)>,
}

/// A written address.
#[derive(Debug, Clone)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Where it is written.
    pub span: Span,
    /// The network that the card is plugged into.
    pub network: Name,
}

/// Resolves one machine; `None` after problems, which have been reported.
pub fn resolve(
    entry: &MachineEntry,
    around: &Surroundings<'_>,
    cx: &mut Cx<'_>,
) -> Option<Resolved> {
    let raw = entry.raw.as_ref()?;
    let spec = MachineSpec::default();
    Builder { entry, raw, around, spec, written: Vec::new(), fine: true }.build(cx)
}

fn snapshots(raw: &RawSnapshots) -> SnapshotPolicy {
    let keep = raw.keep.as_ref().and_then(|it| u32::try_from(it.0).ok());
    SnapshotPolicy {
        before_change: raw.before_change.as_ref().is_some_and(|it| it.value),
        keep: keep.unwrap_or(SnapshotPolicy::KEEP),
    }
}

/// A machine that is being put together.
pub(super) struct Builder<'a> {
    pub(super) entry: &'a MachineEntry,
    pub(super) raw: &'a RawMachine,
    pub(super) around: &'a Surroundings<'a>,
    pub(super) spec: MachineSpec,
    /// Where fields are written.
    pub(super) written: Vec<(FieldPath, Span)>,
    /// Whether nothing has been found that makes the machine unusable.
    pub(super) fine: bool,
}

impl<'a> Builder<'a> {
    fn build(mut self, cx: &mut Cx<'_>) -> Option<Resolved> {
        let raw = self.raw;
        let key = self.entry.key;
        let hypervisor = self.hypervisor(cx);
        // At a hypervisor that could not be read, nothing can be said to be missing.
        let known = hypervisor.as_ref().filter(|(_, settings)| settings.is_some());
        let at = known.map(|(name, _)| name);
        let birth = self.image(at, cx);
        self.plain_fields();
        self.vcenter_extras();
        self.sizes(cx);
        self.disks();
        let networks = self.nics(at, cx);
        let gateways = self.gateways(&networks, cx);
        let addresses = self.addresses(&networks);
        self.pool(at, cx);
        let after = self.after(cx);
        let settings = hypervisor.as_ref().and_then(|(_, settings)| *settings);
        let pinned_node = self.pinned_node(settings, cx);
        let spread = raw.placement.as_ref().and_then(|placement| placement.spread.as_ref());
        let spread = self.take(FieldKind::Spread, spread, |name| Name::new(name.0.clone()));
        self.other_extras(at, settings, cx);
        match &birth {
            Some(birth) => {
                self.take_from_image(birth, cx);
                self.init(birth, &networks, cx);
            }
            None => self.without_image(cx),
        }
        let adopt = self.adopt(at, cx);
        let was = self.was(cx);
        let vmid = raw.proxmox.as_ref().and_then(|extras| extras.value.vmid.as_ref());
        let vmid = vmid.and_then(|vmid| Some((u32::try_from(vmid.value.0).ok()?, vmid.span)));
        let cards = raw.nics.values().filter_map(|nic| nic.value.mac.as_ref());
        let macs = cards.map(|mac| (mac.value, mac.span)).collect();
        let hypervisor = hypervisor?.0;
        let imageless = raw.adopt.is_some() && raw.image.is_none();
        if !self.fine || (birth.is_none() && !imageless) {
            return None;
        }
        let desired = DesiredMachine {
            key: ResourceKey::vm(self.entry.name.clone()),
            hypervisor: HypervisorName::new(hypervisor.shared()),
            spec: self.spec,
            power: raw.power.as_ref().map_or(Power::Once, |power| power.value),
            birth,
            after: after.iter().map(|(key, _)| key.clone()).collect(),
            pinned_node,
            spread,
            wanted_id: vmid.map(|(vmid, _)| NativeId::new(vmid.to_string())),
            adopt: adopt.as_ref().map(|(id, _)| id.clone()),
            was: was.as_ref().map(|(key, _)| key.clone()),
            snapshots: raw.snapshots.as_ref().map(|it| snapshots(&it.value)),
            service_plan: raw.plan.as_ref().map(|plan| Name::new(plan.value.0.clone())),
            place: self.around.places.at(key),
            places: places_of(self.written, self.around.places),
        };
        let name = raw.name.as_ref().map_or(key, |name| name.span);
        let (adopt, was) = (adopt.map(|(_, span)| span), was.map(|(_, span)| span));
        Some(Resolved { desired, key, name, addresses, gateways, macs, vmid, adopt, was, after })
    }

    /// Reports a problem that makes the machine unusable.
    pub(super) fn refuse(&mut self, problem: Diagnostic, cx: &mut Cx<'_>) {
        self.fine = false;
        cx.push(problem);
    }

    /// Reports that something is missing, unless it may only be unreadable.
    pub(super) fn missing(&mut self, problem: Diagnostic, cx: &mut Cx<'_>) {
        self.fine = false;
        if !self.entry.broken {
            cx.push(problem);
        }
    }

    pub(super) fn missing_field(
        &mut self,
        field: &str,
        at: Span,
        help: Option<String>,
        cx: &mut Cx<'_>,
    ) {
        let message = format!("the field `{field}` is missing");
        let problem = Diagnostic::error("missing-field", at, message);
        self.missing(help.into_iter().fold(problem, Diagnostic::help), cx);
    }

    fn stands(&mut self, kind: FieldKind, span: Span) {
        self.written.push((FieldPath::of(kind), span));
    }

    /// Takes a field with its place.
    fn take<T, U>(
        &mut self,
        kind: FieldKind,
        written: Option<&Spanned<T>>,
        value: impl FnOnce(&T) -> U,
    ) -> Option<U> {
        let written = written?;
        self.stands(kind, written.span);
        Some(value(&written.value))
    }

    /// The hypervisor by name, with its settings unless they have been reported.
    fn hypervisor(&mut self, cx: &mut Cx<'_>) -> Option<(Name, Option<&'a HypervisorConfig>)> {
        let all = &self.around.world.hypervisors;
        let Some(reference) = &self.raw.hypervisor else {
            self.missing_field("hypervisor", self.entry.key, all.candidates("", |_| true), cx);
            return None;
        };
        let found = all.find(&reference.value.0, reference.span, cx);
        self.fine &= found.is_some();
        found.map(|(name, item)| (name.clone(), item.value.as_ref()))
    }

    /// What it is born from on its hypervisor.
    fn image(&mut self, at: Option<&Name>, cx: &mut Cx<'_>) -> Option<BirthSource> {
        let all = &self.around.world.images;
        let fits = |image: &super::images::Image| {
            at.is_none_or(|hypervisor| image.at.contains_key(hypervisor))
        };
        if self.raw.image.is_none() && self.raw.adopt.is_some() {
            // It is never born, so it needs nothing to be born from.
            return None;
        }
        let Some(reference) = &self.raw.image else {
            self.missing_field("image", self.entry.key, all.candidates("", fits), cx);
            return None;
        };
        let found = all.find(&reference.value.0, reference.span, cx);
        self.fine &= found.is_some();
        let (name, item) = found?;
        let (image, hypervisor) = (item.value.as_ref()?, at?);
        if !fits(image) {
            let other = all.candidates(name.as_str(), fits);
            self.not_there("image", name, item.key, hypervisor, reference, other, cx);
            return None;
        }
        image.birth(name, hypervisor.as_str())
    }

    /// Reports that something exists, but not on the machine's hypervisor.
    #[allow(clippy::too_many_arguments, reason = "all of them are parts of one sentence")]
    pub(super) fn not_there(
        &mut self,
        what: &str,
        name: &Name,
        key: Span,
        hypervisor: &Name,
        reference: &Spanned<Reference>,
        other: Option<String>,
        cx: &mut Cx<'_>,
    ) {
        let message = format!("the {what} `{name}` is not at `{hypervisor}`");
        let problem = Diagnostic::error("not-at-hypervisor", reference.span, message)
            .related(key, format!("add `{hypervisor}` to `at` here"));
        self.refuse(other.into_iter().fold(problem, Diagnostic::help), cx);
    }

    /// Fields that are what they say.
    fn plain_fields(&mut self) {
        use FieldKind as K;
        let raw = self.raw;
        let native = self.take(K::Name, raw.name.as_ref(), ToString::to_string);
        self.spec.name = Some(native.unwrap_or_else(|| self.entry.name.to_string()));
        self.spec.firmware = self.take(K::Firmware, raw.firmware.as_ref(), |it| *it);
        self.spec.tpm = self.take(K::Tpm, raw.tpm.as_ref(), |it| *it);
        self.spec.boot = self.take(K::Boot, raw.boot.as_ref(), Clone::clone);
        self.spec.protect = self.take(K::Protect, raw.protect.as_ref(), |it| *it);
        self.spec.notes = self.take(K::Notes, raw.notes.as_ref(), ToString::to_string);
        self.spec.autostart = self.take(K::Autostart, raw.autostart.as_ref(), autostart);
        self.spec.tags = self.take(K::Tags, raw.tags.as_ref(), |tags| {
            tags.iter().map(|tag| tag.0.to_string()).collect::<BTreeSet<_>>()
        });
        self.spec.cdrom = self.take(K::Cdrom, raw.cdrom.as_ref(), |cdrom| match cdrom {
            CdromText::None => Cdrom::None,
            CdromText::Iso(volume) => Cdrom::Iso(volume.to_string()),
        });
        if let Some(power) = &raw.power {
            self.stands(K::Power, power.span);
        }
        for (key, value) in &raw.labels {
            self.written.push((FieldPath::label(key), value.span));
            self.spec.labels.insert(key.clone(), [value.value.0.to_string()].into());
        }
        if let Some(snapshots) = &raw.snapshots {
            self.stands(K::Snapshots, snapshots.key);
        }
    }

    /// What only a vCenter has; whether the machine is on one is looked at apart.
    fn vcenter_extras(&mut self) {
        let Some(extras) = self.raw.vcenter.as_ref().map(|extras| &extras.value) else { return };
        let version = |version: &Int<7, 99>| u32::try_from(version.0).unwrap_or(u32::MAX);
        self.spec.hardware_version =
            self.take(FieldKind::HardwareVersion, extras.hardware_version.as_ref(), version);
        for (key, value) in &extras.extra_config {
            let key = DeviceName::new(key.as_str());
            self.written.push((FieldPath::on(FieldKind::Extra, &key), value.span));
            self.spec.extra.insert(key, value.value.to_string());
        }
    }

    /// Processors, memory and the size of the boot disk, from the service plan or from `resources`.
    fn sizes(&mut self, cx: &mut Cx<'_>) {
        use FieldKind as K;
        if let (Some(plan), Some(resources)) = (&self.raw.plan, &self.raw.resources) {
            let message = "a service plan and sizes of its own at once";
            let problem = Diagnostic::error("conflict", plan.span, message)
                .related(resources.key, "also written here")
                .help("keep one of `plan` and `resources`");
            return self.refuse(problem, cx);
        }
        let boot = DeviceName::from(DeviceName::BOOT);
        let mut boot_size: Option<(Bytes, Span)> = None;
        if let Some(reference) = &self.raw.plan {
            let found = self.around.world.plans.find(&reference.value.0, reference.span, cx);
            self.fine &= found.is_some();
            if let Some(plan) = found.and_then(|(_, item)| item.value.as_ref()) {
                self.spec.cpu = u32::try_from(plan.cpu.0).ok();
                self.spec.memory = Some(plan.memory);
                self.stands(K::Cpu, reference.span);
                self.stands(K::Memory, reference.span);
                boot_size = plan.disk.map(|size| (size, reference.span));
            }
        }
        if let Some(resources) = self.raw.resources.as_ref().map(|resources| &resources.value) {
            let count = |number: &Int<1, 768>| u32::try_from(number.0).unwrap_or(u32::MAX);
            self.spec.cpu = self.take(K::Cpu, resources.cpu.as_ref(), count);
            let count = |number: &Int<1, 16>| u32::try_from(number.0).unwrap_or(u32::MAX);
            self.spec.sockets = self.take(K::Sockets, resources.sockets.as_ref(), count);
            self.spec.memory = self.take(K::Memory, resources.memory.as_ref(), |it| *it);
            boot_size = resources.disk.as_ref().map(|size| (size.value, size.span));
        }
        // The boot disk is always declared: what an image brings is ours.
        let size = boot_size.map(|(size, span)| {
            self.written.push((FieldPath::on(K::DiskSize, &boot), span));
            size
        });
        self.spec.disks.insert(boot, DiskSpec { size, ..DiskSpec::default() });
    }

    fn disks(&mut self) {
        use FieldKind as K;
        for (name, disk) in &self.raw.disks {
            let name = DeviceName::new(name.shared());
            let raw = &disk.value;
            let mut stands = |kind, span| self.written.push((FieldPath::on(kind, &name), span));
            stands(K::Disk, disk.key);
            let spec = self.spec.disks.entry(name.clone()).or_default();
            if let Some(size) = &raw.size {
                // Nearer than the service plan's.
                spec.size = Some(size.value);
                stands(K::DiskSize, size.span);
            }
            if let Some(bus) = &raw.bus {
                spec.bus = Some(bus.value);
                stands(K::DiskBus, bus.span);
            }
            if let Some(storage) = &raw.storage {
                spec.storage = Some(StorageName::new(storage.value.0.clone()));
                stands(K::DiskStorage, storage.span);
            }
            spec.slot = raw.slot.as_ref().and_then(|slot| u8::try_from(slot.value.0).ok());
            spec.on_remove = raw.on_remove;
        }
        let common = self.raw.placement.as_ref().and_then(|placement| placement.storage.as_ref());
        let Some(common) = common else { return };
        for (name, disk) in self.spec.disks.iter_mut().filter(|(_, it)| it.storage.is_none()) {
            disk.storage = Some(StorageName::new(common.value.0.clone()));
            self.written.push((FieldPath::on(K::DiskStorage, name), common.span));
        }
    }

    fn pool(&mut self, at: Option<&Name>, cx: &mut Cx<'_>) {
        let all = &self.around.world.pools;
        let Some(reference) = &self.raw.pool else { return };
        let found = all.find(&reference.value.0, reference.span, cx);
        self.fine &= found.is_some();
        let Some((name, item)) = found else { return };
        if let (Some(pool), Some(hypervisor)) = (&item.value, at)
            && !pool.at.has(hypervisor)
        {
            let fits = |pool: &crate::config::raw::RawPool| pool.at.has(hypervisor);
            let other = all.candidates(name.as_str(), fits);
            return self.not_there("pool", name, item.key, hypervisor, reference, other, cx);
        }
        self.spec.pool = Some(name.clone());
        self.stands(FieldKind::Pool, reference.span);
    }

    /// Machines that must come first; a written pattern means all of its members.
    fn after(&mut self, cx: &mut Cx<'_>) -> Vec<(ResourceKey, Span)> {
        let mut all: BTreeMap<ResourceKey, Span> = BTreeMap::new();
        for reference in &self.raw.after {
            let text = reference.value.strip_prefix("vm/").unwrap_or(&reference.value);
            match self.around.names.resolve(text) {
                Some(names) => {
                    if !self.pays_for(names.len(), reference.span, cx) {
                        break;
                    }
                    for name in names {
                        all.entry(ResourceKey::vm(name)).or_insert(reference.span);
                    }
                }
                None => {
                    let help = spend(self.around.suggestions)
                        .and_then(|()| suggestion(text, self.around.names.names().collect()));
                    let message = format!("there is no machine `{}`", shown(text));
                    let problem = Diagnostic::error("unknown-machine", reference.span, message);
                    self.refuse(help.into_iter().fold(problem, Diagnostic::help), cx);
                }
            }
        }
        all.into_iter().collect()
    }

    /// Whether so many more edges are within bounds. Going past them is reported once.
    fn pays_for(&mut self, edges: usize, span: Span, cx: &mut Cx<'_>) -> bool {
        let Some(left) = self.around.edges.get() else {
            self.fine = false;
            return false;
        };
        let rest = left.checked_sub(edges);
        self.around.edges.set(rest);
        if rest.is_none() {
            let message =
                format!("up to here, machines wait for others more than {EDGES_MAX} times");
            self.refuse(Diagnostic::error("too-large", span, message), cx);
        }
        rest.is_some()
    }

    fn pinned_node(
        &mut self,
        settings: Option<&HypervisorConfig>,
        cx: &mut Cx<'_>,
    ) -> Option<NodeName> {
        let placement = self.raw.placement.as_ref()?;
        if let (Some(node), Some(cluster)) = (&placement.node, &placement.cluster) {
            let problem =
                Diagnostic::error("conflict", cluster.span, "a node and a cluster at once")
                    .related(node.span, "also written here")
                    .help("keep one of `node` and `cluster`: on a vCenter they are the same");
            self.refuse(problem, cx);
        }
        // That another product has no clusters of its own is told apart.
        let has_clusters = settings.is_none_or(|it| Product::of(it) == Product::Vcenter);
        let cluster = placement.cluster.as_ref().filter(|_| has_clusters);
        let node = placement.node.as_ref().or(cluster)?;
        if &*node.value.0 == "auto" {
            return None;
        }
        let allowed = settings.and_then(HypervisorConfig::allowed_nodes);
        if let Some(allowed) = allowed
            && !allowed.contains(&*node.value.0)
        {
            let names: Vec<&str> = allowed.iter().map(NodeName::as_str).collect();
            let message = format!("the node `{}` is not among those allowed", node.value.0);
            let help =
                spend(self.around.suggestions).and_then(|()| suggestion(&node.value.0, names));
            let problem = Diagnostic::error("unknown-node", node.span, message);
            self.refuse(help.into_iter().fold(problem, Diagnostic::help), cx);
        }
        Some(NodeName::new(node.value.0.clone()))
    }

    /// What only another product has means nothing here.
    fn other_extras(
        &mut self,
        at: Option<&Name>,
        settings: Option<&HypervisorConfig>,
        cx: &mut Cx<'_>,
    ) {
        let Some((name, settings)) = at.zip(settings) else { return };
        let own = Product::of(settings);
        let other = match own {
            Product::Proxmox => Product::Vcenter,
            Product::Vcenter => Product::Proxmox,
        };
        let (word, extras) = match other {
            Product::Proxmox => ("proxmox", self.raw.proxmox.as_ref().map(|extras| extras.key)),
            Product::Vcenter => ("vcenter", self.raw.vcenter.as_ref().map(|extras| extras.key)),
        };
        if let Some(span) = extras {
            let (other, own) = (other.shown(), own.shown());
            let message = format!("`{word}` is for machines on {other}, and `{name}` is {own}");
            let problem = Diagnostic::error("other-product", span, message);
            self.refuse(problem.help("remove it, or name another `hypervisor`"), cx);
        }
    }

    /// The machine to take over, which must be where the entry is.
    fn adopt(&mut self, at: Option<&Name>, cx: &mut Cx<'_>) -> Option<(NativeId, Span)> {
        let written = self.raw.adopt.as_ref()?;
        let (hypervisor, id) = written.value.parts();
        self.stands(FieldKind::Marker, written.span);
        if let Some(at) = at
            && at.as_str() != hypervisor
        {
            let message = format!("the machine to adopt is on `{hypervisor}`, the entry on `{at}`");
            let mut problem = Diagnostic::error("conflict", written.span, message)
                .help(format!("write `adopt: {at}/{id}`, or another `hypervisor`"));
            if let Some(own) = &self.raw.hypervisor {
                problem = problem.related(own.span, "the entry's hypervisor");
            }
            self.refuse(problem, cx);
        }
        Some((NativeId::new(id.to_owned()), written.span))
    }

    /// The key that the entry had before.
    fn was(&mut self, cx: &mut Cx<'_>) -> Option<(ResourceKey, Span)> {
        let written = self.raw.was.as_ref()?;
        let (text, span) =
            (written.value.strip_prefix("vm/").unwrap_or(&written.value), written.span);
        let name = match Name::from_shared(text.into()) {
            Ok(name) => name,
            Err(error) => {
                let problem = Diagnostic::error("invalid-name", span, error.message);
                self.refuse(error.help.into_iter().fold(problem, Diagnostic::help), cx);
                return None;
            }
        };
        if let Some(adopt) = &self.raw.adopt {
            let message = "a machine that is adopted had no name here before";
            let problem = Diagnostic::error("conflict", span, message)
                .related(adopt.span, "it is adopted here")
                .help("keep one of `adopt` and `was`");
            self.refuse(problem, cx);
        } else if self.around.names.resolve(text).is_some() {
            let message = format!("`{}` still has an entry", shown(text));
            let help = "remove that entry, or this `was`";
            self.refuse(Diagnostic::error("was-exists", span, message).help(help), cx);
        } else {
            self.stands(FieldKind::Marker, span);
        }
        Some((ResourceKey::vm(name), span))
    }

    /// A machine that is only taken over: nobody knows what its guest reads.
    fn without_image(&mut self, cx: &mut Cx<'_>) {
        if self.raw.adopt.is_none() || self.raw.image.is_some() {
            return;
        }
        if let Some(init) = &self.raw.init {
            let message = "`init` needs an `image`, which says whether the guest reads it";
            let help = "name the image that it was made from, or remove `init`";
            self.refuse(Diagnostic::error("init-without-reader", init.key, message).help(help), cx);
        }
        self.forget_addresses();
    }

    /// Nobody tells the guest, so there is nothing to compare. The address was checked all the same.
    fn forget_addresses(&mut self) {
        for nic in self.spec.nics.values_mut() {
            nic.ip = None;
            nic.gateway = None;
        }
    }

    /// What an image decides for machines that do not say.
    fn take_from_image(&mut self, birth: &BirthSource, cx: &mut Cx<'_>) {
        let spec = &mut self.spec;
        spec.firmware = spec.firmware.or(birth.firmware);
        if spec.cdrom.is_none() {
            spec.cdrom = birth.medium.cdrom();
        }
        match birth.medium {
            Medium::Template { .. } => {}
            Medium::Iso { .. } => self.complete_without_template(&birth.image, cx),
        }
    }

    /// An empty machine has nothing that sizes could be taken from.
    fn complete_without_template(&mut self, image: &Name, cx: &mut Cx<'_>) {
        let boot = self.spec.disks.get(DeviceName::BOOT).and_then(|disk| disk.size);
        let sizes = [
            ("cpu", self.spec.cpu.is_some()),
            ("memory", self.spec.memory.is_some()),
            ("disk", boot.is_some()),
        ];
        let missing: Vec<&str> =
            sizes.iter().filter(|(_, known)| !known).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            let message = format!(
                "a machine from the installer `{image}` needs sizes; missing: {}",
                missing.join(", ")
            );
            let span = self.raw.image.as_ref().map_or(self.entry.key, |image| image.span);
            let problem = Diagnostic::error("missing-size", span, message)
                .help("name a `plan`, or write `resources: { cpu: 2, memory: 4GiB, disk: 32GiB }`");
            self.missing(problem, cx);
        }
    }

    /// First-boot configuration, for images that read it.
    fn init(&mut self, birth: &BirthSource, networks: &Networks<'_>, cx: &mut Cx<'_>) {
        let setup = self.customization(birth, cx);
        if !birth.takes_init && setup.is_none() || self.is_left_alone(birth) {
            if let Some(init) = &self.raw.init {
                let message = format!("the image `{}` reads no `init`", birth.image);
                let image = self.around.world.images.get(birth.image.as_str());
                let mut problem = Diagnostic::error("init-without-reader", init.key, message)
                    .help("remove `init`, or write `init: cloud-init` on the image if it has that");
                if let Some(Item { key, .. }) = image {
                    problem = problem.related(*key, "the image");
                }
                self.refuse(problem, cx);
            }
            self.forget_addresses();
            return;
        }
        let addressed = self.spec.nics.values().any(|nic| nic.ip.is_some());
        if self.raw.init.is_none() && !addressed {
            return;
        }
        let mut init = self.raw.init.as_ref().map_or_else(InitSpec::default, |raw| {
            self.init_places(&raw.value);
            init::plain_fields(&raw.value)
        });
        let keys = self.raw.init.as_ref().and_then(|raw| raw.value.ssh_keys.as_ref());
        if let Some(written) = keys {
            init.ssh_keys = init::ssh_keys(&written.value, self.around.keys, cx);
            self.fine &= init.ssh_keys.is_some();
        }
        self.take_from_networks(&mut init, networks);
        init.customization = setup;
        init.digest = Some(init::digest(&init, &self.spec.nics));
        self.spec.init = Some(init);
    }

    fn init_places(&mut self, raw: &RawInit) {
        use FieldKind as K;
        let spans = [
            (K::InitHostname, raw.hostname.as_ref().map(|it| it.span)),
            (K::InitDomain, raw.domain.as_ref().map(|it| it.span)),
            (K::InitUser, raw.user.as_ref().map(|it| it.span)),
            (K::InitSshKeys, raw.ssh_keys.as_ref().map(|it| it.span)),
            (K::InitPassword, raw.password.as_ref().map(|it| it.span)),
            (K::InitDns, raw.dns.as_ref().map(|it| it.span)),
            (K::InitWindows, raw.windows.as_ref().map(|it| it.key)),
            (K::InitCustomization, raw.customization_spec.as_ref().map(|it| it.span)),
            (K::InitDigest, self.raw.init.as_ref().map(|it| it.key)),
        ];
        for (kind, span) in spans {
            if let Some(span) = span {
                self.stands(kind, span);
            }
        }
    }
}

/// Sorted by path, so that one can be found quickly. Of a field that was settled twice, the later place holds.
fn places_of(mut written: Vec<(FieldPath, Span)>, places: &Places<'_>) -> Vec<(FieldPath, Place)> {
    written.reverse();
    written.sort_by(|a, b| a.0.cmp(&b.0));
    written.dedup_by(|later, first| later.0 == first.0);
    written.into_iter().map(|(path, span)| (path, places.at(span))).collect()
}

fn autostart(raw: &RawAutostart) -> Autostart {
    match raw {
        RawAutostart::Flag(enabled) => Autostart { enabled: *enabled, order: None, wait_s: None },
        RawAutostart::Ordered(raw) => Autostart {
            enabled: true,
            order: raw.order.and_then(|order| u32::try_from(order.0).ok()),
            wait_s: raw.wait.as_ref().and_then(|wait| u32::try_from(wait.value.0).ok()),
        },
    }
}
