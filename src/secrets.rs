//! Fetching the values of secrets, each for one use that trust allows.
//!
//! Input: a reference of the YAML and what it is for. Output: the value, wrapped so
//! that nothing prints it. Nothing is fetched before [`Trust`] was asked, so there is
//! no way to a value around the rules. Errors name the reference, never the value.

use crate::{
    model::{HypervisorName, SecretRef, SecretSource},
    ownership::MarkerKey,
    trust::{Connection, Refusal, SecretValue, Trust},
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio::{io::AsyncReadExt as _, process::Command, sync::Mutex, time::timeout};

/// Bytes of a secret. Tokens and passwords have dozens, keys a few thousand; more is
/// the wrong file.
const VALUE_BYTES_MAX: u64 = 64 << 10;

/// Time for a command. Password managers that ask a server take seconds; one that
/// waits for a person to type cannot work here.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// What every secret is in the sandbox.
pub const SANDBOX_SECRET: &str = "novahost-sandbox";

/// Why a secret is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Trust does not allow this use.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its source could not be read.
    #[error("could not fetch secret `{reference}`")]
    Fetch {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: FetchError,
    },
}

/// Why a source gave no value.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The variable does not exist.
    #[error("the environment has no variable `{0}`")]
    Unset(String),
    /// `secret:NAME` is not defined.
    #[error("trust settings have no `[secrets.{0}]`")]
    Undefined(String),
    /// The file cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The path leads out of the tree.
    #[error("`{}` is not below `{}`", path.display(), root.display())]
    Outside {
        /// Which file.
        path: PathBuf,
        /// The tree.
        root: PathBuf,
    },
    /// The program is nowhere on the search path, or only below the tree.
    #[error("there is no program `{0}` outside of the reviewed tree")]
    NoProgram(String),
    /// The program could not be run to its end.
    #[error("could not run `{program}`")]
    Run {
        /// Which program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program ended badly. What it wrote is not repeated: it may hold the secret.
    #[error("`{program}` ended with {status}; run it by hand to see why")]
    Failed {
        /// Which program.
        program: String,
        /// How.
        status: std::process::ExitStatus,
    },
    /// The program took too long.
    #[error("`{program}` did not end within {} ms", within.as_millis())]
    Late {
        /// Which program.
        program: String,
        /// How long it had.
        within: Duration,
    },
    /// More than a secret can be.
    #[error("it is larger than {VALUE_BYTES_MAX} bytes")]
    TooLarge,
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// Not text.
    #[error("it is not UTF-8 text")]
    NotText,
}

/// Reads one variable of the environment.
type Variables = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// Fetches secrets of one project, each source once.
pub struct Secrets {
    trust: Arc<Trust>,
    root: PathBuf,
    variable: Variables,
    command_time: Duration,
    /// One program run for two hundred machines is enough.
    fetched: Mutex<BTreeMap<SecretValue, SecretString>>,
}

impl Secrets {
    /// Fetches with these settings, for the tree at `root`; `variable` reads the
    /// environment.
    pub fn new(
        trust: Arc<Trust>,
        root: impl Into<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static,
    ) -> Self {
        Self {
            trust,
            root: root.into(),
            variable: Box::new(variable),
            command_time: COMMAND_TIME,
            fetched: Mutex::default(),
        }
    }

    /// A secret that logs in to a hypervisor over a connection that trust gave leave to.
    ///
    /// # Errors
    /// When trust does not allow it, or the source gives nothing.
    pub async fn for_login(
        &self,
        name: &HypervisorName,
        connection: &Connection<'_>,
        reference: &SecretRef,
    ) -> Result<SecretString, SecretError> {
        self.trust.may_use_secret(name, connection, reference)?;
        match connection {
            Connection::Bound(_) => self.outside(reference).await,
            Connection::Loopback => self.inside(reference).await,
        }
    }

    /// A secret that goes into a guest's first-boot configuration.
    ///
    /// # Errors
    /// When trust does not allow it, or the source gives nothing.
    pub async fn for_guest(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        self.trust.may_use_in_guest(reference)?;
        self.inside(reference).await
    }

    /// The key that signs markers, when one is set.
    ///
    /// # Errors
    /// When its source gives nothing.
    pub async fn marker_key(&self) -> Result<Option<MarkerKey>, SecretError> {
        let Some(source) = self.trust.marker_key() else { return Ok(None) };
        let reference = SecretRef { source: source.clone(), version: 1 };
        let value = self.outside(&reference).await?;
        Ok(Some(MarkerKey::new(value.expose_secret().as_bytes())))
    }

