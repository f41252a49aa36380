//! What the runner needs of the journal: a trait, so that tests can make it fail.

use crate::{
    model::{ActionId, HypervisorName, Intent, NativeId, ResourceKey, TaskRef},
    store::{ActionState, DurableIntent, RunHandle, StepOutcome, StoreError},
};
use async_trait::async_trait;
use uuid::Uuid;

/// The journal of one run.
#[async_trait]
pub trait Journal: Send + Sync {
    /// The run.
    fn run(&self) -> Uuid;

    /// Makes a row durable before a call leaves. `before` is a digest of the object.
    ///
    /// # Errors
    /// When the row is not on disk; then the call must not leave.
    async fn intend(
        &self,
        intent: Intent,
        before: Option<String>,
    ) -> Result<DurableIntent, StoreError>;

    /// The call was accepted as a task.
    ///
    /// # Errors
    /// When the row is not on disk.
    async fn accepted(
        &self,
        intent: &DurableIntent,
        task: &TaskRef,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// The outcome of a call. `after` is a digest of the object.
    ///
    /// # Errors
    /// When the row is not on disk.
    async fn finished(
        &self,
        intent: &DurableIntent,
        outcome: StepOutcome,
        after: Option<String>,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// How an action stands now.
    ///
    /// # Errors
    /// When the row is not on disk.
    async fn action_state(
        &self,
        action: &ActionId,
        state: ActionState,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// An object that we made was seen: from now on the journal remembers it.
    ///
    /// # Errors
    /// When the row is not on disk.
    async fn owned(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// An object of ours is proved gone.
    ///
    /// # Errors
    /// When the row is not on disk.
    async fn disowned(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError>;

    /// Calls of this run whose outcome was never written down, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn open_intents(&self) -> Result<Vec<DurableIntent>, StoreError>;
}

#[async_trait]
impl Journal for RunHandle {
    fn run(&self) -> Uuid {
        self.id()
    }

    async fn intend(
        &self,
        intent: Intent,
        before: Option<String>,
    ) -> Result<DurableIntent, StoreError> {
        RunHandle::intend(self, intent, before).await
    }

    async fn accepted(
        &self,
        intent: &DurableIntent,
        task: &TaskRef,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        RunHandle::accepted(self, intent, task, now_ms).await
    }

    async fn finished(
        &self,
        intent: &DurableIntent,
        outcome: StepOutcome,
        after: Option<String>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        RunHandle::finished(self, intent, outcome, after, now_ms).await
    }

    async fn action_state(
        &self,
        action: &ActionId,
        state: ActionState,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        RunHandle::action_state(self, action, state, now_ms).await
    }

    async fn owned(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        RunHandle::owned(self, key, hypervisor, id, now_ms).await
    }

    async fn disowned(
        &self,
        key: &ResourceKey,
        hypervisor: &HypervisorName,
        id: &NativeId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        RunHandle::disowned(self, key, hypervisor, id, now_ms).await
    }

    async fn open_intents(&self) -> Result<Vec<DurableIntent>, StoreError> {
        RunHandle::open_intents(self).await
    }
}
