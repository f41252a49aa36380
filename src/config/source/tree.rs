//! Where files come from: a folder on disk, or a map in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Entries of folders that one glob looks at. A repository with more has something else in it.
const ENTRIES_MAX: usize = 200_000;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there.
    #[error("does not exist")]
    Absent,
    /// It lies outside of the root, or a symlink leads there.
    #[error("is outside of the root")]
    Outside,
    /// A folder, a pipe or a device.
    #[error("is not a file")]
    NotAFile,
    /// A folder holds too much to look through.
    #[error("holds more than {ENTRIES_MAX} entries")]
    TooMany,
    /// The system said no.
    #[error("cannot be read")]
    Io(#[source] io::Error),
}

impl ReadError {
    /// The code of the problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent => "file-not-found",
            Self::Outside => "outside-root",
            Self::NotAFile | Self::Io(_) => "unreadable-file",
            Self::TooMany => "too-many-files",
        }
    }

    /// The problem as a sentence.
    pub fn message(&self, path: &str) -> String {
        match self {
            Self::Io(source) => format!("`{path}` {self}: {source}"),
            Self::Absent | Self::Outside | Self::NotAFile | Self::TooMany => {
                format!("`{path}` {self}")
            }
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Absent,
            _ => Self::Io(error),
        }
    }
}

/// Files by path below a root, with `/` between its parts.
pub trait Tree {
    /// The same text for two paths of one file; also checks that it is a file below the root.
    fn identity(&self, path: &str) -> Result<String, ReadError>;

    /// At most so many bytes of a file.
    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, ReadError>;

    /// All files below a folder, down to a depth (0: in the folder itself), sorted. None when the folder is not
    /// there. Hidden files and folders are left out.
    fn files_below(&self, folder: &str, depth: usize) -> Result<Vec<String>, ReadError>;
}

/// A folder on disk.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// The folder must exist.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()? })
    }

    /// The folder, without symlinks.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn resolve(&self, path: &str) -> Result<PathBuf, ReadError> {
        let real = self.root.join(path).canonicalize()?;
        if real.starts_with(&self.root) { Ok(real) } else { Err(ReadError::Outside) }
    }
}

impl Tree for Disk {
    fn identity(&self, path: &str) -> Result<String, ReadError> {
        let real = self.resolve(path)?;
        // Opening a pipe would wait for its other end for ever.
        if !fs::metadata(&real)?.is_file() {
            return Err(ReadError::NotAFile);
        }
        Ok(real.to_string_lossy().into_owned())
    }

    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let file = fs::File::open(self.resolve(path)?)?;
        if !file.metadata()?.is_file() {
            return Err(ReadError::NotAFile);
        }
        let mut bytes = Vec::new();
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn files_below(&self, folder: &str, depth: usize) -> Result<Vec<String>, ReadError> {
        let mut files = Vec::new();
        let mut entries = 0;
        let mut seen = BTreeSet::new();
        let mut folders = vec![(folder.to_owned(), depth)];
        while let Some((folder, depth)) = folders.pop() {
            let real = match self.resolve(&folder) {
                Ok(real) => real,
                Err(ReadError::Absent) => continue,
                Err(error) => return Err(error),
            };
            // Symlinks can make a circle of folders.
            if !real.is_dir() || !seen.insert(real.clone()) {
                continue;
            }
            for entry in fs::read_dir(real)? {
                entries += 1;
                if entries > ENTRIES_MAX {
                    return Err(ReadError::TooMany);
                }
                let name = entry?.file_name();
                let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                    continue;
                };
                let path =
                    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                // What a symlink leads to counts; a dangling one is a file that cannot be read.
                match fs::metadata(self.root.join(&path)) {
                    Ok(found) if found.is_dir() => {
                        folders.extend(depth.checked_sub(1).map(|depth| (path, depth)));
                    }
                    Ok(_) | Err(_) => files.push(path),
                }
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

/// Files in memory, for tests and examples.
#[derive(Debug, Clone, Default)]
pub struct Memory(pub BTreeMap<String, String>);

impl Tree for Memory {
    fn identity(&self, path: &str) -> Result<String, ReadError> {
        if self.0.contains_key(path) { Ok(path.to_owned()) } else { Err(ReadError::Absent) }
    }

    fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let text = self.0.get(path).ok_or(ReadError::Absent)?;
        Ok(text.bytes().take(bytes_max).collect())
    }

    fn files_below(&self, folder: &str, depth: usize) -> Result<Vec<String>, ReadError> {
        let below = |path: &&String| {
            let rest = match folder {
                "" => Some(path.as_str()),
                folder => path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
            };
            rest.is_some_and(|rest| rest.matches('/').count() <= depth)
        };
        Ok(self.0.keys().filter(below).cloned().collect())
    }
}
