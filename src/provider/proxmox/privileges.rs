//! What the account must be allowed for this project, what it lacks, what it has
//! beyond that, and the commands that mend it.
//!
//! Pure: inputs are the declared machines and pools, what was observed, and what the
//! server says of the account; outputs are needs, differences and command lines. Only
//! calls that this provider makes count: it moves no machine, takes no snapshot and
//! does not ask guest agents, so that no release needs another list than the next.

use super::{
    coverage,
    normalize::normalize,
    wire::{AclRow, Permissions},
};
use crate::{
    model::{
        Cdrom, DesiredMachine, DesiredState, DeviceKind, HypervisorInventory, HypervisorName, Kind,
        MachineSpec, Medium, ObservedMachine, Power, PowerState, StorageName,
    },
    provider::checks::wants_seed,
};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that any project can need, with what it is for. This is the role that
/// the README tells to make.
pub const ROLE: [(&str, &str); 19] = [
    ("Datastore.AllocateSpace", "make, copy and grow disks"),
    ("Datastore.Audit", "see storages, their room and their images"),
    ("Pool.Allocate", "make, change and delete pools, and put machines into them"),
    ("Pool.Audit", "see pools"),
    ("SDN.Use", "see bridges and plug cards into them"),
    ("Sys.Audit", "see the cluster's status and the access list: what proves absence"),
    ("Sys.Modify", "write `autostart` with an order or a wait"),
    ("VM.Allocate", "make and delete machines"),
    ("VM.Audit", "see every machine"),
    ("VM.Clone", "clone templates"),
    ("VM.Config.CDROM", "write CD and first-boot drives"),
    ("VM.Config.CPU", "set processors"),
    ("VM.Config.Cloudinit", "make first-boot drives"),
    ("VM.Config.Disk", "add, grow and remove disks, set the boot order"),
    ("VM.Config.HWType", "give a new machine its UUID and its hardware"),
    ("VM.Config.Memory", "set memory"),
    ("VM.Config.Network", "add, change and remove cards"),
    ("VM.Config.Options", "write name, notes with our mark, tags, protection"),
    ("VM.PowerMgmt", "start and stop machines"),
];

/// What those privileges that we do not need could do in wrong hands. What is not
/// here does no harm beyond what the rest of the role can do anyway.
const DANGERS: [(&str, &str); 18] = [
    ("Datastore.Allocate", "deletes storages and other people's volumes"),
    ("Group.Allocate", "changes who belongs to whom"),
    ("Mapping.Modify", "gives host devices to guests"),
    ("Permissions.Modify", "gives itself and everybody any right"),
    ("Realm.Allocate", "decides who can log in"),
    ("Realm.AllocateUser", "makes accounts"),
    ("SDN.Allocate", "changes everybody's networks"),
    ("Sys.AccessNetwork", "fetches from any address in a host's name"),
    ("Sys.Console", "opens a shell on hosts"),
    ("Sys.Incoming", "lets guests of other clusters in"),
    ("Sys.Modify", "changes hosts and settings of the whole cluster"),
    ("Sys.PowerMgmt", "switches hosts off"),
    ("User.Modify", "changes accounts and their tokens"),
    ("VM.Console", "types on every machine's console"),
    ("VM.GuestAgent.FileWrite", "writes files inside of guests"),
    ("VM.GuestAgent.Unrestricted", "runs programs inside of guests"),
    ("VM.Monitor", "speaks to the emulator of every machine, and to its agent"),
    ("VM.Snapshot.Rollback", "throws away what happened since a snapshot"),
];

/// The role that a new account is given; the name in the README.
const ROLE_NAME: &str = "NovahostProvisioner";
/// A role beside those that the account has, when none of them can be changed.
const MORE_NAME: &str = "NovahostMore";
/// The account that is not bound by roles.
const ROOT: &str = "root@pam";
/// Places that are named for one privilege before the rest is counted.
const PLACES_MAX: usize = 3;

/// One thing that the account must be able to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The privilege.
    pub privilege: &'static str,
    /// Where: any one of these will do. A place that ends in `/*` means everything
    /// below it, also what is not there yet.
    pub at: Vec<String>,
}

/// A privilege that nothing here needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Which.
    pub privilege: String,
    /// What it could do in wrong hands.
    pub danger: Option<&'static str>,
}

