//! From YAML text to what is desired.
//!
//! In: the path of a first file. Out: a [`DesiredState`], or all problems of all files at
//! once, each with its place. `source` reads files; everything else here is pure.

pub mod decode;
pub mod diagnostic;
pub mod expand;
pub mod profile;
pub mod raw;
pub mod resolve;
pub mod scalar;
pub mod schema;
pub mod source;
pub mod testing;
pub mod validate;
pub mod yaml;

use crate::model::DesiredState;
use decode::{Cx, Decode};
use diagnostic::{Diagnostic, Report, SourceMap, Span};
use raw::RawConfig;
use resolve::{Draft, Outcome};
pub use source::{FILE_NAME, SETTINGS_NAME};
use source::{Memory, Tree};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How a configuration is loaded.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The folder that nothing may lead out of. Absent: the nearest one with a `novahost.toml`, else that of the file.
    pub root: Option<PathBuf>,
}

/// What loading gave.
#[derive(Debug)]
pub struct Loaded {
    /// What is desired; `None` when there are errors.
    pub desired: Option<DesiredState>,
    /// All problems, warnings included.
    pub report: Report,
    /// The texts that the problems stand in.
    pub sources: SourceMap,
    /// The folder that nothing was read outside of; empty for files in memory.
    pub root: PathBuf,
}

/// Loads a configuration from disk: a file, or a folder that holds `novahost.yaml`.
pub fn load(path: &Path, options: &Options) -> Loaded {
    match source::open(path, options.root.as_deref()) {
        Ok((tree, first)) => Loaded { root: tree.root().to_owned(), ..load_tree(&tree, &first) },
        Err(message) => {
            let mut sources = SourceMap::new();
            let file = sources.add(path.to_string_lossy(), "");
            let mut report = Report::new();
            report.push(Diagnostic::error("unreadable-file", Span::new(file, 0, 0), message));
            Loaded { desired: None, report, sources, root: PathBuf::new() }
        }
    }
}

/// Loads a configuration from files in memory, by path below a root; `first` is read first.
pub fn load_str(files: &BTreeMap<String, String>, first: &str) -> Loaded {
    load_tree(&Memory(files.clone()), first)
}

/// The road from files to a desired state.
fn load_tree(tree: &dyn Tree, first: &str) -> Loaded {
    let mut sources = source::read_all(tree, first);
    let mut report = std::mem::take(&mut sources.report);
    let root = resolve::merge_sections(&sources.documents, &mut report);
    // Sections of a file that could not be read are missing, and everything that refers to them would be reported.
    if report.has_errors() && sources.documents.is_empty() {
        return Loaded { desired: None, report, sources: sources.map, root: PathBuf::new() };
    }
    let mut cx = Cx::new(&sources.map);
    let top = Span { end: root.span.start, ..root.span };
    let draft =
        cx.at_key(Some(top), |cx| RawConfig::decode(&root, cx)).map(|raw| Draft::new(raw, &mut cx));
    report.merge(cx.into_report());
    let Some(draft) = draft else {
        return Loaded { desired: None, report, sources: sources.map, root: PathBuf::new() };
    };
    let data = sources.read_data(tree, &draft.data_refs());
    report.merge(std::mem::take(&mut sources.report));
    let mut cx = Cx::new(&sources.map);
    let outcome = draft.resolve(&data, top, &mut cx);
    validate::validate(&draft.raw, &outcome, &draft.entries, &mut cx);
    report.merge(cx.into_report());
    let fine = !report.has_errors();
    let desired = if fine { desired(outcome, sources.digests) } else { None };
    Loaded { desired, report, sources: sources.map, root: PathBuf::new() }
}

fn desired(outcome: Outcome, files: BTreeMap<String, String>) -> Option<DesiredState> {
    let machines = outcome.machines.into_iter();
    Some(DesiredState {
        project: outcome.project?,
        hypervisors: outcome.world.hypervisor_configs(),
        networks: outcome.world.desired_networks(),
        pools: outcome.pools,
        machines: machines.map(|one| (one.desired.key.clone(), one.desired)).collect(),
        policy: outcome.policy,
        files,
        forget: std::collections::BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests;
