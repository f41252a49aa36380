//! One step and a fresh read, turned into one native request.
//!
//! Pure: the client sends what comes out of here and adds nothing but transport.
//! Values are complete, because the product replaces whole options: what a step
//! does not speak of is taken from the fresh read.

use super::{
    property::{parse_tags, print_size, print_tags},
    settings::{Edit, Facts},
    translate::{Options, devices, join_comment, notes_of},
};
use crate::{
    model::{
        Birth, BirthSource, CloneFrom, DeviceMap, Firmware, FreshObject, GuestOs, Marker,
        MarkerDraft, MarkerState, Name, NodeName, ProjectName, Setting, Slot, Stage, StepOp,
        StorageName, Wait,
    },
    ownership,
    provider::Call,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use uuid::Uuid;

pub use super::translate::RawGuest;

/// Bytes that the option `description` may hold (qemu-server `QemuServer.pm`).
pub const NOTES_MAX: usize = 8 * 1024;

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Parameters in the body.
    Post,
    /// Parameters in the body.
    Put,
    /// Parameters in the query: a body is refused.
    Delete,
}

/// What a successful reply holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A task id.
    Task,
    /// A task id, or nothing when it is already done (older versions).
    MaybeTask,
    /// Nothing; the work is done.
    Nothing,
}

/// One request, ready but for encoding: parameters are plain text, and the form
/// layer percent-encodes all of them.
#[derive(Clone, PartialEq, Eq)]
pub struct NativeRequest {
    /// How it is sent.
    pub method: Method,
    /// Below `/api2/json`, segments percent-encoded.
    pub path: String,
    /// Parameters, sorted by name.
    pub params: Vec<(String, String)>,
    /// Names of parameters that are never logged.
    pub secret_params: Vec<&'static str>,
    /// What comes back.
    pub answers: Answers,
}

impl fmt::Debug for NativeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.method, self.path)?;
        for (key, value) in &self.params {
            let shown = if self.secret_params.contains(&key.as_str()) { "****" } else { value };
            write!(f, " {key}={shown:?}")?;
        }
        Ok(())
    }
}

impl NativeRequest {
    fn new(method: Method, path: String, answers: Answers) -> Self {
        Self { method, path, params: Vec::new(), secret_params: Vec::new(), answers }
    }

    fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.params.push((key.to_owned(), value.into()));
        self.params.sort();
        self
    }

    fn with_some(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The same request without our bulk tag, for servers on which this account may
    /// not use that tag: its refusal is a note, not a failure. `None` when the
    /// request does not write it.
    pub fn without_bulk_tag(&self, project: &ProjectName) -> Option<Self> {
        let at = self.params.iter().position(|(key, _)| key == "tags")?;
        let mut tags = parse_tags(&self.params[at].1);
        if !tags.remove(&ownership::bulk_tag(project)) {
            return None;
        }
        let mut request = self.clone();
        if tags.is_empty() {
            request.params.remove(at);
        } else {
            request.params[at].1 = print_tags(&tags);
        }
        Some(request)
    }
}

