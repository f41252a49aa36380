//! Finding the trust file, refusing one that others could have written, reading it.

use super::{Binding, Endpoint, Origin, SecretValue, Trust};
use crate::{
    model::{HypervisorName, SecretSource},
    settings::{Fields, Problems, Reader},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Larger files are a mistake: a thousand hypervisors take less.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What owner and group may have; nobody else may read, and the group may not write.
#[cfg(unix)]
const MODE_MAX: u32 = 0o640;

/// Where trust settings are looked for; the first that is there counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The reviewed tree, which no trust file may come from.
    pub root: PathBuf,
    /// `--trust FILE`; must exist.
    pub flag: Option<PathBuf>,
    /// `NOVAHOST_TRUST`; must exist.
    pub variable: Option<PathBuf>,
    /// `novahost/trust.toml` in the user's folder of settings.
    pub user: Option<PathBuf>,
    /// `/etc/novahost/trust.toml`.
    pub system: PathBuf,
}

/// Why trust settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("could not read trust settings `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file lies in the tree that it must not depend on.
    #[error(
        "trust settings `{}` lie below `{}`: whoever can change the reviewed files could then choose where credentials go; move them out of the tree", path.display(), root.display()
    )]
    BelowRoot {
        /// Which file.
        path: PathBuf,
        /// The tree.
        root: PathBuf,
    },
    /// Others could read or change the file.
    #[error("trust settings `{}` have mode {mode:04o}, which is wider than 0640; run: chmod 0640 {}", path.display(), path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is somebody else's.
    #[error("trust settings `{}` belong to user {owner}, neither to you nor to root; run: chown {me} {}", path.display(), path.display())]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who is asking.
        me: u32,
    },
    /// The file says things that mean nothing, or contradict each other.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl Sources {
    /// The usual places. `variable` reads the environment.
    pub fn usual(
        root: PathBuf,
        flag: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let get = |name: &str| variable(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        // A relative `XDG_CONFIG_HOME` is to be ignored, says its specification; here it
        // would even point into the tree.
        let config = get("XDG_CONFIG_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| get("HOME").map(|home| home.join(".config")));
        Self {
            root,
            flag,
            variable: get("NOVAHOST_TRUST"),
            user: config.map(|folder| folder.join("novahost/trust.toml")),
            system: PathBuf::from("/etc/novahost/trust.toml"),
        }
    }

    /// The file that counts; `None` when there is none.
    ///
    /// # Errors
    /// When a file may be there and cannot be looked at.
    pub fn find(&self) -> Result<Option<PathBuf>, TrustError> {
        if let Some(named) = self.flag.as_ref().or(self.variable.as_ref()) {
            return Ok(Some(named.clone()));
        }
        for path in self.user.iter().chain([&self.system]) {
            match fs::metadata(path) {
                Ok(_) => return Ok(Some(path.clone())),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                // A file that cannot be looked at may bind what the next one does not.
                Err(source) => return Err(TrustError::Read { path: path.clone(), source }),
            }
        }
        Ok(None)
    }
}

impl Trust {
    /// Reads the first file of these places; without one, [`Trust::none`].
    ///
    /// # Errors
    /// When a file is there that cannot be read, that others could have written, or
    /// that says what it must not.
    pub fn load(sources: &Sources) -> Result<Self, TrustError> {
        let Some(named) = sources.find()? else { return Ok(Self::none()) };
        let failed = |source| TrustError::Read { path: named.clone(), source };
        let path = named.canonicalize().map_err(failed)?;
        let root = sources.root.canonicalize().map_err(failed)?;
        // Both the name and what it leads to: a link in the tree is the tree's choice.
        let as_named = std::path::absolute(&named).map_err(failed)?;
        if path.starts_with(&root) || as_named.starts_with(&root) {
            return Err(TrustError::BelowRoot { path: named, root });
        }
        let mut file = File::open(&path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        check_access(&path, &found)?;
        if !found.is_file() || found.len() > FILE_BYTES_MAX {
            return Err(failed(io::Error::other("it is no file of at most 1 MiB")));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        Ok(Self::parse(&text, &path, Some(&root))?)
    }

    /// Reads the text of a trust file that lies at `path`. Paths in it may not lead
    /// below `root`.
    ///
    /// # Errors
    /// All that is wrong with it, by line.
    pub fn parse(text: &str, path: &Path, root: Option<&Path>) -> Result<Self, Problems> {
        let mut parser = Parser {
            reader: Reader::new(path.display().to_string(), text),
            folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
            root: root.map(Path::to_owned),
        };
        let mut top = parser.reader.document();
        let trust = Self {
            origin: Origin::File(path.to_owned()),
            secrets: parser.secrets(&mut top),
            ..Self::none()
        };
        parser.rest(trust, top)
    }
}

#[cfg(unix)]
fn check_access(path: &Path, found: &Metadata) -> Result<(), TrustError> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = found.mode() & 0o7777;
    if mode & !MODE_MAX != 0 {
        return Err(TrustError::Mode { path: path.to_owned(), mode });
    }
    // The process's own entry belongs to its effective user; where there is no such
    // entry the owner cannot be compared, and the mode has to do.
    let Ok(me) = fs::metadata("/proc/self").map(|own| own.uid()) else { return Ok(()) };
    match found.uid() {
        owner if owner == me || owner == 0 => Ok(()),
        owner => Err(TrustError::Owner { path: path.to_owned(), owner, me }),
    }
}

#[cfg(not(unix))]
fn check_access(_: &Path, _: &Metadata) -> Result<(), TrustError> {
    Ok(())
}

struct Parser<'t> {
    reader: Reader<'t>,
    folder: PathBuf,
    root: Option<PathBuf>,
}

impl<'t> Parser<'t> {
    fn rest(mut self, mut trust: Trust, mut top: Fields<'t>) -> Result<Trust, Problems> {
        trust.marker_key = self.marker_key(&mut top, &trust);
        trust.hypervisors = self.hypervisors(&mut top, &trust);
        self.no_identity_twice(&trust.hypervisors);
        trust.guest = self.guest(&mut top, &trust);
        let mut store = self.reader.table(&mut top, "store");
        trust.store = self.path(&mut store, "path");
        self.reader.done(&store, "store", &["path"]);
        self.reader.done(&top, "", &["hypervisors", "secrets", "guest", "marker_key", "store"]);
        self.reader.finish()?;
        Ok(trust)
    }

    fn secrets(&mut self, top: &mut Fields<'t>) -> BTreeMap<String, SecretValue> {
        let mut all = BTreeMap::new();
        for (name, item) in self.reader.table(top, "secrets") {
            let at = item.at();
            let table = format!("secrets.{name}");
            let mut fields = self.reader.as_table(&table, item);
            let variable =
                self.reader.text(&mut fields, "env").map(|it| SecretValue::Environment(it.0));
            let file = self.path(&mut fields, "file").map(SecretValue::File);
            let words = self.reader.texts(&mut fields, "cmd");
            let command = self.command(words);
            self.reader.done(&fields, &table, &["env", "file", "cmd"]);
            let mut given = [variable, file, command].into_iter().flatten();
            match (given.next(), given.next()) {
                (Some(value), None) => {
                    all.insert(name, value);
                }
                _ => self
                    .reader
                    .problem(at, format!("`[{table}]` needs one of `env`, `file`, `cmd`")),
            }
        }
        all
    }

    /// A command must not be found below a relative folder: that would be the tree's.
    fn command(&mut self, words: Vec<(String, usize)>) -> Option<SecretValue> {
        let (program, at) = words.first()?.clone();
        if program.is_empty() || (program.contains('/') && !Path::new(&program).is_absolute()) {
            self.reader
                .problem(at, "`cmd` has to begin with a bare name or an absolute path".to_owned());
        } else {
            self.outside(Path::new(&program), "cmd", at);
        }
        Some(SecretValue::Command(words.into_iter().map(|(word, _)| word).collect()))
    }

    fn marker_key(&mut self, top: &mut Fields<'t>, trust: &Trust) -> Option<SecretSource> {
        let (text, at) = self.reader.text(top, "marker_key")?;
        self.reference(&text, at, trust)
    }

    fn hypervisors(
        &mut self,
        top: &mut Fields<'t>,
        trust: &Trust,
    ) -> BTreeMap<HypervisorName, Binding> {
        let mut all = BTreeMap::new();
        for (name, item) in self.reader.table(top, "hypervisors") {
            let at = item.at();
            let table = format!("hypervisors.{name}");
            let mut fields = self.reader.as_table(&table, item);
            let binding = self.binding(&mut fields, trust, &table, at);
            all.insert(HypervisorName::from(name), binding);
        }
        all
    }

    fn binding(
        &mut self,
        fields: &mut Fields<'t>,
        trust: &Trust,
        table: &str,
        table_at: usize,
    ) -> Binding {
        let mut binding = Binding::default();
        let hosts = self.reader.texts(fields, "hosts");
        if hosts.is_empty() {
            self.reader.problem(table_at, format!("`[{table}]` needs `hosts = [\"HOST:PORT\"]`"));
        }
        for (text, at) in hosts {
            match text.parse::<Endpoint>() {
                Ok(endpoint) => binding.hosts.push(endpoint),
                Err(error) => self.reader.problem(at, format!("`hosts`: {error}")),
            }
        }
        binding.identity = self.reader.text(fields, "identity").map(|it| it.0);
        for (text, at) in self.reader.texts(fields, "pins") {
            match pin(&text) {
                Some(pin) => binding.pins.push(pin),
                None => self.reader.problem(at, "`pins`: expected `sha256:` and 64 hex digits"),
            }
        }
        binding.ca_file = self.path(fields, "ca_file");
        for (text, at) in self.reader.texts(fields, "secrets") {
            let Some(source) = self.reference(&text, at, trust) else { continue };
            let value = trust.value_of(&source, &self.folder);
            // Until the bindings are complete, only the marker key can hold it.
            if trust.reserved_for(&source).is_some() {
                self.reader.problem(at, "`secrets`: the marker key is for nothing else");
            }
            if let Some(SecretValue::File(path)) = &value {
                self.outside(&path.clone(), "secrets", at);
            }
            binding.secrets.insert(source);
        }
        let known = ["hosts", "identity", "pins", "ca_file", "secrets"];
        self.reader.done(fields, table, &known);
        binding
    }

    fn no_identity_twice(&mut self, all: &BTreeMap<HypervisorName, Binding>) {
        let identities = all.iter().filter_map(|(name, it)| Some((name, it.identity.as_deref()?)));
        if let Some((first, second)) = super::one_identity_twice(identities) {
            self.reader.problem(
                0,
                format!(
                    "`{first}` and `{second}` have one identity: two names for one installation"
                ),
            );
        }
    }

    fn guest(&mut self, top: &mut Fields<'t>, trust: &Trust) -> BTreeSet<SecretSource> {
        let mut all = BTreeSet::new();
        for (text, at) in self.reader.texts(top, "guest") {
            let Some(source) = self.reference(&text, at, trust) else { continue };
            if let Some(holder) = trust.reserved_for(&source) {
                self.reader.problem(at, format!("`guest`: this secret belongs to {holder}"));
            }
            all.insert(source);
        }
        all
    }

    fn reference(&mut self, text: &str, at: usize, trust: &Trust) -> Option<SecretSource> {
        let Some(source) = reference(text) else {
            self.reader.problem(at, "expected `env:NAME`, `file:PATH` or `secret:NAME`");
            return None;
        };
        if let SecretSource::Secret(name) = &source
            && !trust.secrets.contains_key(name)
        {
            self.reader.problem(at, format!("there is no `[secrets.{name}]`"));
        }
        Some(source)
    }

    /// A path; a relative one is taken from the folder of the trust file.
    fn path(&mut self, fields: &mut Fields<'t>, key: &str) -> Option<PathBuf> {
        let (text, at) = self.reader.text(fields, key)?;
        let path = self.folder.join(text);
        self.outside(&path, key, at);
        Some(path)
    }

    fn outside(&mut self, path: &Path, key: &str, at: usize) {
        let Some(root) = &self.root else { return };
        let real = path.canonicalize();
        if path.starts_with(root) || real.is_ok_and(|real| real.starts_with(root)) {
            self.reader.problem(at, format!("`{key}` leads below the reviewed tree"));
        }
    }
}

/// A reference as it is written in YAML and in trust settings.
pub(super) fn reference(text: &str) -> Option<SecretSource> {
    let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty())?;
    match kind {
        "env" => Some(SecretSource::Env(rest.to_owned())),
        "file" => Some(SecretSource::File(rest.to_owned())),
        "secret" => Some(SecretSource::Secret(rest.to_owned())),
        _ => None,
    }
}

/// The other way round.
pub(super) fn spelt(source: &SecretSource) -> String {
    crate::model::SecretRef { source: source.clone(), version: 1 }.to_string()
}

/// `sha256:` and hex digits, with or without colons, in one spelling.
fn pin(text: &str) -> Option<String> {
    let hex: String = text.strip_prefix("sha256:")?.chars().filter(|c| *c != ':').collect();
    (hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| hex.to_ascii_lowercase())
}
