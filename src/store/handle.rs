//! The journal of one run, as the runner holds it.

use super::{
    ActionState, DurableIntent, Entry, Event, NewRun, RunRow, StepOutcome, Store, StoreError, Who,
    runs,
};
use crate::model::{ActionId, HypervisorName, Intent, NativeId, ProjectName, ResourceKey, TaskRef};
use std::sync::Arc;
use uuid::Uuid;

/// Writes the journal of one run. Cheap to clone; may be used by many at once.
///
/// Each verb returns once its rows are on disk, and costs one fsync or a share of
/// one. Dropping it ends nothing: a run without an end reads as broken off.
#[derive(Clone, Debug)]
pub struct RunHandle {
    store: Store,
    about: Arc<About>,
}

/// What every entry of a run says.
#[derive(Debug)]
struct About {
    run: Uuid,
    project: ProjectName,
    plan_id: String,
    who: Who,
}

impl RunHandle {
    pub(super) fn new(store: Store, run: &NewRun) -> Self {
        let about = About {
            run: run.id,
            project: run.project.clone(),
            plan_id: run.plan_id.clone(),
            who: run.who.clone(),
        };
        Self { store, about: Arc::new(about) }
    }

    pub(super) fn resumed(store: Store, run: RunRow, who: Who) -> Self {
        let RunRow { id, project, plan_id, .. } = run;
        Self { store, about: Arc::new(About { run: id, project, plan_id, who }) }
    }

    pub(super) fn entry(&self, event: Event, at_ms: i64) -> Entry {
        let About { run, project, plan_id, who } = &*self.about;
        super::entry(event, project, plan_id.clone(), *run, who.clone(), at_ms)
    }

    /// The run.
    pub fn id(&self) -> Uuid {
        self.about.run
    }

    /// Makes the row of a mutating call durable. `before` is the digest of what was
    /// read right before it. Only with the value returned can the call be made.
    ///
    /// # Errors
    /// When the row is not on disk, the run is finished, or its lease is lost. Then
    /// nothing may be sent.
    pub async fn intend(
        &self,
        intent: Intent,
        before: Option<String>,
    ) -> Result<DurableIntent, StoreError> {
        self.must_own(&intent)?;
        #[cfg(feature = "planted")]
        if intent.op == "start"
            && crate::planted::Bug::IntentAfterwards.strikes(intent.target.at.as_str())
        {
            return self.intend_afterwards(intent, before).await;
        }
        let entry = self.entry(Event::StepIntended, intent.begun_ms);
        let epoch = self.store.epoch(self.about.run, &self.about.project, &intent.hypervisor);
        let (row, intent) = self
            .store
            .writer
            .run("record an intent", move |conn| {
                let row = runs::intend(conn, &intent, before.as_deref(), epoch, entry)?;
                Ok((row, intent))
            })
            .await?;
        Ok(DurableIntent::new(row, intent))
    }

    /// The bug of that name: the row is guessed, and written a while later.
    #[cfg(feature = "planted")]
    async fn intend_afterwards(
        &self,
        intent: Intent,
        before: Option<String>,
    ) -> Result<DurableIntent, StoreError> {
        let entry = self.entry(Event::StepIntended, intent.begun_ms);
        let epoch = self.store.epoch(self.about.run, &self.about.project, &intent.hypervisor);
        let row = self.store.reader.run("guess a row", runs::next_row).await?;
        let (store, later) = (self.store.clone(), intent.clone());
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
            let written = store.writer.run("record an intent", move |conn| {
                runs::intend(conn, &later, before.as_deref(), epoch, entry)
            });
            written.await.ok()
        });
        Ok(DurableIntent::new(row, intent))
    }

    /// The hypervisor took the call and gave a task.
    ///
    /// # Errors
    /// When the row is not on disk.
    pub async fn accepted(
        &self,
        intent: &DurableIntent,
        task: &TaskRef,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.must_own(intent.intent())?;
        let entry = self.entry(Event::StepAccepted, now_ms);
        let (row, intent, task) = (intent.row(), intent.intent().clone(), task.clone());
        self.store
            .writer
            .run("record a task", move |conn| runs::accepted(conn, row, &intent, &task, entry))
            .await
    }

    /// What came of the call. `after` is the digest of what was read after it. An
    /// unknown outcome may be followed by a known one, and by nothing else.
    ///
    /// # Errors
    /// When the row is not on disk, or a known outcome stands there already.
    pub async fn finished(
        &self,
        intent: &DurableIntent,
        outcome: StepOutcome,
        after: Option<String>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.must_own(intent.intent())?;
        let entry = self.entry(Event::StepFinished, now_ms);
        let (row, intent) = (intent.row(), intent.intent().clone());
        self.store
            .writer
            .run("record an outcome", move |conn| {
                runs::finished(conn, row, &intent, &outcome, after.as_deref(), entry)
            })
            .await
    }

    /// How far an action has come.
    ///
    /// # Errors
    /// When the row is not on disk, or the run has no such action.
    pub async fn action_state(
        &self,
        action: &ActionId,
        state: ActionState,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let entry = self.entry(Event::ActionState, now_ms);
        let action = action.clone();
        self.store
            .writer
            .run("record an action", move |conn| runs::action_state(conn, &action, &state, entry))
            .await
    }

    /// From here on the journal remembers this object as ours: after a creation or an
    /// adoption that was verified.
    ///
    /// # Errors
    /// When the row is not on disk.
    pub async fn owned(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.remember(Event::Owned, key, hypervisor, id, now_ms).await
    }

    /// The journal no longer remembers this object as ours: after a deletion that was
    /// verified, or when it is forgotten.
    ///
    /// # Errors
    /// When the row is not on disk.
    pub async fn disowned(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.remember(Event::Disowned, key, hypervisor, id, now_ms).await
    }

    async fn remember(
        &self,
        event: Event,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let entry = self.entry(event, now_ms);
        let (key, hypervisor, id) = (key.clone(), hypervisor.clone(), id.clone());
        self.store
            .writer
            .run("record an owner", move |conn| runs::remember(conn, &key, &hypervisor, &id, entry))
            .await
    }

    /// Calls of this run whose outcome is not known, oldest first, with their tasks.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open_intents(&self) -> Result<Vec<DurableIntent>, StoreError> {
        self.store.open_intents(self.about.run).await
    }

    /// Ends the run and returns the chain's head, to be printed: kept outside the
    /// store, it shows later whether the chain was cut or replaced.
    ///
    /// # Errors
    /// When the row is not on disk, or the run is finished already.
    pub async fn finish(
        &self,
        code: i32,
        summary: String,
        now_ms: i64,
    ) -> Result<String, StoreError> {
        let entry = self.entry(Event::RunFinished, now_ms);
        let head = self
            .store
            .writer
            .run("finish a run", move |conn| runs::finish(conn, code, &summary, entry))
            .await?;
        // A finished run can write no intent, so its epochs have nothing left to fence.
        self.store.forget_epochs(self.about.run);
        Ok(head)
    }

    fn must_own(&self, intent: &Intent) -> Result<(), StoreError> {
        if intent.run == self.about.run {
            return Ok(());
        }
        Err(StoreError::OtherRun { run: self.about.run, action: intent.action.clone() })
    }
}
