//! The command line.

use super::address;
use crate::model::{Allowance, ResourceKey};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{collections::BTreeSet, path::PathBuf};

/// Plan and apply virtual machines written as YAML, without a state file.
#[derive(Debug, Parser)]
#[command(
    name = "novahost",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Try it without a hypervisor: novahost plan --sandbox

Exit codes: 0 ok, 1 error, 2 differences, 3 config, 4 auth, 5 refused,
6 stale plan, 7 partial, 8 locked, 9 incomplete inventory, 10 outcome
unknown, 64 usage, 70 bug, 130/143 interrupted."
)]
pub struct Cli {
    /// Settings of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Settings of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Directory outside of which no file is read [default: that of the YAML]
    #[arg(long, global = true, value_name = "DIR", env = "NOVAHOST_ROOT")]
    pub root: Option<PathBuf>,
    /// Trust settings; must lie outside of the root
    #[arg(long, global = true, value_name = "FILE", env = "NOVAHOST_TRUST")]
    pub trust: Option<PathBuf>,
    /// Use the bundled simulators instead of the hypervisors
    #[arg(long, global = true, env = "NOVAHOST_SANDBOX", value_parser = clap::builder::FalseyValueParser::new())]
    pub sandbox: bool,
    /// With --sandbox: write every exchange to FILE, one JSON object a line
    #[arg(long, global = true, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", env = "NOVAHOST_COLOR", value_enum)]
    pub color: Option<When>,
    /// Only ASCII in what is printed
    #[arg(long, global = true, env = "NOVAHOST_ASCII", value_parser = clap::builder::FalseyValueParser::new())]
    pub ascii: bool,
}

