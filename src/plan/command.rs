//! What a person asks of one machine here and now: started, stopped, started anew, kept as a
//! snapshot. One action, with the proofs, the calls and the journal of any other.

use super::{
    Input, Planned,
    base::machine_base,
    change_hands, classified, machine_action_id,
    machines::{Trouble, changeable, unlocked},
    own_snapshots::chain_is_full,
    summaries,
};
use crate::{
    model::{
        Action, Change, Code, Coverage, DataLoss, Disruption, Envelope, FieldChange, FieldKind,
        FieldPath, HypervisorName, Kind, Lowered, MarkerState, Note, ObservedMachine, PLAN_FORMAT,
        Plan, PlanBody, Power, PowerState, Product, Reason, ResourceKey, Stage, Step, StepOp,
        TakeSnapshot, Unsupported, Verb, plan_id,
    },
    ownership::{Owned, Ownership},
};
use std::collections::BTreeSet;

/// What is asked of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// To run.
    Start,
    /// To be off.
    Stop {
        /// Whether its power may be taken when its guest does not shut down.
        hard: bool,
    },
    /// To be off, and then to run.
    Reboot {
        /// Whether its power may be taken when its guest does not shut down.
        hard: bool,
    },
    /// To be kept as it is.
    Snapshot {
        /// What the snapshot is called.
        name: String,
    },
}

impl Command {
    /// The word on the command line.
    pub fn as_str(&self) -> &'static str {
        match self {
            Command::Start => "start",
            Command::Stop { .. } => "stop",
            Command::Reboot { .. } => "reboot",
            Command::Snapshot { .. } => "snapshot",
        }
    }

    fn verb(&self) -> Verb {
        match self {
            Command::Start => Verb::Start,
            Command::Stop { .. } => Verb::Stop,
            Command::Reboot { .. } => Verb::Restart,
            Command::Snapshot { .. } => Verb::Snapshot,
        }
    }
}

/// What comes of a command.
#[derive(Debug)]
pub enum Answer {
    /// A plan of one action.
    Do(Box<Planned>),
    /// Nothing is to be done, and why.
    AlreadySo(String),
}

/// Why a command is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone {
    /// As which of the classes or rules; `None` = there is no such machine.
    pub code: Option<Code>,
    /// In words.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl From<Trouble> for NotDone {
    fn from(it: Trouble) -> Self {
        Self { code: Some(it.code), message: it.message, help: it.help }
    }
}

/// Plans one command.
///
/// # Errors
/// When the machine is not ours, not finished, or cannot be had like this.
pub fn command(input: Input<'_>, key: &ResourceKey, command: &Command) -> Result<Answer, NotDone> {
    let mut ownership = classified(input);
    change_hands::settle_duplicates(&mut ownership, &input);
    let owned = ours(input, &ownership, key)?.clone();
    let refused = |code, message: String, help: &str| NotDone {
        code: Some(code),
        message,
        help: help.to_owned(),
    };
    let at = &owned.hypervisor;
    let found = input.inventory.hypervisors.get(at);
    let seen = found.and_then(|it| it.machines.get(&owned.id));
    let (Some(seen), Some(product)) = (seen, input.products.get(at).copied()) else {
        let message = format!("{key} on {at} was not read");
        return Err(refused(Code::FailedHypervisor, message, "try again when it answers"));
    };
    match owned.stage {
        Stage::Ready => {}
        Stage::New => {
            let message = format!("{key} ({} on {at}) is not finished", seen.id);
            let help = "apply first: only a finished machine is started, stopped or kept";
            return Err(refused(Code::RunsUnfinished, message, help));
        }
        Stage::Deleting => {
            let message = format!("{key} ({} on {at}) is on its way out", seen.id);
            return Err(refused(Code::Dependency, message, "apply first: its deletion goes on"));
        }
    }
    if let Some(text) = already_so(key, command, seen) {
        return Ok(Answer::AlreadySo(text));
    }
    fits(key, at, command, seen)?;
    let takes = matches!(command, Command::Snapshot { .. });
    if let Some(trouble) = takes.then(|| chain_is_full((key, seen, product), 0)).flatten() {
        return Err(trouble.into());
    }
    let steps = steps(product, command, seen)?;
    let action = action(input, key, at, command, seen, steps);
    Ok(Answer::Do(Box::new(planned(input, ownership, command, action))))
}