/// The native request of one call.
///
/// # Errors
/// In words, when the fresh read does not allow the step: a slot that is not there,
/// a marker that cannot be read.
pub fn native_request(call: &Call<'_>) -> Result<NativeRequest, String> {
    use {Answers as A, Method as M};
    if call.target.id().is_none() {
        return Err("the plan names no vmid".to_owned());
    }
    let status = |op: &str| {
        let path = guest_path(&guest(call)?, call.target.at.as_str(), &format!("/status/{op}"));
        Ok::<_, String>(NativeRequest::new(M::Post, path, A::Task))
    };
    match call.op {
        StepOp::Clone(from) => clone(call, from),
        StepOp::Create(birth) => create(call, birth),
        StepOp::Configure(settings) => configure(call, settings),
        StepOp::GrowDisk { slot, to, .. } => {
            let guest = guest(call)?;
            if !guest.config.next.contains_key(slot.as_str()) {
                return Err(format!("there is no disk in slot {slot}"));
            }
            let path = guest_path(&guest, call.target.at.as_str(), "/resize");
            let request = NativeRequest::new(M::Put, path, A::MaybeTask)
                .with("disk", slot.as_str())
                .with("size", print_size(*to));
            Ok(guarded(call, request, &guest))
        }
        StepOp::MoveDisks(_) => Err("disks are not moved here".to_owned()),
        StepOp::UpgradeHardware { .. } => {
            Err("virtual hardware has no version of its own here".to_owned())
        }
        StepOp::Customize(_) => Err("guests are not set up by the product here".to_owned()),
        StepOp::SetPool { pool } => set_pool(call, pool.as_ref().map(Name::as_str)),
        StepOp::DefineLabel { .. }
        | StepOp::DefineLabelValue { .. }
        | StepOp::SetLabel { .. }
        | StepOp::ClearLabel { .. } => Err("labels are not set here".to_owned()),
        StepOp::Start => status("start"),
        StepOp::Shutdown => {
            let timeout = match call.step.wait {
                Wait::PowerOff { within_s } => Some(within_s.to_string()),
                Wait::Call | Wait::Task => None,
            };
            Ok(status("shutdown")?.with_some("timeout", timeout))
        }
        StepOp::Stop => status("stop"),
        StepOp::TakeSnapshot(_) | StepOp::RemoveSnapshot { .. } => {
            Err("snapshots are not taken here yet".to_owned())
        }
        StepOp::Delete => {
            let path = guest_path(&guest(call)?, call.target.at.as_str(), "");
            Ok(NativeRequest::new(M::Delete, path, A::Task).with("purge", "1"))
        }
        StepOp::CreatePool { comment } => {
            Ok(pool_request(call, M::Post)
                .with("comment", join_comment(comment, &pool_marker(call))))
        }
        StepOp::SetComment { comment } => {
            let marker = match &call.fresh.object {
                FreshObject::Pool(pool) => pool.marker.found().cloned(),
                FreshObject::Machine(_)
                | FreshObject::Spread(_)
                | FreshObject::Absent
                | FreshObject::Unreadable(_) => None,
            };
            // The intent of a pool is that of its creation.
            let intent = marker.map_or(call.identity.intent, |marker| marker.intent);
            let marker = signed(call, Marker { intent, ..pool_marker(call) });
            Ok(pool_request(call, M::Put).with("comment", join_comment(comment, &marker)))
        }
        StepOp::DeletePool => Ok(pool_request(call, M::Delete)),
        StepOp::MakePart { .. } | StepOp::MarkPart { .. } | StepOp::RemovePart { .. } => {
            Err("a pool is one object here, without parts".to_owned())
        }
        StepOp::MakeRole { .. } | StepOp::Grant { .. } | StepOp::Revoke { .. } => {
            Err("nothing is granted on pools here yet".to_owned())
        }
        StepOp::CreateSpread { .. } | StepOp::SetSpread { .. } | StepOp::DeleteSpread => {
            Err("machines are not kept apart here".to_owned())
        }
    }
}

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn guest(call: &Call<'_>) -> Result<RawGuest, String> {
    match &call.fresh.object {
        FreshObject::Machine(_) => serde_json::from_value(call.fresh.raw.clone())
            .map_err(|error| format!("the fresh read is not a guest's: {error}")),
        FreshObject::Pool(_) | FreshObject::Spread(_) => {
            Err(format!("{} is no guest", call.target.at))
        }
        FreshObject::Absent => Err(format!("there is no guest {}", call.target.at)),
        FreshObject::Unreadable(why) => Err(format!("guest {}: {why}", call.target.at)),
    }
}

fn guest_path(guest: &RawGuest, id: &str, rest: &str) -> String {
    format!("/nodes/{}/qemu/{}{rest}", segment(&guest.node), segment(id))
}

fn guarded(call: &Call<'_>, request: NativeRequest, guest: &RawGuest) -> NativeRequest {
    let digest = guest.config.digest.clone().filter(|_| call.step.guarded);
    request.with_some("digest", digest)
}

fn signed(call: &Call<'_>, marker: Marker) -> Marker {
    let unsigned = Marker { mac: None, ..marker };
    let mac = call.marker_key.map(|key| key.sign(&unsigned));
    Marker { mac, ..unsigned }
}

/// The marker of a draft. `taken` are slots that hold a device already: their
/// entries are confirmed, whatever the draft says.
fn marker(
    call: &Call<'_>,
    draft: &MarkerDraft,
    old: Option<&Marker>,
    uuid: Option<Uuid>,
    taken: &BTreeSet<Slot>,
) -> Marker {
    // A birth has no marker to keep anything of; neither has one whose marker is not
    // of this creation, and such a machine is never written to.
    let none = DeviceMap::default();
    let mut map = draft.map_over(old.map_or(&none, |old| &old.map));
    for entry in map.disks.values_mut().chain(map.nics.values_mut()) {
        entry.confirmed |= taken.contains(&entry.slot);
    }
    let marker = Marker {
        project: call.identity.project.clone(),
        key: call.identity.key.clone(),
        uuid,
        id: call.target.id().cloned(),
        stage: draft.stage,
        intent: call.identity.intent,
        init: draft.init.clone().or_else(|| old.and_then(|old| old.init.clone())),
        protect: draft.protect.unwrap_or_else(|| old.is_some_and(|old| old.protect)),
        mac: None,
        map,
    };
    signed(call, marker)
}

