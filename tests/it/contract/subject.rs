//! What a product has to bring so that the rules can run over it.

use async_trait::async_trait;
use novahost::{
    model::{HypervisorName, NativeId, NodeName, Product, StorageName, Target},
    provider::Provider,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A product in one position.
#[async_trait]
pub trait Subject: Send + Sync {
    /// For messages: `proxmox 9.2 flipped`.
    fn position(&self) -> String;
    /// A world of one's own. `faulty`: requests that a client should not send, or faults.
    async fn world(&self, rule: &str, scene: Scene, faulty: bool) -> Arc<dyn World>;
    /// What was sent so far, and what the client can send and did not.
    fn calls(&self) -> (BTreeMap<String, usize>, BTreeSet<String>);
    /// Notes that a word of the vocabulary was carried out.
    fn note(&self, word: String);
    /// Words of the vocabulary that were carried out.
    fn used(&self) -> BTreeSet<String>;
}

/// What kind of world a rule wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Three hosts, a template, machines of others.
    Usual,
    /// The same, where work takes long enough to be seen running.
    Slow,
    /// The same; idle connections are closed almost at once.
    Idle,
    /// Many machines with the mark of our project.
    Crowd,
}

/// Machines of a crowd.
pub const CROWD: usize = 60;

/// With whose eyes, or through which door, a provider looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// As everyone does.
    Usual,
    /// The secret is wrong.
    WrongSecret,
    /// A user with a session.
    Session,
    /// Only a certificate that this server does not have is trusted.
    WrongPin,
    /// Only an authority that did not sign this server's certificate is trusted.
    WrongAuthority,
    /// This server's certificate is pinned.
    RightPin,
    /// Another installation is expected.
    WrongIdentity,
    /// This one is expected, and proved.
    RightIdentity,
    /// Nobody listens there.
    Dead,
    /// Nobody listens at the first address.
    FirstDead,
}

/// The secret of [`Door::WrongSecret`].
pub const WRONG_SECRET: &str = "wr0ng-s3cret-of-the-contract";

/// What somebody else does to the world.
#[derive(Clone, Copy, Debug)]
pub enum Act<'a> {
    /// Changes the processors of a machine.
    Edit(&'a NativeId),
    /// Another account changes the processors of a machine by a task.
    Work(&'a NativeId),
    /// The same account removes a machine by a task.
    Destroy(&'a NativeId),
    /// Renames it.
    Rename(&'a NativeId, &'a str),
    /// Removes it.
    Delete(&'a NativeId),
    /// Holds it busy.
    Lock(&'a NativeId),
    /// No longer.
    Unlock(&'a NativeId),
    /// Switches it.
    Power(&'a NativeId, bool),
    /// Moves it to the third host.
    Migrate(&'a NativeId),
    /// Gives it what the model has no word for: a limit on its card, a line in its notes.
    Decorate(&'a NativeId),
    /// Begins a machine that does not say yet whose it is.
    BeginBirth(&'a NativeId),
    /// Its software no longer hears a request to shut down.
    Deafen(&'a NativeId),
    /// The third host goes down, or comes back.
    HostDown(bool),
    /// The installation can no longer write, or can again.
    Frozen(bool),
    /// Our account sees only a part.
    Narrow,
    /// An access row hides one machine from our account.
    Hide(&'a NativeId),
    /// Our account may look at everything and change nothing.
    ReadOnly,
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The listing of all guests.
    Listing,
    /// What one host says of its guests.
    HostListing,
    /// The configuration of one machine.
    Machine,
    /// Anything that changes something.
    Mutation,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// The request is lost.
    LostBefore,
    /// The reply is lost.
    LostAfter,
    /// Something on the way gives up; nothing happened.
    GatewayBefore,
    /// Something on the way gives up; it happened.
    GatewayAfter,
    /// Half of the reply arrives.
    Cut,
    /// Refused with these words.
    Refused(String),
    /// The session is no longer good.
    Expired,
    /// Sends the client elsewhere.
    Redirect,
    /// The task fails with these words.
    TaskFails(String),
    /// The task ends without saying how.
    TaskDies,
    /// The task succeeds with these words.
    TaskWarns(String),
}

/// What stands in every world but a crowd.
#[derive(Clone, Debug)]
pub struct Props {
    /// What a configuration calls the hypervisor.
    pub hypervisor: HypervisorName,
    /// Three hosts.
    pub hosts: [NodeName; 3],
    /// A template on the first host.
    pub template: Target,
    /// Its name.
    pub template_name: String,
    /// A running machine of another project, in our range, on the second host.
    pub foreign: Target,
    /// An id of our range that is free.
    pub free: NativeId,
    /// A storage that every host sees.
    pub storage: StorageName,
    /// The account of [`Act::Work`], as the product files it.
    pub outsider: String,
    /// Two networks.
    pub networks: [String; 2],
    /// An image.
    pub iso: String,
    /// A pool of others.
    pub pool: String,
}

/// One simulated installation.
pub trait World: Send + Sync {
    /// What it holds.
    fn props(&self) -> &Props;
    /// A new provider.
    fn provider(&self, door: Door) -> Arc<dyn Provider>;
    /// The pure half of the product.
    fn product(&self) -> &'static dyn Product;
    /// Changes the world behind our back.
    fn outsider(&self, act: Act<'_>);
    /// From now on the first `times` such requests go wrong.
    fn trouble(&self, at: Point, what: Trouble, times: usize);
    /// Nothing goes wrong any more.
    fn calm(&self);
    /// Requests that arrived.
    fn requests(&self) -> usize;
    /// Those of them that were to change something, logins left out.
    fn mutations(&self) -> usize;
    /// Logins.
    fn logins(&self) -> usize;
    /// Replies that went out compressed.
    fn compressed(&self) -> usize;
    /// A machine as it lies on the disk, in the product's own words; to see that nothing
    /// happened to it.
    fn truth(&self, id: &NativeId) -> String;
    /// The words in which an error could give away the credentials.
    fn secrets(&self) -> Vec<String>;
}