/// The machine of a key, or what stands there instead.
fn ours<'a>(
    input: Input<'_>,
    ownership: &'a Ownership,
    key: &ResourceKey,
) -> Result<&'a Owned, NotDone> {
    let desired = input.desired.machines.get(key);
    let blocked = match desired {
        Some(machine) => ownership.obstacle(key, &machine.hypervisor),
        None => ownership.obstacles.get(key).and_then(|all| all.first()),
    };
    if let Some(it) = blocked {
        return Err(NotDone {
            code: Some(it.code),
            message: it.message.clone(),
            help: it.help.clone(),
        });
    }
    if let Some(owned) = ownership.owned.get(key).filter(|_| key.kind == Kind::Vm) {
        return Ok(owned);
    }
    if let Some(name) = input.inventory.hypervisors.iter().find_map(|(name, seen)| {
        let whole = seen.coverage.is_complete();
        let here = desired.is_none_or(|it| it.hypervisor == *name);
        (here && !whole).then_some((name, &seen.coverage))
    }) {
        return Err(unseen(key, name));
    }
    Err(match stranger(input, key) {
        Some((message, help)) => NotDone { code: Some(Code::NotAdoptable), message, help },
        None => NotDone {
            code: None,
            message: format!("{key} is on no hypervisor"),
            help: match desired {
                Some(_) => "apply first: it is made then".to_owned(),
                None => "`novahost get vms` lists what is there".to_owned(),
            },
        },
    })
}

/// It may be there and not have been seen.
fn unseen(key: &ResourceKey, (name, coverage): (&HypervisorName, &Coverage)) -> NotDone {
    let (code, why) = match coverage {
        Coverage::Failed { error, .. } => (Code::FailedHypervisor, error.clone()),
        Coverage::Incomplete { gaps } => (Code::IncompleteInventory, gaps.join("; ")),
        Coverage::Scoped { why, .. } => (Code::ScopedInventory, why.clone()),
        Coverage::Complete => (Code::IncompleteInventory, String::new()),
    };
    NotDone {
        code: Some(code),
        message: format!("{key} was not found, and {name} was not read whole ({why})"),
        help: "try again when all of it answers; `novahost doctor` tells more".to_owned(),
    }
}

/// A machine that is called like the key and is not ours, in a sentence, and what would help.
fn stranger(input: Input<'_>, key: &ResourceKey) -> Option<(String, String)> {
    let entry = input.desired.machines.get(key);
    let wanted = entry.and_then(|it| it.spec.name.as_deref()).unwrap_or(key.name.as_str());
    input.inventory.hypervisors.iter().find_map(|(at, seen)| {
        let named = |name: Option<&str>| name == Some(wanted);
        let (id, _) = seen.listed.iter().find(|(_, it)| named(it.name.as_deref()))?;
        let marker = seen.machines.get(id).map(|it| &it.marker);
        let (class, help) = match marker {
            Some(MarkerState::Found(marker)) if marker.project != input.desired.project => (
                format!("foreign: it belongs to project `{}`", marker.project),
                "work on it from the files of that project".to_owned(),
            ),
            Some(MarkerState::Found(marker)) => (
                format!("another entry's: {}", marker.key),
                format!("name it by that entry: {}", marker.key),
            ),
            Some(MarkerState::Garbled(_)) => (
                "of nobody who can be read: its marker is damaged".to_owned(),
                "`novahost plan` tells what is wrong with the marker".to_owned(),
            ),
            Some(MarkerState::None) | None => {
                ("unmanaged".to_owned(), to_take_over(entry.is_some()))
            }
        };
        Some((format!("`{wanted}` ({id} on {at}) is not {key}: it is {class}"), help))
    })
}

/// What makes an unmanaged machine one of ours.
fn to_take_over(has_entry: bool) -> String {
    let first = "only machines of this project are touched; to take this one over,";
    match has_entry {
        true => format!("{first} write `adopt:` into its entry and apply"),
        false => format!("{first} let `novahost adopt` write an entry for it, and apply"),
    }
}

fn already_so(key: &ResourceKey, command: &Command, seen: &ObservedMachine) -> Option<String> {
    match (command, seen.power) {
        (Command::Start, PowerState::Running) => Some(format!("{key} runs already")),
        (Command::Stop { .. }, PowerState::Stopped) => Some(format!("{key} is off already")),
        (
            Command::Start
            | Command::Stop { .. }
            | Command::Reboot { .. }
            | Command::Snapshot { .. },
            PowerState::Running | PowerState::Stopped | PowerState::Suspended | PowerState::Unknown,
        ) => None,
    }
}