fn description(notes: &str, marker: &Marker) -> Result<String, String> {
    let marker = ownership::render(marker);
    let notes = notes.trim_end();
    let text = if notes.is_empty() { marker } else { format!("{notes}\n{marker}") };
    match text.len() <= NOTES_MAX {
        true => Ok(text),
        false => Err(format!("notes and marker are longer than {NOTES_MAX} bytes")),
    }
}

/// A clone is marked in the call that makes it. The marker says `uuid=none`: the
/// server draws the copy's UUID, and until the first config write puts ours there
/// the id is the only half that can bind.
fn clone(call: &Call<'_>, from: &CloneFrom) -> Result<NativeRequest, String> {
    let node = from.template_node.as_ref().ok_or("the template's node is not known")?;
    let template = segment(from.template.as_str());
    let path = format!("/nodes/{}/qemu/{template}/clone", segment(node.as_str()));
    let marker = marker(call, &from.marker, None, None, &BTreeSet::new());
    let target = from.node.as_ref().filter(|target| *target != node);
    // A linked clone stays where its template is; the server refuses the parameter.
    let storage = from.storage.as_ref().filter(|_| !from.linked);
    Ok(NativeRequest::new(Method::Post, path, Answers::Task)
        .with("newid", call.target.at.as_str())
        .with("name", from.name.as_str())
        .with("full", if from.linked { "0" } else { "1" })
        .with("description", description("", &marker)?)
        .with_some("storage", storage.map(StorageName::as_str))
        .with_some("pool", from.pool.as_ref().map(Name::as_str))
        .with_some("target", target.map(NodeName::as_str)))
}

fn create(call: &Call<'_>, birth: &Birth) -> Result<NativeRequest, String> {
    let node = birth.node.as_ref().ok_or("no node was chosen")?;
    let path = format!("/nodes/{}/qemu", segment(node.as_str()));
    let mut request = NativeRequest::new(Method::Post, path, Answers::Task)
        .with("vmid", call.target.at.as_str())
        .with("name", birth.name.as_str())
        .with_some("pool", birth.pool.as_ref().map(Name::as_str));
    let nothing = Options::new();
    let mut options = edit(call, &birth.settings, &nothing, call.identity.uuid)?;
    for (key, value) in birth_options(&birth.source, &birth.settings) {
        options.set.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    for (key, value) in options.set {
        request = request.with(&key, value);
    }
    Ok(secrets(request))
}

/// What an empty machine needs beside what is declared. The API's own defaults are
/// those of old days (`lsi`, `other`, `kvm64`); these are what its interface offers.
fn birth_options(
    source: &BirthSource,
    settings: &[Setting],
) -> BTreeMap<&'static str, &'static str> {
    let ostype = match source.os {
        GuestOs::Linux => "l26",
        GuestOs::Windows => "win11",
        GuestOs::Bsd | GuestOs::Other => "other",
    };
    let mut options: BTreeMap<_, _> =
        [("ostype", ostype), ("scsihw", "virtio-scsi-single"), ("cpu", "x86-64-v2-AES")].into();
    if source.agent {
        options.insert("agent", "1");
    }
    let modern = settings.iter().any(|setting| {
        matches!(setting, Setting::Firmware { firmware, .. } if *firmware != Firmware::Bios)
    });
    if modern {
        options.insert("machine", "q35");
    }
    options
}

fn configure(call: &Call<'_>, settings: &[Setting]) -> Result<NativeRequest, String> {
    let guest = guest(call)?;
    let own = super::translate::uuid_of(&guest.config.next);
    let chooses = settings.iter().any(|it| matches!(it, Setting::MachineUuid));
    let uuid = if chooses { call.identity.uuid } else { own.or(call.identity.uuid) };
    let options = edit(call, settings, &guest.config.next, uuid)?;
    let path = guest_path(&guest, call.target.at.as_str(), "/config");
    let mut request = NativeRequest::new(Method::Post, path, Answers::Task);
    let forces = options.forces()?;
    for (key, value) in options.set {
        request = request.with(&key, value);
    }
    let delete = options.delete.into_iter().collect::<Vec<_>>().join(",");
    request = request.with_some("delete", Some(delete).filter(|keys| !keys.is_empty()));
    request = request.with_some("force", forces.then(|| "1".to_owned()));
    Ok(secrets(guarded(call, request, &guest)))
}

fn edit<'a>(
    call: &Call<'_>,
    settings: &[Setting],
    base: &'a Options,
    uuid: Option<Uuid>,
) -> Result<Edit<'a>, String> {
    let mut edit = Edit::over(base);
    let facts = Facts { uuid, password: call.password().map(ExposeSecret::expose_secret) };
    // A seed looks at which cards stay, so it comes after all of them.
    let (seeds, others): (Vec<_>, Vec<_>) =
        settings.iter().partition(|setting| matches!(setting, Setting::Seed(_)));
    for setting in others.into_iter().chain(seeds) {
        edit.apply(setting, &facts)?;
    }
    weave_tags(call, settings, base, &mut edit);
    weave_notes(call, settings, base, uuid, &mut edit)?;
    Ok(edit)
}

