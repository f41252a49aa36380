//! `novahost.toml`: how the tool runs. What exists is in `novahost.yaml`; whom to
//! believe, and with which secrets, is in the trust settings outside of the tree.
//!
//! Input: flags, environment, the file. Output: [`Settings`], complete. Nearer
//! layers win: flag, then `NOVAHOST_*`, then the file, then the default.

mod table;

pub(crate) use table::{Fields, Reader};
pub use table::{Problem, Problems};

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    str::FromStr,
};

/// The name of the file, beside `novahost.yaml`.
pub const SETTINGS_FILE: &str = "novahost.toml";

/// Larger files are a mistake: a settings file has a dozen lines.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Actions in flight over all hypervisors when nothing is set. Each hypervisor has
/// its own, smaller bound; this one keeps a run of many hypervisors readable.
const PARALLEL_DEFAULT: usize = 8;
/// More would only queue: no product takes that many tasks of one client at once.
const PARALLEL_MAX: usize = 256;
/// Columns when the terminal does not say.
const WIDTH_DEFAULT: usize = 80;

/// Tables that would let a reviewed file reach for credentials or move the journal.
const TRUST_ONLY: [&str; 5] = ["hypervisors", "secrets", "guest", "marker_key", "store"];

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal that can show them.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For comments on a review.
    Markdown,
}

/// A word that is none of a closed list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {0}")]
pub struct NotAChoice(&'static str);

impl FromStr for Color {
    type Err = NotAChoice;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(Color::Auto),
            "always" => Ok(Color::Always),
            "never" => Ok(Color::Never),
            _ => Err(NotAChoice("`auto`, `always`, `never`")),
        }
    }
}

impl FromStr for Format {
    type Err = NotAChoice;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "markdown" => Ok(Format::Markdown),
            _ => Err(NotAChoice("`text`, `json`, `markdown`")),
        }
    }
}

/// What one layer says; `None` leaves it to the layers below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Actions in flight over all hypervisors.
    pub parallel: Option<usize>,
    /// When colours are used.
    pub color: Option<Color>,
    /// How results are written.
    pub format: Option<Format>,
    /// Columns.
    pub width: Option<usize>,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Actions in flight over all hypervisors.
    pub parallel: usize,
    /// When colours are used.
    pub color: Color,
    /// How results are written.
    pub format: Format,
    /// Columns, when they were set; otherwise the terminal's, or 80.
    pub width: Option<usize>,
}

impl Settings {
    /// Columns, given what the terminal says.
    pub fn width_on(&self, terminal: Option<usize>) -> usize {
        self.width.or(terminal).unwrap_or(WIDTH_DEFAULT)
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("could not read `{file}`")]
    Read {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file says things that mean nothing.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// A variable of the environment says something that means nothing.
    #[error("`{variable}`: expected {expected}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What it could be.
        expected: String,
    },
}

impl Layer {
    /// Reads `novahost.toml` below the root; without one, an empty layer.
    ///
    /// # Errors
    /// When it is there and cannot be read, or says what it must not.
    pub fn load(root: &Path) -> Result<Self, SettingsError> {
        let path = root.join(SETTINGS_FILE);
        let failed = |source| SettingsError::Read { file: path.display().to_string(), source };
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        // The file is the tree's, and so is the choice of where a link leads: what is wrong with a file is told
        // by line, which must not happen to a file of somebody else.
        if !real.starts_with(root.canonicalize().map_err(failed)?) {
            return Err(failed(io::Error::other("it leads out of the reviewed tree")));
        }
        // Opening a pipe would wait for its other end for ever.
        if !fs::metadata(&real).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no plain file")));
        }
        let mut text = String::new();
        let file = fs::File::open(&real).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(failed(io::Error::other("it is larger than 1 MiB")));
        }
        Ok(Self::parse(&text, SETTINGS_FILE)?)
    }

    /// Reads the text of a settings file.
    ///
    /// # Errors
    /// All that is wrong with it, by line.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        let mut reader = Reader::new(file, text);
        let mut top = reader.document();
        let mut layer = Self::default();

        let mut run = reader.table(&mut top, "run");
        layer.parallel = reader.number(&mut run, "parallel", 1..=PARALLEL_MAX);
        reader.done(&run, "run", &["parallel"]);

        let mut output = reader.table(&mut top, "output");
        layer.color = choice(&mut reader, &mut output, "color");
        layer.format = choice(&mut reader, &mut output, "format");
        layer.width = reader.number(&mut output, "width", 40..=1000);
        reader.done(&output, "output", &["color", "format", "width"]);

        for name in TRUST_ONLY {
            if let Some(item) = top.remove(name) {
                reader.problem(
                    item.at(),
                    format!(
                        "`{name}` belongs in the trust settings outside of the reviewed tree \
                         (`--trust FILE`, `NOVAHOST_TRUST`, `~/.config/novahost/trust.toml` or \
                         `/etc/novahost/trust.toml`): whoever can change this file must not be \
                         able to choose where credentials go"
                    ),
                );
            }
        }
        reader.done(&top, "", &["run", "output"]);
        reader.finish()?;
        Ok(layer)
    }

    /// Reads `NOVAHOST_*`. An empty variable counts as unset.
    ///
    /// # Errors
    /// When one says what it cannot mean.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        Ok(Self {
            parallel: number_of("NOVAHOST_PARALLEL", &get, 1..=PARALLEL_MAX)?,
            color: word_of("NOVAHOST_COLOR", &get)?,
            format: word_of("NOVAHOST_FORMAT", &get)?,
            width: number_of("NOVAHOST_WIDTH", &get, 40..=1000)?,
        })
    }

    /// This layer, and where it says nothing the one below.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            parallel: self.parallel.or(below.parallel),
            color: self.color.or(below.color),
            format: self.format.or(below.format),
            width: self.width.or(below.width),
        }
    }

    /// This layer over the defaults.
    pub fn settle(self) -> Settings {
        Settings {
            parallel: self.parallel.unwrap_or(PARALLEL_DEFAULT),
            color: self.color.unwrap_or_default(),
            format: self.format.unwrap_or_default(),
            width: self.width,
        }
    }
}

