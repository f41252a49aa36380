//! How a simulated vCenter is set up: speed, and the points that the sources leave open.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one simulated vCenter.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides durations, hardware addresses and UUIDs; the same seed gives the same ones.
    pub seed: u64,
    /// How long things take.
    pub timing: Timing,
    /// The reading of each point that could not be confirmed.
    pub switches: Switches,
    /// Most objects in one answer, however many a client takes.
    pub page_max: usize,
    /// Service time of each call, for benches.
    pub field_model: Option<FieldModel>,
    /// Where each exchange is appended as a JSON line.
    pub record: Option<PathBuf>,
    /// Where the whole world is kept between runs.
    pub persist: Option<PathBuf>,
    /// TCP port; 0 takes any.
    pub port: u16,
    /// By how many seconds the clock of the server is ahead of this machine's.
    pub clock_ahead: i64,
}

impl Options {
    /// Fast timing and the likelier reading of every open point.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            timing: Timing::fast(),
            switches: Switches::default(),
            page_max: usize::MAX,
            field_model: None,
            record: None,
            persist: None,
            port: 0,
            clock_ahead: 0,
        }
    }
}

/// Every waiting time.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Shortest and longest work of a task, by its method; others use `task`.
    pub kinds: BTreeMap<String, (Duration, Duration)>,
    /// Shortest and longest work of a task of any other method.
    pub task: (Duration, Duration),
    /// A session that rests for so long ends (30 min in the field).
    pub session_idle: Duration,
    /// A task that is done is remembered for so long (10 min in the field).
    pub task_keep: Duration,
    /// One second of the waits that clients ask for.
    pub second: Duration,
    /// Delay of a refused login.
    pub login_delay: Duration,
    /// An idle connection is closed after this.
    pub keep_alive: Duration,
    /// From a machine's start until its tools answer.
    pub boot: Duration,
    /// From the shutdown request until a willing guest is off.
    pub shutdown: Duration,
    /// Units of work that one host takes at a time: a full clone costs 4, a linked one 1.
    pub host_units: u32,
}

impl Timing {
    /// What a middling installation shows.
    #[must_use]
    pub fn realistic() -> Self {
        let second = Duration::from_secs(1);
        let range = |low: u64, high: u64| (Duration::from_secs(low), Duration::from_secs(high));
        Self {
            kinds: BTreeMap::from([
                ("CloneVM_Task".to_owned(), range(10, 60)),
                ("CreateVM_Task".to_owned(), range(2, 6)),
                ("RelocateVM_Task".to_owned(), range(5, 40)),
                ("PowerOnVM_Task".to_owned(), range(2, 6)),
            ]),
            task: range(1, 3),
            session_idle: second * 1800,
            task_keep: second * 600,
            second,
            login_delay: second * 2,
            keep_alive: second * 60,
            boot: second * 25,
            shutdown: second * 8,
            host_units: 16,
        }
    }

    /// Milliseconds, yet still asynchronous: a task is seen running for some polls.
    #[must_use]
    pub fn fast() -> Self {
        let ms = Duration::from_millis;
        Self {
            kinds: BTreeMap::from([
                ("CloneVM_Task".to_owned(), (ms(40), ms(90))),
                ("RelocateVM_Task".to_owned(), (ms(30), ms(60))),
            ]),
            task: (ms(15), ms(40)),
            login_delay: ms(20),
            boot: ms(60),
            shutdown: ms(30),
            second: ms(50),
            ..Self::realistic()
        }
    }

    /// No waiting at all where none is needed; tasks still end after their call has been answered.
    #[must_use]
    pub fn instant() -> Self {
        let zero = Duration::ZERO;
        Self {
            kinds: BTreeMap::new(),
            task: (zero, zero),
            login_delay: zero,
            boot: zero,
            shutdown: zero,
            ..Self::fast()
        }
    }

    /// The bounds of a task of this method.
    pub(crate) fn bounds(&self, method: &str) -> (Duration, Duration) {
        self.kinds.get(method).copied().unwrap_or(self.task)
    }
}

/// One switch per point that the sources leave open, so that clients can be tried against both readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Switches {
    /// Property paths with a key in brackets are answered with `InvalidProperty`.
    pub no_keyed_paths: bool,
    /// Names that differ only in case are different names.
    pub names_by_case: bool,
    /// A read without `maxObjects` is answered in one piece instead of pages of 100.
    pub unpaged: bool,
    /// `RetrievePropertiesEx` on a dead session is a fault instead of an answer full of missing properties.
    pub dead_session_faults: bool,
    /// Processors or memory that cannot be changed while running give `InvalidPowerState` instead of a hot-plug fault.
    pub hot_add_power_fault: bool,
    /// The `SOAPAction` header is not looked at.
    pub any_version: bool,
    /// A Linux guest with at most 3 GiB takes no memory beyond 3 GiB while it runs.
    pub three_gib_rule: bool,
    /// At most 64 KiB in one value of `extraConfig`.
    pub small_values: bool,
    /// Clones carry custom attributes along.
    pub clone_copies_fields: bool,
    /// An instance UUID that another machine has is replaced by a new one instead of refused.
    pub taken_uuid_replaced: bool,
    /// Lists of references in properties, such as the machines of a host, also name objects that the account must not see.
    pub hidden_in_lists: bool,
    /// `operationID` of a request shows up as `activationId` of its task.
    pub activation_ids: bool,
    /// Tags are served below `/rest` only, as before 7.0 U2.
    pub old_rest_only: bool,
    /// Categories and tags whose names differ only in case are different ones.
    pub tags_by_case: bool,
    /// A tag takes the place of another one of a category that allows one, instead of being refused.
    pub single_tag_replaced: bool,
    /// Rules keep naming machines that are gone.
    pub rules_keep_gone: bool,
    /// Clones bear the tags of what they are cloned from.
    pub clone_copies_tags: bool,
    /// The user directory tells names with their domain, takes members only so, and compares whole names without
    /// regard to case.
    pub directory_tells_domains: bool,
    /// A description that is left with a machine is no change of its configuration.
    pub setup_keeps_version: bool,
    /// A description is said to wait until the guest that it sets up answers, and not until the start.
    pub setup_waits_for_tools: bool,
}

impl Switches {
    /// Every switch in the position that is not the default.
    #[must_use]
    pub fn flipped() -> Self {
        Self {
            no_keyed_paths: true,
            names_by_case: true,
            unpaged: true,
            dead_session_faults: true,
            hot_add_power_fault: true,
            any_version: true,
            three_gib_rule: true,
            small_values: true,
            clone_copies_fields: true,
            taken_uuid_replaced: true,
            hidden_in_lists: true,
            activation_ids: true,
            old_rest_only: true,
            tags_by_case: true,
            single_tag_replaced: true,
            clone_copies_tags: true,
            rules_keep_gone: true,
            directory_tells_domains: true,
            setup_keeps_version: true,
            setup_waits_for_tools: true,
        }
    }
}

/// The load model of benches: each call takes at least so long.
#[derive(Debug, Clone, Copy)]
pub struct FieldModel {
    /// Time of one read.
    pub read: Duration,
    /// Time of one change.
    pub write: Duration,
}

impl Default for FieldModel {
    fn default() -> Self {
        Self { read: Duration::from_millis(8), write: Duration::from_millis(20) }
    }
}