/// Our tag is put back with every write, also when the step does not speak of tags;
/// but for the one that takes the marker off.
fn weave_tags(call: &Call<'_>, settings: &[Setting], base: &Options, edit: &mut Edit<'_>) {
    let old = base.get("tags").map(|tags| parse_tags(tags)).unwrap_or_default();
    let given = settings.iter().find_map(|setting| match setting {
        Setting::Tags(tags) => Some(tags.clone()),
        _ => None,
    });
    let mut tags = given.unwrap_or_else(|| old.clone());
    let mark = ownership::bulk_tag(&call.identity.project);
    if settings.contains(&Setting::Unmark) {
        tags.remove(&mark);
    } else {
        tags.insert(mark);
    }
    if tags.is_empty() {
        edit.unset("tags");
    } else if tags != old {
        edit.set.insert("tags".into(), print_tags(&tags));
    }
}

/// Notes and marker share one option: what the step does not set is kept.
fn weave_notes(
    call: &Call<'_>,
    settings: &[Setting],
    base: &Options,
    uuid: Option<Uuid>,
    edit: &mut Edit<'_>,
) -> Result<(), String> {
    let notes = settings.iter().find_map(|setting| match setting {
        Setting::Notes(notes) => Some(notes.as_str()),
        _ => None,
    });
    let draft = settings.iter().find_map(|setting| match setting {
        Setting::Marker(draft) => Some(draft),
        _ => None,
    });
    let (old_notes, old) = notes_of(base);
    if settings.contains(&Setting::Unmark) {
        match old_notes.is_empty() {
            true => edit.unset("description"),
            false => drop(edit.set.insert("description".into(), old_notes)),
        }
        return Ok(());
    }
    if notes.is_none() && draft.is_none() {
        return Ok(());
    }
    let taken: BTreeSet<Slot> = devices(base).into_iter().map(|device| device.slot).collect();
    let marker = match (draft, old) {
        (Some(draft), old) => marker(call, draft, old.found(), uuid, &taken),
        (None, MarkerState::Found(old)) => *old,
        (None, MarkerState::None) => return Err("there is no marker to keep".into()),
        (None, MarkerState::Garbled(_)) => return Err("the marker cannot be read".into()),
    };
    let text = description(notes.unwrap_or(&old_notes), &marker)?;
    edit.set.insert("description".into(), text);
    Ok(())
}

fn secrets(mut request: NativeRequest) -> NativeRequest {
    if request.params.iter().any(|(key, _)| key == "cipassword") {
        request.secret_params.push("cipassword");
    }
    request
}

fn set_pool(call: &Call<'_>, pool: Option<&str>) -> Result<NativeRequest, String> {
    let current = match &call.fresh.object {
        FreshObject::Machine(machine) => machine.spec.pool.as_ref().map(Name::as_str),
        FreshObject::Pool(_)
        | FreshObject::Spread(_)
        | FreshObject::Absent
        | FreshObject::Unreadable(_) => {
            return Err(format!("there is no guest {}", call.target.at));
        }
    };
    let request = |pool: &str| {
        NativeRequest::new(Method::Put, "/pools".into(), Answers::Nothing)
            .with("poolid", pool)
            .with("vms", call.target.at.as_str())
    };
    match (pool, current) {
        // Without this the server refuses to take a guest from another pool.
        (Some(pool), Some(_)) => Ok(request(pool).with("allow-move", "1")),
        (Some(pool), None) => Ok(request(pool)),
        (None, Some(current)) => Ok(request(current).with("delete", "1")),
        (None, None) => Err(format!("guest {} is in no pool", call.target.at)),
    }
}

fn pool_request(call: &Call<'_>, method: Method) -> NativeRequest {
    NativeRequest::new(method, "/pools".into(), Answers::Nothing)
        .with("poolid", call.target.at.as_str())
}

/// A pool has no UUID and no stages: its name is its id, and it is born ready.
fn pool_marker(call: &Call<'_>) -> Marker {
    let marker = Marker {
        project: call.identity.project.clone(),
        key: call.identity.key.clone(),
        uuid: None,
        id: call.target.id().cloned(),
        stage: Stage::Ready,
        intent: call.identity.intent,
        init: None,
        protect: false,
        mac: None,
        map: DeviceMap::default(),
    };
    signed(call, marker)
}