/// What the server says of the account.
pub(super) struct Account<'a> {
    /// `user@realm`, or `user@realm!token`.
    pub identity: &'a str,
    /// Whether the token has only what rows of its own give it; `None` = not told.
    pub separated: Option<bool>,
    /// What it may do, by path, worked out by the server.
    pub permissions: &'a Permissions,
    /// Who may do what, as far as it may see.
    pub acl: &'a [AclRow],
    /// The user's groups; `None` = not known.
    pub groups: Option<&'a BTreeSet<String>>,
    /// Roles, and whether they are built in.
    pub roles: &'a BTreeMap<String, bool>,
}

/// What a privilege is for.
pub fn purpose(privilege: &str) -> &'static str {
    ROLE.iter().find(|(name, _)| *name == privilege).map_or("", |(_, why)| *why)
}

/// What this project needs at one hypervisor: what is declared there, and what of its
/// own is there already. Sorted, each once.
pub fn needs(
    desired: &DesiredState,
    name: &HypervisorName,
    seen: &HypervisorInventory,
) -> BTreeSet<Need> {
    let mut needs = Needs { seen, all: BTreeSet::new(), site: desired, name };
    // Without these nothing that was not seen is proved not to be there.
    needs.at("VM.Audit", ["/vms/*"]);
    needs.at("Sys.Audit", ["/"]);
    needs.at("Sys.Audit", ["/access"]);
    let own: BTreeMap<_, _> = seen
        .machines
        .values()
        .filter_map(|it| Some((it.marker.found()?, it)))
        .filter(|(marker, _)| marker.project == desired.project && marker.key.kind == Kind::Vm)
        .map(|(marker, machine)| (&marker.key, machine))
        .collect();
    let declared = desired.machines.values().filter(|it| it.hypervisor == *name);
    for machine in declared {
        needs.machine(machine, own.get(&machine.key).copied());
    }
    for (_, machine) in own.iter().filter(|(key, _)| !desired.machines.contains_key(**key)) {
        needs.leftover(machine);
    }
    for pool in desired.pools.values().filter(|it| it.at.contains_key(name)) {
        needs.pool(pool.key.name.as_str());
    }
    for (native, pool) in &seen.pools {
        if pool.marker.found().is_some_and(|marker| marker.project == desired.project) {
            needs.pool(native.as_str());
        }
    }
    needs.all
}

struct Needs<'a> {
    seen: &'a HypervisorInventory,
    site: &'a DesiredState,
    name: &'a HypervisorName,
    all: BTreeSet<Need>,
}

impl<'a> Needs<'a> {
    fn at<const N: usize>(&mut self, privilege: &'static str, at: [&str; N]) {
        self.on(privilege, &at.map(str::to_owned));
    }

    fn on(&mut self, privilege: &'static str, at: &[String]) {
        self.all.insert(Need { privilege, at: at.to_vec() });
    }

    fn pool(&mut self, pool: &str) {
        let at = format!("/pool/{pool}");
        self.at("Pool.Allocate", [&at]);
        self.at("Pool.Audit", [&at]);
    }

    /// Something of ours that the YAML no longer has: it is marked, stopped, deleted.
    fn leftover(&mut self, machine: &ObservedMachine) {
        let at = [format!("/vms/{}", machine.id)];
        self.on("VM.Allocate", &at);
        self.on("VM.Config.Options", &at);
        if machine.power != PowerState::Stopped {
            self.on("VM.PowerMgmt", &at);
        }
    }

