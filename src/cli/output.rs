//! The only module that prints. Results go to standard output, everything else to
//! standard error, so that a pipe gets what it asked for and nothing more.

use super::args::{Format, Global, When};
use crate::{
    report::{self, Style},
    settings,
};
use std::io::{IsTerminal, Write};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Colours on standard output.
    pub color: bool,
    /// More than ASCII.
    pub unicode: bool,
    /// Columns.
    pub width: usize,
    /// Whether a person sits at the other end and can be asked.
    pub interactive: bool,
    /// Whether the simulators are asked instead of the hypervisors.
    pub sandbox: bool,
    /// How results are written when no flag says.
    pub format: Format,
}

/// Columns when the terminal does not tell.
const WIDTH: usize = 80;
/// Wider lines are harder to read, whatever the terminal offers.
const WIDTH_MAX: usize = 100;

impl Output {
    /// As the flags and the terminal say.
    pub fn new(global: &Global) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let color = match global.color.unwrap_or(When::Auto) {
            When::Always => true,
            When::Never => false,
            When::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty()),
        };
        let columns = std::env::var("COLUMNS").ok().and_then(|it| it.parse().ok());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
        // Without a locale the reader is most likely a log viewer, and those speak UTF-8.
        let utf8 = locale.is_none_or(|it| {
            let it = it.to_ascii_lowercase();
            it.contains("utf-8") || it.contains("utf8")
        });
        Self {
            color,
            unicode: utf8 && !global.ascii,
            width: columns.unwrap_or(WIDTH).clamp(40, WIDTH_MAX),
            interactive: terminal && std::io::stdin().is_terminal(),
            sandbox: global.sandbox,
            format: Format::Text,
        }
    }

    /// As the settings say, where no flag or variable did.
    #[must_use]
    pub fn with(self, global: &Global, settings: &settings::Settings) -> Self {
        let color = match (global.color, settings.color) {
            (Some(_), _) | (None, settings::Color::Auto) => self.color,
            (None, settings::Color::Always) => true,
            (None, settings::Color::Never) => false,
        };
        let format = match settings.format {
            settings::Format::Text => Format::Text,
            settings::Format::Json => Format::Json,
            settings::Format::Markdown => Format::Markdown,
        };
        Self { color, format, width: settings.width.unwrap_or(self.width), ..self }
    }

    /// How a page is laid out.
    pub fn style(&self) -> Style {
        Style { color: self.color, unicode: self.unicode, width: self.width }
    }

    /// A document for programs.
    pub fn print_json<T: serde::Serialize>(&self, document: &T) {
        // Only our own plain types come here; they serialise without error.
        let text = serde_json::to_string_pretty(document).unwrap_or_default();
        self.print_whole(report::inert_json(text));
    }

    /// A result for people. Whatever text of others is in it, it arrives harmless.
    pub fn print(&self, text: impl AsRef<str>) {
        self.print_whole(report::inert_page(text.as_ref(), self.color));
    }

    /// A result in a format of its own, which its maker has made harmless.
    pub fn print_whole(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let mut out = std::io::stdout().lock();
        // A reader that went away (`| head`) is no error of ours.
        let _ = out.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = out.write_all(b"\n");
        }
        let _ = out.flush();
    }

    /// A remark beside the result.
    pub fn remark(&self, text: impl AsRef<str>) {
        let text = report::inert_page(text.as_ref().trim_end_matches('\n'), self.color);
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{text}");
    }

    /// Asks; anything but `yes` is no.
    pub fn ask(&self, question: &str) -> bool {
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{question} Only `yes` is taken: ");
        let _ = err.flush();
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && answer.trim() == "yes"
    }
}