/// When something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How a result is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For comments on a review; plans only.
    Markdown,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the YAML; opens no connection
    Validate(Validate),
    /// Read the hypervisors and show what would be done
    Plan(Plan),
    /// Show a saved plan or a past run
    Show(Show),
    /// Plan, ask, and carry it out
    Apply(Apply),
    /// List machines that could be taken over, and write entries for them
    Adopt(Adopt),
    /// Stop managing machines whose entries are gone, without touching them
    Forget(Forget),
    /// List what is there
    Get(Get),
    /// Show one machine or pool, desired and observed
    Describe(Describe),
    /// Show how much room there is, now and after the plan
    Capacity(Capacity),
    /// Show what differs, of which class and by whom, and exit with 2 when anything does
    Drift(Drift),
    /// Look for what stands in the way, and say how to mend it; changes nothing
    Doctor(Doctor),
    /// Which hosts may get which credentials
    #[command(subcommand)]
    Trust(Trust),
    /// The journal
    #[command(subcommand)]
    Audit(Audit),
    /// Past runs
    #[command(subcommand)]
    Runs(Runs),
    /// Start, stop, restart or keep one machine of ours, here and now
    Vm(Vm),
    /// What the hypervisors report
    #[command(subcommand)]
    Inventory(Inventory),
    /// The bundled simulators
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// Print the JSON Schema of the YAML
    Schema,
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// Where the YAML is.
#[derive(Clone, Debug, Args)]
pub struct Source {
    /// The YAML file [default: novahost.yaml]
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// `validate`.
#[derive(Clone, Debug, Args)]
pub struct Validate {
    /// Where the YAML is.
    #[command(flatten)]
    pub source: Source,
    /// Print which field can be had on which product, and what changing it costs there: of
    /// the fields that the YAML uses, or, without a PATH, of all
    #[arg(long)]
    pub portability: bool,
    /// How to write the result
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// How planning looks at the world.
#[derive(Clone, Debug, Args)]
pub struct Looking {
    /// Only these addresses, with what they need first (repeatable)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub target: Vec<ResourceKey>,
    /// Go on although a hypervisor was read in part; what is unknown stays untouched
    #[arg(long)]
    pub allow_partial: bool,
}

/// `plan`.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// Where the YAML is.
    #[command(flatten)]
    pub source: Source,
    /// How to look.
    #[command(flatten)]
    pub looking: Looking,
    /// Save the plan, to be applied later
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Exit with 2 when the plan is not empty
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// How to write the plan
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
    /// Plan against a snapshot; opens no connection, needs no credentials
    #[arg(long, value_name = "FILE")]
    pub inventory: Option<PathBuf>,
    /// Show every single call
    #[arg(long)]
    pub steps: bool,
}

/// `show`.
#[derive(Clone, Debug, Args)]
pub struct Show {
    /// A plan file, or the id of a run
    #[arg(value_name = "PLAN|RUN")]
    pub what: String,
    /// How to write it
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
    /// Show every single call
    #[arg(long)]
    pub steps: bool,
}

/// `apply`.
#[derive(Clone, Debug, Args)]
pub struct Apply {
    /// The YAML, or a plan saved with `plan --out` [default: novahost.yaml]
    #[arg(value_name = "PLAN|PATH")]
    pub path: Option<PathBuf>,
    /// With a saved plan: the YAML that it was made from [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to look.
    #[command(flatten)]
    pub looking: Looking,
    /// Do not ask; allows everything up to `next-boot`
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Allow a class: reinit, restart, replace, delete or data-loss; for all or for ADDR,…
    #[arg(long, value_name = "CLASS[=ADDR,…]")]
    pub allow: Vec<Allow>,
    /// The plan must have this id (or begin with it, 12 digits or more)
    #[arg(long, value_name = "PLAN_ID", value_parser = approval)]
    pub approve: Option<String>,
    /// Vouch for a machine: it is ours and may be deleted, or it is really gone
    /// (repeatable)
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub confirm: Vec<ResourceKey>,
    /// The YAML is meant to lose this many machines
    #[arg(long, value_name = "N")]
    pub expect_shrink: Option<u32>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Ticket, for the journal
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// How to write the result
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// The shortest beginning of a plan id that is taken: what plans print.
const APPROVE_DIGITS_MIN: usize = 12;

fn approval(text: &str) -> Result<String, String> {
    if text.len() >= APPROVE_DIGITS_MIN && text.bytes().all(|it| it.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("{APPROVE_DIGITS_MIN} or more digits of a plan id are needed"))
    }
}

/// One `--allow`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Which class.
    pub class: Allowance,
    /// For which objects; `None` = all.
    pub keys: Option<BTreeSet<ResourceKey>>,
}

impl std::str::FromStr for Allow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (class, keys) = match text.split_once('=') {
            Some((class, keys)) => (class, Some(keys)),
            None => (text, None),
        };
        let class =
            Allowance::ALL.into_iter().find(|it| it.as_str() == class).ok_or_else(|| {
                format!(
                    "`{class}` is not a class; use reinit, restart, replace, delete or data-loss"
                )
            })?;
        let keys = keys
            .map(|keys| {
                keys.split(',').map(|key| key.parse().map_err(|it| format!("{it}"))).collect()
            })
            .transpose()?;
        Ok(Self { class, keys })
    }
}

