//! The load model: a request occupies one of its node's workers for a fixed time.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::options::FieldModel;

pub(crate) struct Field {
    model: FieldModel,
    workers: BTreeMap<String, Arc<Semaphore>>,
    /// Calls that name no node are spread over the nodes by connection.
    names: Vec<String>,
}

impl Field {
    pub(crate) fn new(model: FieldModel, nodes: impl Iterator<Item = String>) -> Self {
        let names: Vec<String> = nodes.collect();
        let workers = names
            .iter()
            .map(|name| (name.clone(), Arc::new(Semaphore::new(model.workers_per_node.max(1)))))
            .collect();
        Self { model, workers, names }
    }

    /// Waits for a worker of the node and keeps it busy for one request.
    pub(crate) async fn serve(&self, node: Option<&str>, is_read: bool, turn: usize) {
        let fallback = self.names.get(turn % self.names.len().max(1)).map(String::as_str);
        let Some(name) = node.filter(|name| self.workers.contains_key(*name)).or(fallback) else {
            return;
        };
        let Some(semaphore) = self.workers.get(name) else {
            return;
        };
        // The semaphore is never closed; without a permit the model would only be less exact.
        let _permit = semaphore.acquire().await.ok();
        tokio::time::sleep(if is_read { self.model.read } else { self.model.write }).await;
    }
}
