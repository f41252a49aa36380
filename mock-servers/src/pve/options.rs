//! How a simulated cluster is set up: version, speed, and the points the sources leave open.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::schema::Release;

/// Settings of one simulated cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which product release is played.
    pub release: Release,
    /// Decides durations, process ids, MACs and UUIDs; the same seed gives the same ones.
    pub seed: u64,
    /// How long things take.
    pub timing: Timing,
    /// The reading of each point that could not be confirmed.
    pub switches: Switches,
    /// Service time and workers of each node, for benches.
    pub field_model: Option<FieldModel>,
    /// Where each exchange is appended as a JSON line.
    pub record: Option<PathBuf>,
    /// Where the whole world is kept between runs.
    pub persist: Option<PathBuf>,
    /// TCP port of the first endpoint; 0 takes any.
    pub port: u16,
    /// How many ports serve the cluster; all of them answer for every node.
    pub endpoints: usize,
    /// By how many seconds the clock of the nodes is ahead of this machine's.
    pub clock_ahead: i64,
}

impl Options {
    /// Fast timing and the likelier reading of every open point.
    #[must_use]
    pub fn new(release: Release, seed: u64) -> Self {
        Self {
            release,
            seed,
            timing: Timing::fast(),
            switches: Switches::default(),
            field_model: None,
            record: None,
            persist: None,
            port: 0,
            endpoints: 1,
            clock_ahead: 0,
        }
    }
}

/// Every waiting time of the cluster.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Shortest and longest work of a task, by its type; others use `task`.
    pub kinds: BTreeMap<String, (Duration, Duration)>,
    /// Shortest and longest work of a task of any other type.
    pub task: (Duration, Duration),
    /// How often each node broadcasts its statistics (10 s in the field); zero means before each read.
    pub statistics: Duration,
    /// Delay of a 401 (3 s in the field).
    pub auth_delay: Duration,
    /// One second of lock waits and shutdown timeouts.
    pub second: Duration,
    /// How long an allocation holds its storage's lock.
    pub storage_hold: Duration,
    /// Work of a synchronous call that allocates or moves disks.
    pub slow_call: Duration,
    /// After how long the proxy gives up on a synchronous call with 596 (30 s in the field).
    pub proxy_timeout: Duration,
    /// An idle connection is closed after this (5 s in the field).
    pub keep_alive: Duration,
    /// From a guest's start until its agent answers.
    pub boot: Duration,
    /// From the shutdown request until a willing guest is down.
    pub shutdown: Duration,
}

impl Timing {
    /// What a middling cluster shows.
    #[must_use]
    pub fn realistic() -> Self {
        let second = Duration::from_secs(1);
        let range = |low: u64, high: u64| (Duration::from_secs(low), Duration::from_secs(high));
        Self {
            kinds: BTreeMap::from([
                ("qmclone".to_owned(), range(4, 20)),
                ("qmcreate".to_owned(), range(2, 6)),
                ("qmdestroy".to_owned(), range(1, 4)),
                ("qmigrate".to_owned(), range(8, 30)),
                ("qmmove".to_owned(), range(5, 20)),
            ]),
            task: range(1, 3),
            statistics: second * 10,
            auth_delay: second * 3,
            second,
            storage_hold: Duration::from_millis(400),
            slow_call: second,
            proxy_timeout: second * 30,
            keep_alive: second * 5,
            boot: second * 20,
            shutdown: second * 6,
        }
    }

    /// Milliseconds, yet still asynchronous: a task is seen running for some polls.
    #[must_use]
    pub fn fast() -> Self {
        let ms = Duration::from_millis;
        Self {
            kinds: BTreeMap::from([
                ("qmclone".to_owned(), (ms(40), ms(90))),
                ("qmigrate".to_owned(), (ms(40), ms(90))),
            ]),
            task: (ms(15), ms(40)),
            statistics: ms(100),
            auth_delay: ms(30),
            second: ms(50),
            storage_hold: ms(3),
            slow_call: ms(5),
            proxy_timeout: ms(1500),
            keep_alive: Duration::from_secs(5),
            boot: ms(60),
            shutdown: ms(30),
        }
    }

    /// No waiting at all where none is needed; tasks still end after their POST has been answered.
    #[must_use]
    pub fn instant() -> Self {
        let zero = Duration::ZERO;
        Self {
            kinds: BTreeMap::new(),
            task: (zero, zero),
            statistics: zero,
            auth_delay: zero,
            second: Duration::from_millis(50),
            storage_hold: zero,
            slow_call: zero,
            proxy_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            boot: zero,
            shutdown: zero,
        }
    }

    /// The bounds of a task of this type.
    pub(crate) fn bounds(&self, kind: &str) -> (Duration, Duration) {
        self.kinds.get(kind).copied().unwrap_or(self.task)
    }
}

/// One switch per point that the sources leave open, so that clients can be tried against both readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    /// `/cluster/nextid` answers a number instead of a string.
    pub nextid_number: bool,
    /// `nameserver` and `searchdomain` of a running container apply at once instead of staying pending.
    pub lxc_dns_live: bool,
    /// An agent that itself fails is answered as a 500 instead of `{"result":{"error":..}}`.
    pub agent_error_status: bool,
    /// An unreachable node is answered 596 instead of 595.
    pub offline_596: bool,
    /// A 401 says `Authentication failed!` instead of the detailed reason.
    pub terse_auth: bool,
    /// Create normalises tags and checks them (qemu-server 9.1.17 and later) instead of storing them as sent.
    pub create_normalises_tags: bool,
    /// Integers are written as decimal strings wherever Perl may do so.
    pub integers_as_strings: bool,
    /// Failures carry no `message` (before the January 2025 server): only the reason phrase tells.
    pub no_message: bool,
    /// A task's status is 400 `no such task` for its first poll.
    pub late_task_file: bool,
}

impl Switches {
    /// Every switch in the position that is not the default.
    #[must_use]
    pub fn flipped() -> Self {
        Self {
            nextid_number: true,
            lxc_dns_live: true,
            agent_error_status: true,
            offline_596: true,
            terse_auth: true,
            create_normalises_tags: true,
            integers_as_strings: true,
            no_message: true,
            late_task_file: true,
        }
    }
}

/// The load model of benches: each request occupies one of a node's workers for a while.
#[derive(Debug, Clone, Copy)]
pub struct FieldModel {
    /// Time that one read keeps a worker busy.
    pub read: Duration,
    /// Time that one change keeps a worker busy.
    pub write: Duration,
    /// Worker processes of each node.
    pub workers_per_node: usize,
}

impl Default for FieldModel {
    fn default() -> Self {
        Self {
            read: Duration::from_millis(6),
            write: Duration::from_millis(12),
            workers_per_node: 3,
        }
    }
}
