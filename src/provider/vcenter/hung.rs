//! Who hangs on a machine that is to go, or of which a snapshot is: linked clones of others
//! lose their disks with it.
//!
//! An inventory knows of machines that were read in full; who else there is, is asked here,
//! right before a call. A machine whose disks cannot be seen may be such a clone.

use super::{
    call::RawMachine,
    chains::Folders,
    places::unescape,
    vim::{
        CallError, MoRef, Node, VimClient,
        collect::{ObjectContent, Paths},
    },
};
use crate::{
    clock::Clock,
    model::{ProviderError, Refusal, RefusalKind, Setting, Stage, StepOp},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// How old an answer may be that is no longer the last one before a loss.
const AGE_MAX: Duration = Duration::from_secs(30);
/// Names in a refusal before the rest is counted.
const NAMES_MAX: usize = 8;

/// How new the answer to a step has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    /// As new as claims are proved against: within half a minute.
    Recent,
    /// Read after the question.
    Now,
}

/// Whether a step takes away what others may hang on. The first step of a removal only
/// announces it, but from then on the machine is shut down and given up: it is asked there
/// too, so that a removal that cannot end does not begin.
///
/// One listing reads the disks of every machine there is, so steps share it: fifty snapshots
/// are removed with one of them. What that may miss is a clone which somebody made within the
/// last half minute. A deletion takes all of a machine's files, and is always the last of
/// several steps: it alone has a listing that began after it was asked for, which those that
/// wait for it at one time still share.
fn wanted(op: &StepOp) -> Option<Age> {
    let announces =
        |it: &Setting| matches!(it, Setting::Marker(draft) if draft.stage == Stage::Deleting);
    match op {
        StepOp::Delete => Some(Age::Now),
        StepOp::RemoveSnapshot { .. } => Some(Age::Recent),
        StepOp::Configure(settings) => settings.iter().any(announces).then_some(Age::Recent),
        _ => None,
    }
}

/// One machine as far as its disks are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    id: String,
    name: String,
    /// What it is made of; in words, why that cannot be seen.
    folders: Result<Folders, Hidden>,
    /// The datastores that it uses, where it tells.
    datastores: BTreeSet<MoRef>,
}

/// Why the disks of a machine cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hidden {
    why: String,
    /// Whether it is being made. While one is made of a machine, the server begins no other
    /// task on that one, so that the call itself would be refused; but what was being made a
    /// while ago is there by now.
    is_young: bool,
}

impl Listed {
    fn of(object: &ObjectContent) -> Self {
        let state = object.props.get("runtime.connectionState").and_then(Node::as_word);
        let devices = object.props.get("config.hardware.device");
        let fault = object.missing.get("config.hardware.device");
        let folders = match (devices, fault) {
            (Some(devices), None) => Ok(Folders::of(&devices.children)),
            (_, Some(fault)) => Err(Hidden { why: fault.kind.name().to_owned(), is_young: false }),
            // It is served, and has no configuration yet.
            (None, None) if state == Some("connected") => {
                Err(Hidden { why: "it is being made".to_owned(), is_young: true })
            }
            (None, None) => {
                let why = format!("connection: {}", state.unwrap_or("unknown"));
                Err(Hidden { why, is_young: false })
            }
        };
        let datastores = object.props.get("datastore").map(Node::morefs).unwrap_or_default();
        Self {
            id: object.obj.value.clone(),
            name: unescape(object.props.get("name").map_or("?", |name| name.text.as_str())),
            folders,
            datastores: datastores.into_iter().collect(),
        }
    }
}

/// The last listing, and when it was begun.
#[derive(Debug, Default)]
pub(super) struct Hung {
    kept: Mutex<Option<(Duration, Arc<Vec<Listed>>)>>,
}

