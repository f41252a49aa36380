//! What a command is about to do to one machine, and what that costs its guest.

use super::{
    Style,
    layout::{Canvas, Paint, Piece},
};
use crate::model::{Action, Disruption, Plan, PowerState, StepOp, Verb, Wait};

/// The machine, what is done to it, and what that costs. Empty for a plan without actions.
pub fn command_text(plan: &Plan, style: &Style) -> String {
    let Some(action) = plan.body.actions.first() else { return String::new() };
    let mut canvas = Canvas::new(style);
    let id = action.native_id.as_ref().map_or("", |id| id.as_str());
    let mut head = format!("{} on {}, id {id}", action.key, action.hypervisor);
    if let Some(node) = &action.node {
        head.push_str(&format!(", node {node}"));
    }
    let head = canvas.data(&head).into_owned();
    canvas.words(0, &[Piece::new(Paint::Bold, head)]);
    let stops = action.classes.contains(&Disruption::Restart).then(|| stops(action));
    if let Some((cost, _)) = &stops {
        canvas.words(2, &[Piece::new(Paint::Danger, "STOPS:"), Piece::plain(cost.clone())]);
    }
    if let Some(line) = afterwards(action) {
        let line = canvas.data(&line).into_owned();
        canvas.words(2, &[Piece::plain(line)]);
    }
    if let Some((_, Some(otherwise))) = stops {
        canvas.words(2, &[Piece::plain(otherwise)]);
    }
    for note in &plan.envelope.notes {
        let note = canvas.data(&note.text).into_owned();
        canvas.row(2, "note:", 5, &[Piece::plain(note)]);
    }
    canvas.finish()
}

/// What a stop costs, and what follows when the guest does not go down.
fn stops(action: &Action) -> (String, Option<&'static str>) {
    let within = action.steps.iter().find_map(|step| match step.wait {
        Wait::PowerOff { within_s } => Some(within_s),
        Wait::Call | Wait::Task => None,
    });
    let Some(seconds) = within else {
        let cost = "its power is taken; what its guest has in memory is lost";
        return (cost.to_owned(), None);
    };
    let cost =
        format!("its guest is asked to shut down and has {seconds} s; whatever it serves is down");
    let hard = action.steps.iter().any(|it| it.otherwise == Some(StepOp::Stop));
    let otherwise = match hard {
        true => "if it does not go down, its power is taken: what it has not written is lost",
        false => {
            "if it does not go down, the command fails and the machine goes on running; \
             `--hard` takes its power instead"
        }
    };
    (cost, Some(otherwise))
}

fn afterwards(action: &Action) -> Option<String> {
    let suspended = PowerState::Suspended.as_str().into();
    let resumes = action.fields.iter().any(|it| it.before.as_ref() == Some(&suspended));
    let snapshot = action.steps.iter().find_map(|step| match &step.op {
        StepOp::TakeSnapshot(take) => Some(&take.name),
        _ => None,
    });
    Some(match (action.verb, snapshot) {
        (Verb::Start, _) if resumes => "it is resumed".to_owned(),
        (Verb::Start, _) => "it is started".to_owned(),
        (Verb::Stop, _) => "it stays off until somebody starts it".to_owned(),
        (Verb::Restart, _) => "then it is started again".to_owned(),
        (_, Some(name)) => format!(
            "snapshot `{name}`: its disks as they are now, without memory; it takes room until \
             it is removed, and until then its disks cannot grow"
        ),
        (_, None) => return None,
    })
}
