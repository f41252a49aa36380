//! All that is known of each product, one folder each.
//!
//! A provider translates: it does not compare, order, wait or decide. Its pure half
//! is [`Product`](crate::model::Product); its effectful half is [`Provider`]. Inputs
//! are steps and fresh reads, outputs are observations and outcomes as values.

mod adoption;
mod checks;
pub mod endpoint;
mod evidence;
mod failure;
pub mod guest_init;
mod lowering;
pub mod proxmox;
pub mod tls;
pub mod vcenter;

use crate::{
    model::{
        Altered, Authors, DesiredState, Examination, Fresh, HypervisorInventory, Identity,
        InitSecret, Intent, Listing, Located, ProviderError, Scope, Step, StepOp, Submitted,
        Target, TaskRef, TaskState,
    },
    ownership::MarkerKey,
    store::DurableIntent,
};
use async_trait::async_trait;
use secrecy::SecretString;
use std::collections::BTreeMap;

/// The effectful half of a product, for one configured hypervisor.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Reads everything that planning needs. Never an error: gaps are values.
    async fn observe(&self, scope: &Scope) -> HypervisorInventory;

    /// All guests in one cheap call, to prove claims again and to find newcomers.
    ///
    /// # Errors
    /// When the listing could not be had at all.
    async fn list(&self) -> Result<Listing, ProviderError>;

    /// One object from its own place, wherever it is now, with its native version.
    ///
    /// # Errors
    /// When it cannot be told whether the object is there.
    async fn read(&self, target: &Target) -> Result<Fresh, ProviderError>;

    /// One mutating call. The row in the journal exists before it leaves.
    async fn submit(&self, call: &Call<'_>, intent: &DurableIntent) -> Submitted;

    /// How tasks stand, many at once, in the order asked.
    async fn poll(&self, tasks: &[TaskRef]) -> Vec<TaskState>;

    /// What became of a call whose reply was lost. Looks; never sends it again.
    async fn locate(&self, intent: &Intent) -> Located;

    /// Looks for whatever would stand in the way of planning and applying: one finding
    /// for each of [`Check::PROVIDERS`](crate::model::Check::PROVIDERS), in that order,
    /// with a way out. A check that rests on one that failed is skipped. Changes
    /// nothing, and sends no credential where a connection was not trusted before.
    async fn examine(&self, desired: &DesiredState, scope: &Scope) -> Examination;

    /// Who last changed each of these machines, by the product's log of tasks: others'
    /// tasks that ended well, are of a kind that can explain what differs, and began
    /// after our own last write. Requests are bounded by hosts, never by machines.
    /// Never an error: gaps are values.
    async fn authors(&self, altered: &[Altered]) -> Authors;

    /// Ends sessions. Errors are of no use to anyone and are swallowed.
    async fn close(&self);
}

/// All that a provider needs for one mutating call.
pub struct Call<'a> {
    /// The step.
    pub step: &'a Step,
    /// The call: the step's own, or its fallback.
    pub op: &'a StepOp,
    /// At what.
    pub target: &'a Target,
    /// Whose.
    pub identity: &'a Identity,
    /// The plan that asks for it, for what is written beside an object.
    pub plan_id: &'a str,
    /// The object as it was read right before; for a birth, proof of absence.
    pub fresh: &'a Fresh,
    /// Signs markers, when the trust settings have a key.
    pub marker_key: Option<&'a MarkerKey>,
    /// The guest's secrets that the step hands over, by which they are.
    pub secrets: &'a GuestSecrets,
}

/// Secrets of a guest, fetched: in memory only, and only for as long as one step takes.
pub type GuestSecrets = BTreeMap<InitSecret, SecretString>;

impl Call<'_> {
    /// The password of the guest's user.
    pub(crate) fn password(&self) -> Option<&SecretString> {
        self.secrets.get(&InitSecret::Password)
    }
}