    fn machine(&mut self, machine: &DesiredMachine, own: Option<&ObservedMachine>) {
        // What cannot be had at all is the plan's to tell.
        let spec = &normalize(machine).unwrap_or_else(|_| machine.spec.clone());
        let at = place(machine, own);
        for privilege in ["VM.Allocate", "VM.Config.Options"] {
            self.on(privilege, &at);
        }
        let iso = match machine.birth.as_ref().map(|it| &it.medium) {
            Some(Medium::Iso { volume }) => Some(volume),
            Some(Medium::Template { .. }) | None => None,
        };
        let runs = machine.power != Power::Stopped
            || own.is_some_and(|it| it.power != PowerState::Stopped);
        let template = self.template(machine);
        let seeded = wants_seed(spec);
        let has_seed =
            |it: &ObservedMachine| it.devices.iter().any(|it| it.kind == DeviceKind::Seed);
        // A drive that a template or the machine itself brings is not made again; what
        // is written on it goes with the privilege for cards too.
        let makes_seed = seeded && !own.or(template).is_some_and(has_seed);
        let reads_cd = iso.is_some() || spec.cdrom.is_some();
        let wanted = [
            ("VM.PowerMgmt", runs),
            ("VM.Config.HWType", machine.birth.is_some()),
            ("VM.Config.CPU", iso.is_some() || spec.cpu.is_some() || spec.sockets.is_some()),
            ("VM.Config.Memory", spec.memory.is_some()),
            ("VM.Config.Disk", machine.birth.is_some() || !spec.disks.is_empty()),
            ("VM.Config.Network", seeded || !spec.nics.is_empty()),
            ("VM.Config.CDROM", reads_cd || makes_seed),
            ("VM.Config.Cloudinit", makes_seed),
        ];
        for (privilege, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            self.on(privilege, &at);
        }
        if matches!(machine.birth.as_ref().map(|it| &it.medium), Some(Medium::Template { .. })) {
            let at = template.map_or_else(|| "/vms/*".to_owned(), |it| format!("/vms/{}", it.id));
            self.at("VM.Clone", [&at]);
        }
        let ordered = |it: &crate::model::Autostart| it.order.is_some() || it.wait_s.is_some();
        let was_ordered = own.and_then(|it| it.settled().autostart.as_ref()).is_some_and(ordered);
        if spec.autostart.as_ref().is_some_and(|it| ordered(it) || was_ordered) {
            self.at("Sys.Modify", ["/"]);
        }
        if let Some(pool) = &spec.pool {
            self.pool(pool.as_str());
        }
        let cd = match &spec.cdrom {
            Some(Cdrom::Iso(volume)) => Some(volume),
            Some(Cdrom::None) | None => None,
        };
        for volume in iso.into_iter().chain(cd) {
            let storage = volume.split(':').next().unwrap_or_default();
            self.at("Datastore.Audit", [&format!("/storage/{storage}")]);
        }
        self.storages(machine, spec, template);
        self.bridges(spec);
    }

    fn storages(
        &mut self,
        machine: &DesiredMachine,
        spec: &MachineSpec,
        template: Option<&ObservedMachine>,
    ) {
        let config = self.site.hypervisors.get(self.name);
        let default = config.and_then(|it| it.default_storage());
        let of_template = || {
            let disk = template?.devices.iter().find(|it| it.kind == DeviceKind::Disk)?;
            disk.storage.as_ref()
        };
        let mut named: BTreeSet<Option<&StorageName>> = BTreeSet::new();
        for (disk, it) in &spec.disks {
            let beside = || if disk.is_boot() { of_template().or(default) } else { default };
            named.insert(it.storage.as_ref().or_else(beside));
        }
        if spec.disks.is_empty() && machine.birth.is_some() {
            named.insert(of_template().or(default));
        }
        for storage in named {
            let at = storage.map_or_else(|| "/storage/*".to_owned(), |it| format!("/storage/{it}"));
            self.at("Datastore.AllocateSpace", [&at]);
            self.at("Datastore.Audit", [&at]);
        }
    }

    fn bridges(&mut self, spec: &MachineSpec) {
        for nic in spec.nics.values() {
            let Some(network) = &nic.network else { continue };
            let mut at = format!("/sdn/zones/localnetwork/{}", network.native);
            if let Some(tag) = nic.vlan {
                at = format!("{at}/{tag}");
            }
            self.at("SDN.Use", [&at]);
        }
    }

    fn template(&self, machine: &DesiredMachine) -> Option<&'a ObservedMachine> {
        let medium = machine.birth.as_ref().map(|it| &it.medium)?;
        let Medium::Template { id, name, .. } = medium else { return None };
        let is = |it: &&ObservedMachine| match (id, name) {
            (Some(id), _) => it.id == *id,
            (None, Some(name)) => it.template && it.spec.name.as_ref() == Some(name),
            (None, None) => false,
        };
        self.seen.machines.values().find(is)
    }
}

/// Where rights on a machine are looked for: on itself, or before its birth on the
/// pool that it is born into.
fn place(machine: &DesiredMachine, own: Option<&ObservedMachine>) -> Vec<String> {
    if let Some(own) = own {
        return vec![format!("/vms/{}", own.id)];
    }
    let below = match &machine.wanted_id {
        Some(id) => format!("/vms/{id}"),
        None => "/vms/*".to_owned(),
    };
    let pool = machine.spec.pool.as_ref().map(|pool| format!("/pool/{pool}"));
    [below].into_iter().chain(pool).collect()
}