    /// A `file:` is the trust file's neighbour: the tree must not supply it.
    async fn outside(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let value = self.trust.value_of(&reference.source, self.trust.folder());
        self.fetch(reference, value).await
    }

    /// A `file:` is the tree's own, and does not lead out of it.
    async fn inside(&self, reference: &SecretRef) -> Result<SecretString, SecretError> {
        let value = match (&reference.source, self.trust.is_sandbox()) {
            (SecretSource::File(path), false) => {
                let found = below(&self.root, path).map_err(|source| SecretError::Fetch {
                    reference: reference.to_string(),
                    source,
                })?;
                Some(SecretValue::File(found))
            }
            _ => self.trust.value_of(&reference.source, &self.root),
        };
        self.fetch(reference, value).await
    }

    async fn fetch(
        &self,
        reference: &SecretRef,
        value: Option<SecretValue>,
    ) -> Result<SecretString, SecretError> {
        if self.trust.is_sandbox() {
            return Ok(SecretString::from(SANDBOX_SECRET));
        }
        let failed = |source| SecretError::Fetch { reference: reference.to_string(), source };
        let Some(value) = value else {
            let name = match &reference.source {
                SecretSource::Secret(name) | SecretSource::Env(name) | SecretSource::File(name) => {
                    name
                }
            };
            return Err(failed(FetchError::Undefined(name.clone())));
        };
        // Held while fetching, so that many who ask at once cause one run.
        let mut fetched = self.fetched.lock().await;
        if let Some(known) = fetched.get(&value) {
            return Ok(known.clone());
        }
        let bytes = match &value {
            SecretValue::Environment(name) => self.read_variable(name),
            SecretValue::File(path) => read_file(path),
            SecretValue::Command(words) => self.run(words).await,
        };
        let secret = bytes.and_then(into_text).map_err(failed)?;
        fetched.insert(value, secret.clone());
        Ok(secret)
    }

    fn read_variable(&self, name: &str) -> Result<Vec<u8>, FetchError> {
        let value = (self.variable)(name).ok_or_else(|| FetchError::Unset(name.to_owned()))?;
        Ok(value.into_encoded_bytes())
    }

    async fn run(&self, words: &[String]) -> Result<Vec<u8>, FetchError> {
        let (name, arguments) = words.split_first().ok_or(FetchError::Empty)?;
        let program = self.find(name).ok_or_else(|| FetchError::NoProgram(name.clone()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            // Relative words mean neighbours of the trust file, never files of the tree.
            .current_dir(self.trust.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        match timeout(self.command_time, output_of(command, name)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Late { program: name.clone(), within: self.command_time }),
        }
    }

    /// The program, by absolute path or on the search path, and not in the tree.
    fn find(&self, name: &str) -> Option<PathBuf> {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        let usable = |path: &Path| {
            path.is_absolute()
                && path.is_file()
                && path.canonicalize().is_ok_and(|real| !real.starts_with(&root))
        };
        let named = Path::new(name);
        if named.is_absolute() {
            return usable(named).then(|| named.to_owned());
        }
        if named.components().count() != 1 {
            return None;
        }
        let folders = (self.variable)("PATH").unwrap_or_default();
        std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| usable(path))
    }
}

async fn output_of(mut command: Command, name: &str) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::Run { program: name.to_owned(), source };
    let mut child = command.spawn().map_err(failed)?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(VALUE_BYTES_MAX + 1).read_to_end(&mut output).await.map_err(failed)?;
    }
    if output.len() as u64 > VALUE_BYTES_MAX {
        // Dropping the child ends it.
        return Err(FetchError::TooLarge);
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(output)
    } else {
        Err(FetchError::Failed { program: name.to_owned(), status })
    }
}

/// A file of the tree, by its real path: no `..` and no link leads out.
fn below(root: &Path, path: &str) -> Result<PathBuf, FetchError> {
    let joined = root.join(path);
    let failed = |source| FetchError::Read { path: joined.clone(), source };
    let root = root.canonicalize().map_err(failed)?;
    let real = joined.canonicalize().map_err(failed)?;
    if real.starts_with(&root) { Ok(real) } else { Err(FetchError::Outside { path: joined, root }) }
}

fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    let failed = |source| FetchError::Read { path: path.to_owned(), source };
    // Asked before it is opened: a pipe would wait for its other end for ever.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is no plain file")));
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// One line break at the end belongs to the file or program, not to the secret.
fn into_text(mut bytes: Vec<u8>) -> Result<SecretString, FetchError> {
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(FetchError::TooLarge);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| FetchError::NotText)?;
    if text.is_empty() { Err(FetchError::Empty) } else { Ok(SecretString::from(text)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{error::Error as _, fs};

    const NAME: &str = "pve";

    fn reference(text: &str) -> SecretRef {
        let (kind, rest) = text.split_once(':').unwrap();
        let rest = rest.to_owned();
        let source = match kind {
            "env" => SecretSource::Env(rest),
            "file" => SecretSource::File(rest),
            _ => SecretSource::Secret(rest),
        };
        SecretRef { source, version: 1 }
    }

    /// A tree, and trust settings outside of it.
    struct World {
        folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir_all(folder.path().join("tree")).unwrap();
            fs::create_dir_all(folder.path().join("trust")).unwrap();
            Self { folder }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) {
            fs::write(self.path(name), text).unwrap();
        }

        fn secrets(&self, trust: &str) -> Secrets {
            let path = self.path("trust/trust.toml");
            let root = self.path("tree");
            let trust = Trust::parse(trust, &path, Some(&root)).unwrap();
            Secrets::new(Arc::new(trust), root, |name| match name {
                "TOKEN" => Some("hunter2".into()),
                "PATH" => std::env::var_os("PATH"),
                _ => None,
            })
        }
    }

    async fn login(secrets: &Secrets, text: &str) -> Result<String, SecretError> {
        let binding = secrets.trust.hypervisors()[NAME].clone();
        let value =
            secrets.for_login(&NAME.into(), &Connection::Bound(&binding), &reference(text)).await?;
        Ok(value.expose_secret().to_owned())
    }

    fn bound(secrets: &str, rest: &str) -> String {
        format!("[hypervisors.pve]\nhosts = [\"pve:8006\"]\nsecrets = [{secrets}]\n{rest}")
    }

    fn chain(error: &SecretError) -> String {
        let mut text = format!("{error}: {error:?}");
        let mut next = error.source();
        while let Some(cause) = next {
            text.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        text
    }

    #[tokio::test]
    async fn each_source_gives_its_value_without_the_final_line_break() {
        let world = World::new();
        world.write("trust/token", "from-file\r\n");
        let secrets = world.secrets(&bound(
            "\"env:TOKEN\", \"file:token\", \"secret:a\", \"secret:b\"",
            "[secrets.a]\ncmd = [\"printf\", \"a b$HOME\\n\"]\n[secrets.b]\nfile = \"token\"\n",
        ));
        assert_eq!(login(&secrets, "env:TOKEN").await.unwrap(), "hunter2");
        assert_eq!(login(&secrets, "file:token").await.unwrap(), "from-file");
        assert_eq!(login(&secrets, "secret:a").await.unwrap(), "a b$HOME", "no shell reads it");
        assert_eq!(login(&secrets, "secret:b").await.unwrap(), "from-file");
    }

    #[tokio::test]
    async fn a_reference_that_trust_does_not_bind_is_not_even_fetched() {
        let world = World::new();
        let marker = world.path("ran");
        let secrets = world.secrets(&bound(
            "",
            &format!("[secrets.a]\ncmd = [\"touch\", \"{}\"]\n", marker.display()),
        ));
        let error = login(&secrets, "secret:a").await.unwrap_err();
        assert!(matches!(error, SecretError::Refused(Refusal::SecretNotBound { .. })));
        let error = secrets.for_guest(&reference("secret:a")).await.unwrap_err();
        assert!(matches!(error, SecretError::Refused(Refusal::NotForGuests { .. })));
        assert!(!marker.exists());
    }

    #[tokio::test]
    async fn errors_name_the_reference_and_never_what_was_read() {
        let world = World::new();
        world.write("trust/bad", b"hunter2\xff");
        let secrets = world.secrets(&bound(
            "\"file:bad\", \"env:NONE\", \"secret:a\"",
            "[secrets.a]\ncmd = [\"sh\", \"-c\", \"echo hunter2; echo hunter2 >&2; exit 3\"]\n",
        ));
        for text in ["file:bad", "env:NONE", "secret:a"] {
            let error = login(&secrets, text).await.unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert!(!chain(&error).contains("hunter2"), "{}", chain(&error));
        }
    }

    #[tokio::test]
    async fn a_command_that_writes_too_much_or_nothing_is_an_error() {
        let world = World::new();
        let secrets = world.secrets(&bound(
            "\"secret:much\", \"secret:none\"",
            "[secrets.much]\ncmd = [\"yes\"]\n[secrets.none]\ncmd = [\"true\"]\n",
        ));
        let source = |error| match error {
            SecretError::Fetch { source, .. } => source,
            SecretError::Refused(refusal) => panic!("{refusal}"),
        };
        let error = source(login(&secrets, "secret:much").await.unwrap_err());
        assert!(matches!(error, FetchError::TooLarge), "{error}");
        let error = source(login(&secrets, "secret:none").await.unwrap_err());
        assert!(matches!(error, FetchError::Empty), "{error}");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_given_up() {
        let world = World::new();
        let mut secrets =
            world.secrets(&bound("\"secret:a\"", "[secrets.a]\ncmd = [\"sleep\", \"600\"]\n"));
        secrets.command_time = Duration::from_millis(50);
        let error = chain(&login(&secrets, "secret:a").await.unwrap_err());
        assert!(error.contains("did not end within 50 ms"), "{error}");
    }

    #[tokio::test]
    async fn a_command_is_run_once_for_all_who_ask() {
        let world = World::new();
        let script = "echo x >> runs; cat runs | wc -l";
        let secrets = world.secrets(&format!(
            "guest = [\"secret:a\"]\n[secrets.a]\ncmd = [\"sh\", \"-c\", \"{script}\"]\n"
        ));
        let wanted = reference("secret:a");
        let (first, second) = tokio::join!(secrets.for_guest(&wanted), secrets.for_guest(&wanted));
        assert_eq!(first.unwrap().expose_secret().trim(), "1");
        assert_eq!(second.unwrap().expose_secret().trim(), "1");
        assert!(world.path("trust/runs").exists(), "it runs beside the trust file");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_in_the_tree_is_never_run() {
        use std::os::unix::fs::PermissionsExt as _;
        let world = World::new();
        world.write("tree/get-token", "#!/bin/sh\necho stolen\n");
        let program = world.path("tree/get-token");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let text = bound("\"secret:a\"", "[secrets.a]\ncmd = [\"get-token\"]\n");
        let path = world.path("trust/trust.toml");
        let root = world.path("tree");
        let trust = Trust::parse(&text, &path, Some(&root)).unwrap();
        let folders = root.clone().into_os_string();
        let secrets = Secrets::new(Arc::new(trust), root, move |name| {
            (name == "PATH").then(|| folders.clone())
        });
        let error = chain(&login(&secrets, "secret:a").await.unwrap_err());
        assert!(error.contains("no program `get-token`"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_of_a_guest_does_not_lead_out_of_the_tree() {
        let world = World::new();
        world.write("outside", "hunter2");
        world.write("tree/inside", "fine");
        std::os::unix::fs::symlink(world.path("outside"), world.path("tree/link")).unwrap();
        let secrets =
            world.secrets("guest = [\"file:inside\", \"file:link\", \"file:../outside\"]\n");
        let value = secrets.for_guest(&reference("file:inside")).await.unwrap();
        assert_eq!(value.expose_secret(), "fine");
        for text in ["file:link", "file:../outside"] {
            let error = secrets.for_guest(&reference(text)).await.unwrap_err();
            assert!(chain(&error).contains("is not below"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_sandbox_resolves_stand_ins_and_nothing_else() {
        let world = World::new();
        let secrets =
            Secrets::new(Arc::new(Trust::sandbox()), world.path("tree"), |_| panic!("not asked"));
        for text in ["env:TOKEN", "file:/etc/shadow", "secret:a"] {
            let value = secrets.for_guest(&reference(text)).await.unwrap();
            assert_eq!(value.expose_secret(), SANDBOX_SECRET);
            let value = secrets
                .for_login(&NAME.into(), &Connection::Loopback, &reference(text))
                .await
                .unwrap();
            assert_eq!(value.expose_secret(), SANDBOX_SECRET);
        }
        assert!(secrets.marker_key().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_marker_key_comes_from_where_trust_says() {
        let world = World::new();
        let secrets = world.secrets("marker_key = \"env:TOKEN\"\n");
        let key = secrets.marker_key().await.unwrap().unwrap();
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
