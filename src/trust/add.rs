//! Adding an entry to the trust file, so that no reader ever sees half of it.

use super::{Endpoint, Trust, file::reference};
use crate::{model::HypervisorName, settings::Problems};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// What a person agreed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// The name in the YAML.
    pub name: HypervisorName,
    /// Where it may be reached.
    pub hosts: Vec<Endpoint>,
    /// What identifies the installation, when it is known.
    pub identity: Option<String>,
    /// SHA-256 of leaf certificates, lower-case hex.
    pub pins: Vec<String>,
    /// References that its `auth` uses.
    pub secrets: Vec<String>,
}

impl NewEntry {
    /// The table as TOML.
    pub fn render(&self) -> String {
        let mut text = format!("[hypervisors.{}]\n", key(self.name.as_str()));
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        text.push_str(&format!("hosts = {}\n", list(&hosts)));
        if let Some(identity) = &self.identity {
            text.push_str(&format!("identity = {}\n", quoted(identity)));
        }
        if !self.pins.is_empty() {
            let pins: Vec<_> = self.pins.iter().map(|pin| format!("sha256:{pin}")).collect();
            text.push_str(&format!("pins = {}\n", list(&pins)));
        }
        if !self.secrets.is_empty() {
            text.push_str(&format!("secrets = {}\n", list(&self.secrets)));
        }
        text
    }
}

/// Why an entry was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The file cannot be read or written.
    #[error("could not write trust settings `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The name has an entry; changing one is for an editor.
    #[error("trust settings `{}` have an entry for `{name}` already", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
        /// The name.
        name: HypervisorName,
    },
    /// A secret that is no reference.
    #[error("a secret of the new entry is none of `env:NAME`, `file:PATH`, `secret:NAME`")]
    Reference,
    /// The file would not be sound with it.
    #[error("the trust settings would not be sound with the new entry")]
    Problems(#[from] Problems),
}

/// Adds an entry at the end of the file, which is made when it is not there. The rest
/// of the file, comments too, stays as it is.
///
/// The caller has made sure that `path` is not below the reviewed tree.
///
/// # Errors
/// When the name has an entry, the file would not be sound with it, or cannot be written.
pub fn add_entry(path: &Path, entry: &NewEntry) -> Result<(), AddError> {
    if entry.secrets.iter().any(|text| reference(text).is_none()) {
        return Err(AddError::Reference);
    }
    let failed = |source| AddError::Write { path: path.to_owned(), source };
    let before = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    if Trust::parse(&before, path, None)?.hypervisors().contains_key(&entry.name) {
        return Err(AddError::Exists { path: path.to_owned(), name: entry.name.clone() });
    }
    let mut after = before;
    if !after.is_empty() {
        after.push_str(if after.ends_with('\n') { "\n" } else { "\n\n" });
    }
    after.push_str(&entry.render());
    Trust::parse(&after, path, None)?;
    replace(path, &after).map_err(failed)
}

/// Writes beside the file and renames, both made durable.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays a link: what it leads to is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().ok_or_else(|| io::Error::other("it has no folder"))?;
    make_folder(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = write_new(&beside, text).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // The error that counts is the one above.
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// A key of TOML, quoted where it has to be.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A list of texts as TOML.
pub(super) fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// A basic string of TOML. Everything that a terminal could act on is escaped, since
/// such lines are shown before they are written.
fn quoted(text: &str) -> String {
    let mut shown = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => shown.extend(['\\', character]),
            other if crate::model::is_active(other) => {
                shown.push_str(&format!("\\U{:08X}", u32::from(other)));
            }
            other => shown.push(other),
        }
    }
    shown.push('"');
    shown
}