impl Account<'_> {
    /// Whether it holds a privilege at one of the places.
    fn may(&self, need: &Need) -> bool {
        need.at.iter().any(|at| self.holds(at, need.privilege) || self.holds_in_zone(at, need))
    }

    /// The nearest path that the server worked out decides: what holds there is what
    /// was inherited, or what replaced it.
    fn holds(&self, at: &str, privilege: &str) -> bool {
        let mut path = at;
        loop {
            if let Some(held) = self.permissions.get(path) {
                return held.get(privilege).is_some_and(|spreads| path == at || spreads.0);
            }
            // A path that a row names and that the server leaves out holds nothing.
            if path == "/" || self.rows().any(|row| row.path == path) {
                return false;
            }
            path = parent(path);
        }
    }

    /// A bridge of a zone that we do not know the name of.
    fn holds_in_zone(&self, at: &str, need: &Need) -> bool {
        let Some(bridge) = at.strip_prefix("/sdn/zones/localnetwork/") else { return false };
        let ends = format!("/{bridge}");
        let zones = self.permissions.iter().filter(|(path, _)| {
            path.strip_prefix("/sdn/zones/").is_some_and(|rest| rest.ends_with(&ends))
        });
        zones.into_iter().any(|(_, held)| held.contains_key(need.privilege))
    }

    /// Rows that are about this account.
    fn rows(&self) -> impl Iterator<Item = &AclRow> {
        self.acl.iter().filter(|row| coverage::applies(row, self.identity, self.groups))
    }

    fn user(&self) -> &str {
        self.identity.split('!').next().unwrap_or_default()
    }

    fn is_token(&self) -> bool {
        self.identity.contains('!')
    }

    /// Whether it is the account that no role binds.
    pub fn is_root(&self) -> bool {
        self.user() == ROOT && !(self.is_token() && self.separated != Some(false))
    }
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// The path of a place, as it is shown and granted.
fn shown(at: &str) -> &str {
    at.strip_suffix("/*").unwrap_or(at)
}

/// The needs that are not met.
pub(super) fn missing<'n>(needs: &'n BTreeSet<Need>, account: &Account<'_>) -> Vec<&'n Need> {
    needs.iter().filter(|need| !account.may(need)).collect()
}

/// One line for each missing privilege: where, and what for.
pub(super) fn told(missing: &[&Need]) -> Vec<String> {
    let mut places: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for need in missing {
        let at: Vec<&str> = need.at.iter().map(|at| shown(at)).collect();
        places.entry(need.privilege).or_default().insert(at.join(" or "));
    }
    let line = |(privilege, at): (&str, BTreeSet<String>)| {
        let count = at.len();
        let mut some: Vec<String> =
            at.into_iter().take(PLACES_MAX).map(|at| format!("`{at}`")).collect();
        if count > PLACES_MAX {
            some.push(format!("{} more", count - PLACES_MAX));
        }
        format!("{privilege} on {}: to {}", some.join(", "), purpose(privilege))
    };
    places.into_iter().map(line).collect()
}

/// What it holds anywhere and nothing here needs, dangerous ones first.
pub(super) fn excess(needs: &BTreeSet<Need>, account: &Account<'_>) -> Vec<Excess> {
    let needed: BTreeSet<&str> = needs.iter().map(|need| need.privilege).collect();
    let held: BTreeSet<&str> =
        account.permissions.values().flat_map(|at| at.keys().map(String::as_str)).collect();
    let mut all: Vec<Excess> = held
        .into_iter()
        .filter(|privilege| !needed.contains(privilege))
        .map(|privilege| Excess {
            privilege: privilege.to_owned(),
            danger: DANGERS.iter().find(|(name, _)| *name == privilege).map(|(_, it)| *it),
        })
        .collect();
    all.sort_by_key(|it| (it.danger.is_none(), it.privilege.clone()));
    all
}