impl Hung {
    /// Why a step is refused on a machine for the sake of others; `None` = nothing speaks
    /// against it. `machine` is what the fresh read kept of it.
    ///
    /// # Errors
    /// When the machines could not be listed.
    pub async fn refusal(
        &self,
        (client, clock): (&VimClient, &Clock),
        op: &StepOp,
        (id, machine): (&str, &RawMachine),
        operation: &str,
    ) -> Result<Option<Refusal>, ProviderError> {
        let Some(age) = wanted(op) else { return Ok(None) };
        let (own, asked) = (Own::of(machine), clock.monotonic());
        let verdict =
            |all: &[Listed], is_new: bool| judge(&own, all.iter().filter(|it| it.id != id), is_new);
        let (begun, listed) = self.listed((client, clock), age, operation).await?;
        let refusal = verdict(&listed, begun >= asked);
        if refusal.is_none() || begun >= asked {
            return Ok(refusal);
        }
        // Who hung on it may have gone since, by this very run.
        let (_, listed) = self.listed((client, clock), Age::Now, operation).await?;
        Ok(verdict(&listed, true))
    }

    /// The lock is held over the read, so that many who ask cause one.
    async fn listed(
        &self,
        (client, clock): (&VimClient, &Clock),
        age: Age,
        operation: &str,
    ) -> Result<(Duration, Arc<Vec<Listed>>), ProviderError> {
        let asked = clock.monotonic();
        let mut kept = self.kept.lock().await;
        if let Some((begun, listed)) = &*kept {
            let is_new = match age {
                Age::Recent => clock.monotonic().saturating_sub(*begun) < AGE_MAX,
                Age::Now => *begun > asked,
            };
            if is_new {
                return Ok((*begun, Arc::clone(listed)));
            }
        }
        let begun = clock.monotonic();
        let spell = |error: CallError| error.into_provider(operation);
        let root = client.service().await.and_then(|it| it.part("rootFolder"));
        let all = ["name", "datastore", "runtime.connectionState", "config.hardware.device"];
        let paths = [Paths::of("VirtualMachine", &all)];
        let read = client.collect(&root.map_err(spell)?, &paths, operation).await;
        let listed: Vec<Listed> = read.map_err(spell)?.objects.iter().map(Listed::of).collect();
        let listed = Arc::new(listed);
        *kept = Some((begun, Arc::clone(&listed)));
        Ok((begun, listed))
    }
}

/// The disks of the machine that is asked about.
struct Own {
    folders: Folders,
    /// The datastores of its disks; `None` = not every disk tells its own.
    datastores: Option<BTreeSet<MoRef>>,
}

impl Own {
    fn of(machine: &RawMachine) -> Self {
        let disks = machine.devices.iter().filter(|device| device.is_a("VirtualDisk"));
        let datastores = disks.map(|disk| disk.moref_at("backing.datastore")).collect();
        Self { folders: Folders::of(&machine.devices), datastores }
    }
}

/// `is_new`: the machines were listed after the question.
fn judge<'a>(own: &Own, others: impl Iterator<Item = &'a Listed>, is_new: bool) -> Option<Refusal> {
    let (mut hanging, mut hidden) = (Vec::new(), Vec::new());
    for other in others {
        match &other.folders {
            Ok(folders) if folders.hangs_on(&own.folders) => hanging.push(other.name.as_str()),
            Ok(_) => {}
            Err(it) if it.is_young && is_new => {}
            Err(it) if may_share(own, other) => hidden.push((other.name.as_str(), it)),
            Err(_) => {}
        }
    }
    if !hanging.is_empty() {
        let names = shown(hanging);
        let text = format!("disks of linked clones go on from its own: {names}");
        return Some(Refusal { kind: RefusalKind::Invalid, text });
    }
    let words = hidden.iter().map(|(name, it)| (*name, it.why.as_str()));
    let (names, whys): (Vec<&str>, BTreeSet<&str>) = words.unzip();
    let why = whys.first()?;
    let text = format!(
        "it has snapshots, and whether disks of {} go on from its own cannot be seen ({why}): make \
         them readable to this account, or take them out of the inventory",
        shown(names)
    );
    Some(Refusal { kind: RefusalKind::Invalid, text })
}

/// Whether a machine of which no disk is seen could go on from one's own. A server says of a
/// machine which datastores it uses even where it cannot read its configuration; one that
/// says nothing of them could be anywhere.
fn may_share(own: &Own, other: &Listed) -> bool {
    match &own.datastores {
        Some(ours) => other.datastores.is_empty() || !ours.is_disjoint(&other.datastores),
        None => true,
    }
}

fn shown(mut names: Vec<&str>) -> String {
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    match more {
        0 => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
#[path = "hung_tests.rs"]
mod tests;
