//! After a run that broke off: asks what became of the calls that it left open.

use super::{
    Journal,
    limits::{READ_TRIES, VERIFY_TRIES},
};
use crate::{
    clock::Clock,
    model::{HypervisorName, Intent, Located, TaskState},
    provider::Provider,
    store::{StepOutcome, StoreError},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// What one open call turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The call.
    pub intent: Intent,
    /// What became of it; `None` = its task is still going, and its row stays open.
    pub outcome: Option<StepOutcome>,
}

/// Looks up every call whose outcome was never written down, and writes it down.
///
/// Nothing is sent, and nothing is completed: the next plan sees the world as it is
/// and does the rest.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn resume(
    journal: &dyn Journal,
    providers: &BTreeMap<HypervisorName, Arc<dyn Provider>>,
    clock: &Clock,
) -> Result<Vec<Resumed>, StoreError> {
    let mut all = Vec::new();
    for durable in journal.open_intents().await? {
        let intent = durable.intent().clone();
        let outcome = match providers.get(&intent.hypervisor) {
            Some(provider) => ask(provider.as_ref(), &intent, clock).await,
            None => Some(StepOutcome::Unknown(format!(
                "hypervisor `{}` is not connected",
                intent.hypervisor
            ))),
        };
        // What cannot be told today may be told tomorrow: only an answer closes a row.
        match &outcome {
            Some(StepOutcome::Unknown(_)) | None => {}
            Some(known) => {
                journal.finished(&durable, known.clone(), None, clock.now_ms()).await?;
            }
        }
        all.push(Resumed { intent, outcome });
    }
    Ok(all)
}

async fn ask(provider: &dyn Provider, intent: &Intent, clock: &Clock) -> Option<StepOutcome> {
    let mut wait = Duration::from_millis(250);
    let mut why = String::new();
    for _ in 0..READ_TRIES.max(VERIFY_TRIES) {
        match provider.locate(intent).await {
            Located::Happened(_) => return Some(StepOutcome::Done),
            Located::DidNotHappen(proof) => return Some(StepOutcome::Refused(proof)),
            Located::Running(task) => {
                match provider.poll(std::slice::from_ref(&task)).await.pop() {
                    Some(TaskState::Queued | TaskState::Running) => return None,
                    Some(TaskState::Done(_)) => return Some(StepOutcome::Done),
                    Some(TaskState::Failed(refusal)) => {
                        return Some(StepOutcome::Refused(refusal.text));
                    }
                    Some(TaskState::Unknown(text)) => why = text,
                    None => "its task gave no answer".clone_into(&mut why),
                }
            }
            Located::StillUnknown(text) => why = text,
        }
        clock.sleep(wait).await;
        wait *= 2;
    }
    Some(StepOutcome::Unknown(why))
}