/// `adopt`.
#[derive(Clone, Debug, Args)]
pub struct Adopt {
    /// A hypervisor, or one machine on it
    #[arg(value_name = "HYPERVISOR[/ID]", required = true)]
    pub machines: Vec<String>,
    /// Only members of this pool
    #[arg(long, value_name = "POOL")]
    pub pool: Option<String>,
    /// Only machines whose name is like this: `web-*`
    #[arg(long, value_name = "GLOB")]
    pub name: Option<String>,
    /// Only machines with this tag
    #[arg(long, value_name = "TAG")]
    pub tag: Option<String>,
    /// Write entries for all of them; without this or a filter they are listed
    #[arg(long)]
    pub all: bool,
    /// Machines of entries that have another id after a restore, instead of unmanaged ones
    #[arg(long)]
    pub moved: bool,
    /// Write the entries to a new file
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The YAML that names the hypervisors [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to write the list
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// `forget`.
#[derive(Clone, Debug, Args)]
pub struct Forget {
    /// `vm/NAME`; the entry must be gone from the YAML
    #[arg(value_name = "ADDRESS", required = true)]
    pub addresses: Vec<ResourceKey>,
    /// The YAML [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Ticket, for the journal
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// How to write the result
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// `get`.
#[derive(Clone, Debug, Args)]
pub struct Get {
    /// What to list
    #[arg(value_enum)]
    pub kind: GetKind,
    /// Only this one
    pub name: Option<String>,
    /// The YAML that names the hypervisors [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// What `get` can list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetKind {
    /// Configured hypervisors and how they were read
    Hypervisors,
    /// Hosts with their capacity
    Nodes,
    /// Machines, with whose they are
    Vms,
    /// Templates
    Templates,
    /// Pools
    Pools,
    /// Rules that keep machines on different hosts
    Spreads,
    /// Storages
    Storages,
}

/// `describe`.
#[derive(Clone, Debug, Args)]
pub struct Describe {
    /// `NAME` or `vm/NAME`, `pool/NAME`, `spread/NAME`
    #[arg(value_parser = address::address)]
    pub address: ResourceKey,
    /// The YAML [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// `capacity`.
#[derive(Clone, Debug, Args)]
pub struct Capacity {
    /// Only these hypervisors [default: all]
    #[arg(value_name = "HYPERVISOR")]
    pub hypervisors: Vec<String>,
    /// The YAML that names them [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// `drift`.
#[derive(Clone, Debug, Args)]
pub struct Drift {
    /// Where the YAML is.
    #[command(flatten)]
    pub source: Source,
    /// How to look.
    #[command(flatten)]
    pub looking: Looking,
    /// Exit with 2 when anything differs; it always does, so this only says so
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// How to write it
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// `doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes: 0 all is well, or worth a look; 4 the credentials are refused;
5 trust refuses; 9 it cannot be read completely; 1 anything else.")]
pub struct Doctor {
    /// Only these hypervisors [default: all]
    #[arg(value_name = "HYPERVISOR")]
    pub hypervisors: Vec<String>,
    /// The YAML that names them [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// How to write it
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// `trust`.
#[derive(Clone, Debug, Subcommand)]
pub enum Trust {
    /// Look at a hypervisor's certificate and identity, ask, and write them down
    Add {
        /// The hypervisor's name in the YAML
        name: String,
        /// The YAML that has it [default: novahost.yaml]
        #[arg(long, short = 'f', value_name = "PATH")]
        file: Option<PathBuf>,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Show what is trusted
    List,
}

/// `audit`.
#[derive(Clone, Debug, Subcommand)]
pub enum Audit {
    /// The newest entries
    List {
        /// Only of this object
        #[arg(long, value_name = "ADDRESS")]
        key: Option<ResourceKey>,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// How to write them
        #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
        format: Option<Format>,
    },
    /// All entries of a run
    Show {
        /// The run's id, or its beginning
        run: String,
    },
    /// Walk the hash chain, offline
    Verify,
    /// Write every entry as a line of JSON
    Export,
}

/// `runs`.
#[derive(Clone, Debug, Subcommand)]
pub enum Runs {
    /// The newest runs
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// How to write them
        #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
        format: Option<Format>,
    },
    /// One run with its actions and calls
    Show {
        /// The run's id, or its beginning
        run: String,
    },
    /// Look up what became of calls that a broken run left open
    Resume {
        /// The run's id, or its beginning [default: every broken run]
        run: Option<String>,
        /// The YAML [default: novahost.yaml]
        #[arg(long, short = 'f', value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

/// `vm`.
#[derive(Clone, Debug, Args)]
pub struct Vm {
    /// What to do.
    #[command(subcommand)]
    pub command: VmCommand,
}

/// What can be asked of one machine.
#[derive(Clone, Debug, Subcommand)]
pub enum VmCommand {
    /// Start it, or resume it
    Start(OneMachine),
    /// Ask its guest to shut down, and wait 120 s for it
    Stop {
        /// Which.
        #[command(flatten)]
        what: OneMachine,
        /// Take its power when its guest does not shut down
        #[arg(long)]
        hard: bool,
    },
    /// Shut it down and start it again
    Reboot {
        /// Which.
        #[command(flatten)]
        what: OneMachine,
        /// Take its power when its guest does not shut down
        #[arg(long)]
        hard: bool,
    },
    /// Keep its disks as they are now, without memory
    Snapshot {
        /// Which.
        #[command(flatten)]
        what: OneMachine,
        /// What the snapshot is called [default: the date and time]
        #[arg(long, value_name = "NAME", value_parser = snapshot_name)]
        name: Option<String>,
    },
}

impl VmCommand {
    /// Which machine, and how.
    pub fn what(&self) -> &OneMachine {
        match self {
            VmCommand::Start(what)
            | VmCommand::Stop { what, .. }
            | VmCommand::Reboot { what, .. }
            | VmCommand::Snapshot { what, .. } => what,
        }
    }
}

/// One machine of ours.
#[derive(Clone, Debug, Args)]
pub struct OneMachine {
    /// Its entry: `NAME` or `vm/NAME`
    #[arg(value_name = "MACHINE", value_parser = address::machine)]
    pub machine: ResourceKey,
    /// The YAML [default: novahost.yaml]
    #[arg(long, short = 'f', value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Ticket, for the journal
    #[arg(long, value_name = "ID")]
    pub ticket: Option<String>,
    /// How to write the result
    #[arg(long, value_enum, env = "NOVAHOST_FORMAT")]
    pub format: Option<Format>,
}

/// The longest name that every product takes.
const SNAPSHOT_NAME_MAX: usize = 80;

fn snapshot_name(text: &str) -> Result<String, String> {
    let fits = |it: char| it.is_ascii_alphanumeric() || " -_.:+".contains(it);
    if text.trim() != text || text.is_empty() || !text.chars().all(fits) {
        return Err("use letters, digits, blanks and `- _ . : +`".to_owned());
    }
    if text.len() > SNAPSHOT_NAME_MAX {
        return Err(format!("use {SNAPSHOT_NAME_MAX} characters or fewer"));
    }
    if text.starts_with(crate::ownership::SNAPSHOT_PREFIX) {
        return Err(format!(
            "names that begin with `{}` are those of snapshots that are removed by themselves",
            crate::ownership::SNAPSHOT_PREFIX
        ));
    }
    Ok(text.to_owned())
}

/// `inventory`.
#[derive(Clone, Debug, Subcommand)]
pub enum Inventory {
    /// Write what was observed to a file, for `plan --inventory`
    Snapshot {
        /// Where the YAML is.
        #[command(flatten)]
        source: Source,
        /// The file
        #[arg(long, value_name = "FILE", default_value = "inventory.json")]
        out: PathBuf,
    },
}

/// `sandbox`.
#[derive(Clone, Debug, Subcommand)]
pub enum Sandbox {
    /// Serve the simulators until Ctrl-C, for a look with other clients
    Serve {
        /// The YAML that names the hypervisors [default: novahost.yaml]
        #[arg(long, short = 'f', value_name = "PATH")]
        file: Option<PathBuf>,
    },
    /// Forget the sandbox's world; the next command starts from the first one
    Reset {
        /// The YAML beside which the world is kept [default: novahost.yaml]
        #[arg(long, short = 'f', value_name = "PATH")]
        file: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn allow_takes_a_class_and_addresses() {
        let all: Allow = "restart".parse().unwrap();
        assert_eq!(all, Allow { class: Allowance::Restart, keys: None });
        let some: Allow = "data-loss=vm/a,vm/b".parse().unwrap();
        let keys = [ResourceKey::vm("a"), ResourceKey::vm("b")].into();
        assert_eq!(some, Allow { class: Allowance::DataLoss, keys: Some(keys) });
        assert!("reboot".parse::<Allow>().is_err());
        assert!("restart=web".parse::<Allow>().is_err());
    }
}
