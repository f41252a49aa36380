//! Which files belong to a configuration, and what is in them.
//!
//! In: the path of a first file and a root. Out: parsed files in an order that does not
//! depend on the machine, the digest of each, and problems. Nothing outside of the root
//! is ever opened, also not through a symlink. What the files mean is left to others.

mod open;
mod tree;

use super::decode::Cx;
use super::diagnostic::{Diagnostic, FileId, Report, SourceMap, Span};
use super::raw::RawInclude;
use super::yaml::{self, Node};
use globset::GlobBuilder;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use open::{FILE_NAME, SETTINGS_NAME, open};
pub use tree::{Disk, Memory, ReadError, Tree};

/// Files of one configuration. Large sites have hundreds; each open file costs a little memory.
pub const FILES_MAX: usize = 10_000;

/// Threads that parse. More than the cores of common runners would only wait.
const THREADS_MAX: usize = 8;

/// One parsed file.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its text in the source map.
    pub file: FileId,
    /// What it says.
    pub root: Node,
}

/// All files of a configuration.
#[derive(Debug)]
pub struct Sources {
    /// Their texts.
    pub map: SourceMap,
    /// The first file, then included ones, level by level, each level by path.
    pub documents: Vec<Document>,
    /// SHA-256, hex, by path below the root.
    pub digests: BTreeMap<String, String>,
    /// What went wrong.
    pub report: Report,
}

/// A file that another file names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DataRef {
    /// Where it is named; also says relative to which file.
    pub span: Span,
    /// The path as written.
    pub path: Arc<str>,
}

/// A file that is to be read, and where it is asked for.
struct Wanted {
    path: String,
    by: Option<Span>,
}

/// What has been read so far.
#[derive(Default)]
struct Budget {
    files: usize,
    bytes: usize,
    spent: bool,
}

/// Reads the first file and all that it includes.
pub fn read_all(tree: &dyn Tree, first: &str) -> Sources {
    let mut sources = Sources {
        map: SourceMap::new(),
        documents: Vec::new(),
        digests: BTreeMap::new(),
        report: Report::new(),
    };
    let mut seen = BTreeSet::new();
    let mut wave = vec![Wanted { path: first.to_owned(), by: None }];
    let mut budget = Budget::default();
    while !wave.is_empty() {
        let mut files = Vec::new();
        for wanted in wave {
            files.extend(sources.open(tree, &wanted, &mut seen, &mut budget));
        }
        let parsed = parse_all(&sources.map, &files);
        let mut next = Vec::new();
        for (file, (root, report)) in files.into_iter().zip(parsed) {
            sources.report.merge(report);
            if let Some(root) = root {
                next.extend(sources.includes(tree, &root));
                sources.documents.push(Document { file, root });
            }
        }
        // The order of includes decides nothing but which place of a conflict is called the first.
        next.sort_by(|a, b| (&a.path, a.by).cmp(&(&b.path, b.by)));
        wave = next;
    }
    sources
}

/// Parses files on as many threads as there are cores; results in the order of the files.
fn parse_all(map: &SourceMap, files: &[FileId]) -> Vec<(Option<Node>, Report)> {
    let parse = |&file: &FileId| {
        let mut report = Report::new();
        let root = yaml::parse(&map.text(file), file, &mut report);
        (root, report)
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(THREADS_MAX).min(files.len());
    if threads < 2 {
        return files.iter().map(parse).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(at) else { return done };
            done.push((at, parse(file)));
        }
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<_>>| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().flat_map(join).collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, parsed)| parsed).collect()
}