fn choice<'t, T: FromStr<Err = NotAChoice>>(
    reader: &mut Reader<'t>,
    from: &mut Fields<'t>,
    key: &str,
) -> Option<T> {
    let (word, at) = reader.text(from, key)?;
    match word.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            reader.problem(at, format!("`{key}`: {error}"));
            None
        }
    }
}

fn word_of<T: FromStr<Err = NotAChoice>>(
    variable: &'static str,
    get: &impl Fn(&str) -> Option<String>,
) -> Result<Option<T>, SettingsError> {
    get(variable).map(|word| word.parse::<T>()).transpose().map_err(|NotAChoice(all)| {
        SettingsError::Variable { variable, expected: format!("one of {all}") }
    })
}

fn number_of(
    variable: &'static str,
    get: &impl Fn(&str) -> Option<String>,
    bounds: std::ops::RangeInclusive<usize>,
) -> Result<Option<usize>, SettingsError> {
    let Some(text) = get(variable) else { return Ok(None) };
    match text.parse().ok().filter(|number| bounds.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(SettingsError::Variable {
            variable,
            expected: format!("a whole number from {} to {}", bounds.start(), bounds.end()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearer_layers_win_field_by_field() {
        let file =
            Layer::parse("[run]\nparallel = 2\n[output]\nwidth = 100\ncolor = \"never\"\n", "f")
                .unwrap();
        let environment = Layer::from_environment(|name| match name {
            "NOVAHOST_PARALLEL" => Some("3".into()),
            "NOVAHOST_WIDTH" => Some(String::new()),
            _ => None,
        })
        .unwrap();
        let flags = Layer { format: Some(Format::Json), ..Layer::default() };
        let settled = flags.over(environment).over(file).settle();
        assert_eq!(
            settled,
            Settings { parallel: 3, color: Color::Never, format: Format::Json, width: Some(100) }
        );
    }

    #[test]
    fn nothing_set_gives_the_defaults() {
        let settled = Layer::default().settle();
        assert_eq!((settled.parallel, settled.width_on(None)), (PARALLEL_DEFAULT, 80));
        assert_eq!(settled.width_on(Some(120)), 120);
    }

    #[test]
    fn tables_of_the_trust_settings_are_refused_in_the_tree() {
        let text = "[hypervisors.a]\nhosts = [\"evil:1\"]\n[secrets.x]\ncmd = [\"sh\"]\n[store]\npath = \"/tmp\"\n";
        let problems = Layer::parse(text, "novahost.toml").unwrap_err().0;
        assert_eq!(problems.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 3, 5]);
        assert!(problems.iter().all(|it| it.message.contains("trust settings outside")));
        let problems = Layer::parse("marker_key = \"env:X\"\nguest = []\n", "f").unwrap_err().0;
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn all_problems_come_at_once_with_their_lines() {
        let text = "[run]\nparalel = 4\n\n[output]\ncolor = \"blue\"\nwidth = 7\nformat = 3\n";
        let problems = Layer::parse(text, "novahost.toml").unwrap_err();
        assert_eq!(
            problems.to_string(),
            "novahost.toml:2: `paralel` is not known in `[run]`; did you mean `parallel`?\n\
             novahost.toml:5: `color`: expected one of `auto`, `always`, `never`\n\
             novahost.toml:6: `width` has to be a whole number from 40 to 1000\n\
             novahost.toml:7: `format` has to be a text, but is: integer"
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line() {
        let problems = Layer::parse("[run]\nparallel = \n", "f").unwrap_err().0;
        assert_eq!(problems[0].line, 2);
    }

    #[test]
    fn a_variable_that_means_nothing_is_named_without_its_value() {
        let error =
            Layer::from_environment(|name| (name == "NOVAHOST_COLOR").then(|| "hunter2".into()))
                .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`NOVAHOST_COLOR`: expected one of `auto`, `always`, `never`"
        );
    }

    #[test]
    fn a_missing_file_is_an_empty_layer() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Layer::load(folder.path()).unwrap(), Layer::default());
        fs::write(folder.path().join(SETTINGS_FILE), "[run]\nparallel = 5\n").unwrap();
        assert_eq!(Layer::load(folder.path()).unwrap().parallel, Some(5));
    }
}
