//! A journal in memory.

use super::*;

/// A journal in memory that can be made to fail.
#[derive(Default)]
pub(in crate::apply::tests) struct FakeJournal {
    runs: Mutex<u128>,
    rows: Mutex<Vec<(Intent, Option<StepOutcome>)>>,
    pub(in crate::apply::tests) owned: Mutex<BTreeSet<(ResourceKey, NativeId)>>,
    pub(in crate::apply::tests) states: Mutex<Vec<(ActionId, ActionState)>>,
    /// Writes that still succeed; `None` = all.
    pub(in crate::apply::tests) writes_left: Mutex<Option<u32>>,
    /// Outcomes that were written over another one.
    pub(in crate::apply::tests) rewritten: Mutex<u32>,
}

impl FakeJournal {
    fn write(&self) -> Result<(), StoreError> {
        match &mut *self.writes_left.lock().unwrap() {
            Some(0) => Err(StoreError::Closed { operation: "write", path: PathBuf::new() }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn is_open(&self, row: i64) -> bool {
        let index = usize::try_from(row).unwrap();
        self.rows.lock().unwrap().get(index).is_some_and(|row| row.1.is_none())
    }

    pub(in crate::apply::tests) fn outcomes(&self) -> Vec<(String, u32, Option<StepOutcome>)> {
        let rows = self.rows.lock().unwrap();
        rows.iter().map(|(it, outcome)| (it.op.clone(), it.attempt, outcome.clone())).collect()
    }

    pub(in crate::apply::tests) fn attempts_are_unique(&self) -> bool {
        let rows = self.rows.lock().unwrap();
        // As the journal itself has it: another call at a step is another row.
        let row = |it: &Intent| (it.run, it.action.clone(), it.step, it.attempt, it.op.clone());
        let all: BTreeSet<_> = rows.iter().map(|(it, _)| row(it)).collect();
        all.len() == rows.len()
    }

    /// Another run with the same journal.
    pub(in crate::apply::tests) fn begin_run(&self) {
        *self.runs.lock().unwrap() += 1;
    }
}

#[async_trait]
impl Journal for FakeJournal {
    fn run(&self) -> Uuid {
        Uuid::from_u128(*self.runs.lock().unwrap())
    }

    async fn intend(&self, intent: Intent, _: Option<String>) -> Result<DurableIntent, StoreError> {
        self.write()?;
        let mut rows = self.rows.lock().unwrap();
        rows.push((intent.clone(), None));
        Ok(DurableIntent::in_test(i64::try_from(rows.len()).unwrap() - 1, intent))
    }

    async fn accepted(&self, _: &DurableIntent, _: &TaskRef, _: i64) -> Result<(), StoreError> {
        self.write()
    }

    async fn finished(
        &self,
        intent: &DurableIntent,
        outcome: StepOutcome,
        _: Option<String>,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        let mut rows = self.rows.lock().unwrap();
        let row = &mut rows[usize::try_from(intent.row()).unwrap()].1;
        if row.replace(outcome).is_some() {
            *self.rewritten.lock().unwrap() += 1;
        }
        Ok(())
    }

    async fn action_state(
        &self,
        action: &ActionId,
        state: ActionState,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.states.lock().unwrap().push((action.clone(), state));
        Ok(())
    }

    async fn owned(
        &self,
        key: &ResourceKey,
        _: &HypervisorName,
        id: &NativeId,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.owned.lock().unwrap().insert((key.clone(), id.clone()));
        Ok(())
    }

    async fn disowned(
        &self,
        key: &ResourceKey,
        _: &HypervisorName,
        id: &NativeId,
        _: i64,
    ) -> Result<(), StoreError> {
        self.write()?;
        self.owned.lock().unwrap().remove(&(key.clone(), id.clone()));
        Ok(())
    }

    async fn open_intents(&self) -> Result<Vec<DurableIntent>, StoreError> {
        let rows = self.rows.lock().unwrap();
        let open = (0_i64..).zip(rows.iter()).filter(|(_, (_, outcome))| outcome.is_none());
        Ok(open.map(|(row, (intent, _))| DurableIntent::in_test(row, intent.clone())).collect())
    }
}
