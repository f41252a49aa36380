//! A machine that this run made and that must not stay, because another one bears its
//! key and is complete.

use super::{
    Halt,
    action::Job,
    call::{Next, Trial},
    expect::unmet,
    ours::Ours,
};
use crate::model::{
    Expect, FreshObject, MarkerDraft, PowerState, Setting, Stage, Step, StepOp, Wait,
};

impl Job<'_> {
    /// Takes back what this run made and never started: a guarded note on the object
    /// first, so that it is proved once more to be ours, then the delete.
    pub(super) async fn withdraw(&mut self) -> Result<(), Halt> {
        let unsure = |why: &str| {
            Halt::Unknown(format!("another machine bears the same key, and ours stays: {why}"))
        };
        let fresh = self.read().await?;
        let FreshObject::Machine(machine) = &fresh.object else {
            return Err(unsure("it cannot be read"));
        };
        let is_mine = self.made_here
            && machine.power == PowerState::Stopped
            && matches!(self.whose(&fresh.object), Ours::Yes { stage: Stage::New, identity }
                if identity == self.born_as());
        if !is_mine {
            return Err(unsure("it is not proved that this run made it and that it never ran"));
        }
        let draft = MarkerDraft { protect: Some(false), ..MarkerDraft::new(Stage::Deleting) };
        let mark = Step {
            op: StepOp::Configure(vec![Setting::Protect(false), Setting::Marker(draft)]),
            begin: Expect { stage: Some(Stage::New), ..Expect::default() },
            end: Expect { stage: Some(Stage::Deleting), ..Expect::default() },
            wait: Wait::Task,
            otherwise: None,
            learns: std::collections::BTreeSet::new(),
            guarded: true,
        };
        let delete = Step {
            op: StepOp::Delete,
            begin: mark.end.clone(),
            end: Expect { exists: Some(false), ..Expect::default() },
            guarded: false,
            ..mark.clone()
        };
        let count = self.action.steps.len();
        for (offset, step) in [mark, delete].iter().enumerate() {
            self.may_go_on(count)?;
            let fresh = self.read().await?;
            let still_mine = matches!(self.whose(&fresh.object), Ours::Yes { identity, .. }
                if identity == self.born_as())
                && unmet(&step.begin, &fresh.object).is_empty();
            if !still_mine {
                return Err(unsure("it changed"));
            }
            let mut trial = Trial::single();
            match self.send(count + offset, step, &step.op, false, &fresh, &mut trial).await {
                Ok(Next::Done) => {}
                Ok(Next::Again | Next::Otherwise | Next::Refused(_)) => {
                    return Err(unsure("it could not be removed"));
                }
                Err(Halt::Failed { text, .. } | Halt::Stale(text) | Halt::Unknown(text)) => {
                    return Err(unsure(&text));
                }
            }
        }
        Ok(())
    }
}