/// Whose row a grant has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'a> {
    User(&'a str),
    Group(&'a str),
    Token(&'a str),
}

/// The commands, to be run on a node, that give the account what it lacks.
///
/// Rows *replace* what is inherited: a row on a path where the account has none yet
/// would take everything else away there. So what is missing is added where its own
/// rows are already, to the role itself where that can be changed.
pub(super) fn grants(missing: &[&Need], account: &Account<'_>) -> Vec<String> {
    let mut wider: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut added: BTreeSet<&str> = BTreeSet::new();
    let mut rows: BTreeSet<(&str, Subject<'_>)> = BTreeSet::new();
    for need in missing {
        let at = need.at.first().map_or("/", |at| shown(at));
        for own in subjects(account) {
            let (path, subject, roles) = row_for(account, own, at);
            let changeable = roles.iter().find(|role| account.roles.get(**role) == Some(&false));
            match changeable {
                Some(role) => drop(wider.entry(role).or_default().insert(need.privilege)),
                None => {
                    added.insert(need.privilege);
                    rows.insert((path, subject));
                }
            }
        }
    }
    let list = |all: BTreeSet<&str>| all.into_iter().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = wider
        .into_iter()
        .map(|(role, all)| {
            format!("pveum role modify {} --append 1 --privs \"{}\"", word(role), list(all))
        })
        .collect();
    if added.is_empty() {
        return lines;
    }
    let name = if account.roles.contains_key(ROLE_NAME) { MORE_NAME } else { ROLE_NAME };
    lines.push(match account.roles.contains_key(name) {
        true => format!("pveum role modify {name} --append 1 --privs \"{}\"", list(added)),
        false => format!("pveum role add {name} --privs \"{}\"", list(added)),
    });
    for (path, subject) in rows {
        let (option, who) = match subject {
            Subject::User(who) => ("--users", who),
            Subject::Group(who) => ("--groups", who),
            Subject::Token(who) => ("--tokens", who),
        };
        lines.push(format!(
            "pveum acl modify {} {option} {} --roles {name}",
            word(path),
            word(who)
        ));
    }
    lines
}

/// Whose rights count: both of a token with rights of its own and its user, because
/// it has what both have.
fn subjects<'a>(account: &'a Account<'_>) -> Vec<Subject<'a>> {
    let user = (account.user() != ROOT).then(|| Subject::User(account.user()));
    let token = (account.is_token() && account.separated != Some(false))
        .then_some(Subject::Token(account.identity));
    user.into_iter().chain(token).collect()
}

/// The row that gives `own` what it has at a path: where it is, whose it is, and the
/// roles on it. Without one, `/`.
fn row_for<'a>(
    account: &'a Account<'_>,
    own: Subject<'a>,
    at: &str,
) -> (&'a str, Subject<'a>, Vec<&'a str>) {
    let mut path = at;
    loop {
        let here = || account.rows().filter(|row| row.path == path);
        let of = |kind: &'static str| here().filter(move |row| row.kind == kind);
        // On one level a token's rows beat the user's, and the user's those of groups.
        let found: Vec<&AclRow> = match own {
            Subject::Token(_) => of("token").collect(),
            Subject::User(_) | Subject::Group(_) if of("user").next().is_some() => {
                of("user").collect()
            }
            Subject::User(_) | Subject::Group(_) => of("group").collect(),
        };
        if let Some(first) = found.first() {
            let subject = match first.kind.as_str() {
                "group" => Subject::Group(&first.ugid),
                _ => own,
            };
            let same = found.iter().filter(|row| row.ugid == first.ugid);
            return (&first.path, subject, same.map(|row| row.roleid.as_str()).collect());
        }
        if path == "/" {
            return ("/", own, Vec::new());
        }
        path = parent(path);
    }
}

/// A word of a shell's command line. Names come from the server: whatever is not
/// plain is quoted whole.
pub(super) fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-@".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The command that takes everything else away, when the account has one role of its
/// own making.
pub(super) fn trim(needs: &BTreeSet<Need>, account: &Account<'_>) -> Option<String> {
    let roles: BTreeSet<&str> = account.rows().map(|row| row.roleid.as_str()).collect();
    let mut roles = roles.into_iter();
    let (Some(role), None) = (roles.next(), roles.next()) else { return None };
    if account.roles.get(role) != Some(&false) {
        return None;
    }
    let needed: BTreeSet<&str> = needs.iter().map(|need| need.privilege).collect();
    let list = needed.into_iter().collect::<Vec<_>>().join(" ");
    Some(format!("pveum role modify {} --privs \"{list}\"", word(role)))
}

#[cfg(test)]
#[path = "privileges_tests.rs"]
mod tests;
