//! What a product has to bring so that the rules can run over it.

use async_trait::async_trait;
use novahost::{
    model::{
        At, Birthplace, Grantee, HypervisorName, NativeId, NodeName, Product, StorageName, Target,
        TaskRef,
    },
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
    /// What this product has not, so that rules about it say nothing; with the reason.
    fn lacks(&self) -> BTreeMap<Need, &'static str>;
    /// Words of the vocabulary that this product never lowers to; with the reason.
    fn unspoken(&self) -> BTreeMap<&'static str, &'static str>;
}

/// What a rule, or a part of it, is about. A product that has it not is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Hosts of which each knows its own machines alone.
    HostsKnow,
    /// A majority, without which nothing is written.
    Quorum,
    /// Ids that a client chooses, and of which the product says whether they are free.
    ChosenIds,
    /// Ids that the product chooses.
    AssignedIds,
    /// Pools that are made, described, read one by one, and removed.
    OwnPools,
    /// Pools that are made of several objects.
    PartedPools,
    /// Values that wait for the next start.
    Pending,
    /// Several addresses of one installation.
    Addresses,
    /// Replies that the simulator compresses.
    Compression,
    /// Tasks that end well and warn.
    Warnings,
    /// Guests that are no machines.
    Containers,
    /// Tasks whose failure says of which kind it is.
    TypedFailures,
    /// Tasks that wait for their turn.
    Queue,
    /// Guests that cannot be asked to shut down, and of which the product knows it.
    Tools,
    /// Sessions that somebody could count, and that end with a call.
    Sessions,
    /// A word of the product on what it keeps from an account.
    HiddenTold,
    /// A log that names each task, so that ours are told apart from a person's with our account.
    NamedTasks,
    /// Lists that come in pages.
    Pages,
    /// Linked clones that hang on a snapshot.
    Snapshots,
    /// Labels of machines, by key.
    Labels,
    /// Disks that move to another storage.
    DiskMoves,
    /// Snapshots that we take and remove.
    OwnSnapshots,
    /// Rules that keep machines on different hosts.
    Spreads,
    /// Guests that the product itself sets up.
    Setups,
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
    /// The usual one; of the machine of most rules, labels are declared: `tenant` as `acme` or
    /// `beta`, `tier` as `silver`.
    Labelled,
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
    BeginBirth(&'a At),
    /// Lets it wait for a person: nothing else is done to it before.
    NeedsPerson(&'a NativeId),
    /// Takes out of it what hears a request to shut down.
    TakeTools(&'a NativeId),
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
    /// Hosts have as much to do as they can do at a time, or no longer.
    Crowded(bool),
    /// All sessions end.
    EndSessions,
    /// Makes a machine of this name whose disk goes on from the first snapshot of this one,
    /// and that bears no mark of ours.
    BranchOff(&'a NativeId, &'a str),
    /// Its host cannot read what it is any more.
    Ruin(&'a NativeId),
    /// Gives somebody all rights on an object.
    Permit(&'a NativeId, &'a str),
    /// Makes a pool that was not there.
    MakePool(&'a str),
    /// Makes another machine of our project like this one, for the entry of that name.
    Sibling(&'a NativeId, &'a str),
    /// What a template holds is a Windows.
    Windows(&'a NativeId),
    /// Puts a label on a machine, of a key that lets a machine have several values.
    Label(&'a NativeId, &'a str, &'a str),
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The listing of all guests.
    Listing,
    /// What one host says of its guests.
    HostListing,
    /// A listing after its first page.
    NextPage,
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
    /// Refused with words that repeat the request.
    Echo,
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
    /// Two ids of our range that are free; none where the product chooses them.
    pub free: Option<[NativeId; 2]>,
    /// A storage that every host sees.
    pub storage: StorageName,
    /// Another one that the first host sees.
    pub other_storage: StorageName,
    /// The account of [`Act::Work`], as the product files it.
    pub outsider: String,
    /// Somebody whom the product knows, a group that it knows, and somebody whom it does not know;
    /// where it is asked about people at all.
    pub people: Option<[Grantee; 3]>,
    /// Two networks.
    pub networks: [String; 2],
    /// An image.
    pub iso: String,
    /// A pool of others.
    pub pool: String,
    /// Whether the disk of a linked clone can be larger than its template's.
    pub linked_grows: bool,
    /// Whether the product itself keeps a machine from being removed.
    pub protects_itself: bool,
    /// Notes that the product does not take.
    pub bad_notes: String,
    /// Words of the truth that [`Act::Decorate`] puts there and no step speaks of.
    pub decorations: Vec<&'static str>,
    /// Where the first new disk goes.
    pub second_disk: &'static str,
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
    fn truth(&self, at: &At) -> String;
    /// What others than this project granted on an object, to whom.
    fn permits(&self, id: &NativeId) -> Vec<String>;
    /// Somebody else holds what a birth would claim, whatever makes births collide here;
    /// the place that the birth is sent to, and the object that holds it.
    fn occupied(&self, birth: &Birthplace) -> (At, At);
    /// Whether its software has come up, so far as it will.
    fn hears(&self, at: &At) -> bool;
    /// Volumes that are no disk of a machine any more and that it left behind.
    fn detached(&self, at: &At) -> usize;
    /// A task of another name, which there is not.
    fn other_task(&self, task: &TaskRef) -> TaskRef;
    /// How many machines were born with this name.
    fn born(&self, name: &str) -> usize;
    /// The snapshot that its disk hangs on.
    fn hangs_on(&self, at: &At) -> Option<String>;
    /// The labels of a machine, as `key=value`.
    fn labels(&self, at: &At) -> BTreeSet<String>;
    /// What the guest of a machine was last told by the product: its name, and of each card an
    /// address with its prefix length, or `dhcp`.
    fn told(&self, at: &At) -> Vec<String>;
    /// Sessions that are open.
    fn sessions(&self) -> usize;
    /// The words in which an error could give away the credentials.
    fn secrets(&self) -> Vec<String>;
}