/// What the state of the machine does not allow.
fn fits(
    key: &ResourceKey,
    at: &HypervisorName,
    command: &Command,
    seen: &ObservedMachine,
) -> Result<(), NotDone> {
    let refused = |message: String, help: &str| {
        Err(NotDone { code: Some(Code::Locked), message, help: help.to_owned() })
    };
    match command {
        Command::Start => unlocked(at, seen)?,
        Command::Stop { hard } => {
            unlocked(at, seen)?;
            if seen.power == PowerState::Suspended && !hard {
                let text = format!("{key} is suspended, and its guest hears no shutdown");
                return refused(text, "resume it with `novahost vm start`, or add `--hard`");
            }
        }
        Command::Reboot { .. } => {
            changeable(at, seen)?;
            if seen.power == PowerState::Stopped {
                let text = format!("{key} is off: there is nothing to restart");
                return refused(text, "start it with `novahost vm start`");
            }
        }
        Command::Snapshot { name } => {
            changeable(at, seen)?;
            if seen.snapshots.iter().any(|it| it.name == *name) {
                return Err(NotDone {
                    code: Some(Code::NameTaken),
                    message: format!("{key} has a snapshot `{name}` already"),
                    help: "give it another name with `--name`".to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn steps(
    product: &dyn Product,
    command: &Command,
    seen: &ObservedMachine,
) -> Result<Vec<Step>, NotDone> {
    let take;
    let change = match command {
        Command::Start => Change::Start,
        Command::Stop { .. } => Change::Stop(seen.power),
        Command::Reboot { .. } => Change::Restart(seen),
        Command::Snapshot { name } => {
            take = TakeSnapshot { name: name.clone(), before_change: false };
            Change::TakeSnapshot(&take)
        }
    };
    let Lowered { mut steps, .. } = product.lower(&change).map_err(|all| cannot(&all))?;
    if matches!(command, Command::Stop { hard: true } | Command::Reboot { hard: true }) {
        for step in steps.iter_mut().filter(|it| it.op == StepOp::Shutdown) {
            step.otherwise = Some(StepOp::Stop);
        }
    }
    Ok(steps)
}

/// What the product does not do. A command speaks of no field, so none is named.
fn cannot(all: &[Unsupported]) -> NotDone {
    let why: Vec<&str> = all.iter().map(|it| it.why.as_str()).collect();
    NotDone {
        code: Some(Code::Unsupported),
        message: why.join("; "),
        help: all.first().map(|it| it.help.clone()).unwrap_or_default(),
    }
}

fn action(
    input: Input<'_>,
    key: &ResourceKey,
    at: &HypervisorName,
    command: &Command,
    seen: &ObservedMachine,
    steps: Vec<Step>,
) -> Action {
    let power = FieldPath::of(FieldKind::Power);
    let (after, class) = match command {
        Command::Start => (Some(PowerState::Running), None),
        Command::Stop { .. } => (Some(PowerState::Stopped), Some(Disruption::Restart)),
        Command::Reboot { .. } => (None, Some(Disruption::Restart)),
        // Files change under a guest that runs, which holds still for a moment.
        Command::Snapshot { .. } => (None, Some(Disruption::Online)),
    };
    let field = after.map(|after| FieldChange {
        field: power.clone(),
        before: Some(seen.power.as_str().into()),
        after: Some(after.as_str().into()),
        disruption: class.unwrap_or(Disruption::None),
        place: None,
        pending: false,
    });
    // What was asked about was asked of a machine in this state.
    let reads: BTreeSet<FieldPath> = match command {
        Command::Start | Command::Stop { .. } | Command::Reboot { .. } => [power].into(),
        Command::Snapshot { .. } => BTreeSet::new(),
    };
    Action {
        id: machine_action_id(key, command.verb(), ""),
        key: key.clone(),
        hypervisor: at.clone(),
        native_id: Some(seen.id.clone()),
        node: seen.node.clone(),
        verb: command.verb(),
        fields: field.into_iter().collect(),
        classes: class.into_iter().collect(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: input.desired.machines.get(key).map(|it| it.place.clone()),
        steps,
        base: Some(machine_base(seen, reads)),
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

fn planned(input: Input<'_>, ownership: Ownership, command: &Command, action: Action) -> Planned {
    let envelope = Envelope {
        reasons: [(action.id.clone(), Reason::Asked)].into(),
        hypervisors: summaries(&input, &ownership),
        waves: vec![vec![action.id.clone()]],
        notes: contradiction(input, &action.key, command).into_iter().collect(),
        ..Envelope::default()
    };
    let body = PlanBody {
        format: PLAN_FORMAT,
        project: input.desired.project.clone(),
        files: input.desired.files.clone(),
        policy: input.desired.policy.clone(),
        actions: vec![action],
        edges: Vec::new(),
        blocked: Vec::new(),
        unchanged: 0,
    };
    Planned { plan: Plan { plan_id: plan_id(&body), body, envelope }, ownership }
}

/// Where the files ask for the opposite.
fn contradiction(input: Input<'_>, key: &ResourceKey, command: &Command) -> Option<Note> {
    let machine = input.desired.machines.get(key)?;
    let place = machine.place_of(&FieldPath::of(FieldKind::Power));
    let text = match (machine.power, command) {
        (Power::Running, Command::Stop { .. }) => {
            format!("its entry says `power: running` ({place}): the next apply starts it again")
        }
        (Power::Stopped, Command::Start | Command::Reboot { .. }) => format!(
            "its entry says `power: stopped` ({place}): the next apply that allows `restart` stops it again"
        ),
        (
            Power::Running | Power::Stopped | Power::Once,
            Command::Start
            | Command::Stop { .. }
            | Command::Reboot { .. }
            | Command::Snapshot { .. },
        ) => return None,
    };
    Some(Note { key: Some(key.clone()), text })
}