impl Sources {
    /// Takes one file into the source map; `None` when it was taken before or cannot be.
    fn open(
        &mut self,
        tree: &dyn Tree,
        wanted: &Wanted,
        seen: &mut BTreeSet<String>,
        budget: &mut Budget,
    ) -> Option<FileId> {
        let bytes = match tree.identity(&wanted.path) {
            // A file that includes itself, or that two globs match, is read once.
            Ok(identity) => {
                if !seen.insert(identity) {
                    return None;
                }
                tree.read(&wanted.path, yaml::FILE_BYTES_MAX + 1)
            }
            Err(error) => Err(error),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                let place = wanted.by;
                self.refuse(&wanted.path, place, error.code(), error.message(&wanted.path));
                return None;
            }
        };
        budget.files += 1;
        budget.bytes += bytes.len();
        if budget.files > FILES_MAX || !yaml::within_total([budget.bytes]) {
            // Said once; every later file is past the bound too.
            if !std::mem::replace(&mut budget.spent, true) {
                let bytes_max = yaml::ALL_BYTES_MAX;
                let message = format!(
                    "with `{}` the configuration has more than {FILES_MAX} files or {bytes_max} bytes",
                    wanted.path
                );
                self.refuse(&wanted.path, wanted.by, "too-many-files", message);
            }
            return None;
        }
        self.digests.insert(wanted.path.clone(), sha256_hex(&bytes));
        yaml::read_text(&mut self.map, &wanted.path, bytes, &mut self.report)
    }

    /// Reports a file that cannot be read, where it is asked for, or at its own beginning.
    fn refuse(&mut self, path: &str, by: Option<Span>, code: &'static str, message: String) {
        let span = by.unwrap_or_else(|| Span::new(self.map.add(path, ""), 0, 0));
        self.report.push(Diagnostic::error(code, span, message));
    }

    /// The files that a file includes.
    fn includes(&mut self, tree: &dyn Tree, root: &Node) -> Vec<Wanted> {
        let Some(entry) = root.get("include") else { return Vec::new() };
        let mut cx = Cx::new(&self.map);
        let globs: Vec<RawInclude> = cx.field(entry).unwrap_or_default();
        let mut wanted = Vec::new();
        for glob in globs {
            let (glob, optional) = match glob {
                RawInclude::Glob(glob) => (glob, false),
                RawInclude::Careful(careful) => (careful.glob, careful.optional),
            };
            let folder = folder_of(self.map.path(glob.span.file));
            match matches(tree, folder, &glob.value) {
                Ok(paths) if paths.is_empty() && !optional => {
                    let message = format!("`{}` matches no file", glob.value);
                    let help = format!(
                        "correct it, or write `{{ glob: \"{}\", optional: true }}`",
                        glob.value
                    );
                    cx.push(
                        Diagnostic::error("include-without-match", glob.span, message).help(help),
                    );
                }
                Ok(paths) => {
                    wanted
                        .extend(paths.into_iter().map(|path| Wanted { path, by: Some(glob.span) }));
                }
                Err((code, message)) => cx.push(Diagnostic::error(code, glob.span, message)),
            }
        }
        let report = cx.into_report();
        self.report.merge(report);
        wanted
    }

    /// Reads files that the configuration names as data, with their digests.
    ///
    /// The result has an entry for each reference that could be read.
    pub fn read_data(
        &mut self,
        tree: &dyn Tree,
        refs: &BTreeSet<DataRef>,
    ) -> BTreeMap<DataRef, DataFile> {
        let mut by_path: BTreeMap<String, Result<Arc<str>, (&'static str, String)>> =
            BTreeMap::new();
        let mut found = BTreeMap::new();
        for wanted in refs {
            let folder = folder_of(self.map.path(wanted.span.file)).to_owned();
            let Some(path) = join(&folder, &wanted.path) else {
                let message = format!("`{}` leads out of the root", wanted.path);
                self.report.push(Diagnostic::error("outside-root", wanted.span, message));
                continue;
            };
            let content = by_path.entry(path.clone()).or_insert_with(|| {
                let bytes = tree
                    .identity(&path)
                    .and_then(|_| tree.read(&path, DATA_BYTES_MAX + 1))
                    .map_err(|error| (error.code(), error.message(&path)))?;
                if bytes.len() > DATA_BYTES_MAX {
                    let message = format!("`{path}` has more than {DATA_BYTES_MAX} bytes");
                    return Err(("file-too-large", message));
                }
                self.digests.insert(path.clone(), sha256_hex(&bytes));
                String::from_utf8(bytes)
                    .map(Arc::from)
                    .map_err(|_| ("not-utf8", format!("`{path}` is not UTF-8 text")))
            });
            match content {
                Ok(text) => {
                    found.insert(wanted.clone(), DataFile { path, text: Arc::clone(text) });
                }
                Err((code, message)) => {
                    self.report.push(Diagnostic::error(code, wanted.span, message.clone()));
                }
            }
        }
        found
    }
}

/// A file named as data. Key files and certificates have a few kilobytes.
const DATA_BYTES_MAX: usize = 1 << 20;

/// What a file that was named as data holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its path below the root.
    pub path: String,
    /// Its text.
    pub text: Arc<str>,
}

/// The folder of a path below the root; empty for the root itself.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path relative to a folder, as a path below the root; `None` when it leaves the root.
fn join(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The files below the root that a glob matches, sorted.
fn matches(
    tree: &dyn Tree,
    folder: &str,
    glob: &str,
) -> Result<Vec<String>, (&'static str, String)> {
    let outside = || ("outside-root", format!("`{glob}` leads out of the root"));
    let wild = |part: &&str| part.contains(['*', '?', '[', '{']);
    let parts: Vec<&str> = glob.split('/').collect();
    let first_wild = parts.iter().position(wild);
    let Some(first_wild) = first_wild else {
        let path = join(folder, glob).ok_or_else(outside)?;
        return match tree.identity(&path) {
            Ok(_) => Ok(vec![path]),
            Err(ReadError::Absent) => Ok(Vec::new()),
            Err(error) => Err((error.code(), error.message(&path))),
        };
    };
    if parts[first_wild..].contains(&"..") {
        return Err(("invalid-glob", format!("`..` cannot follow a wildcard in `{glob}`")));
    }
    let base = join(folder, &parts[..first_wild].join("/")).filter(|_| !glob.starts_with('/'));
    let base = base.ok_or_else(outside)?;
    let rest = parts[first_wild..].join("/");
    let matcher = GlobBuilder::new(&rest)
        .literal_separator(true)
        .build()
        .map_err(|error| ("invalid-glob", format!("`{glob}` is not a glob: {}", error.kind())))?
        .compile_matcher();
    // A glob without `**` says how deep it can match; other folders need not be looked into.
    let depth = if rest.contains("**") { usize::MAX } else { rest.matches('/').count() };
    let files =
        tree.files_below(&base, depth).map_err(|error| (error.code(), error.message(&base)))?;
    let inside = |path: &String| {
        let rest = path.strip_prefix(&base).unwrap_or(path);
        matcher.is_match(rest.trim_start_matches('/'))
    };
    Ok(files.into_iter().filter(inside).collect())
}

/// SHA-256 in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
