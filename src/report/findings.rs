//! Findings as text: a line each, what is behind it, and how to mend it.

use super::{
    Style,
    layout::{Canvas, Paint, Piece},
};
use crate::model::{Finding, FindingGroup, Fix, Health};

/// Columns of the words `skipped` and `doctor.privileges`, with a gap between them.
const LABEL: usize = 26;
/// Where what can be copied begins; the longest line of it is a pin, which just fits.
const FIX: usize = 4;

/// All findings for people.
pub fn findings_text(novahost: &str, groups: &[FindingGroup], style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    canvas.words(0, &[Piece::plain(format!("novahost {novahost}"))]);
    for group in groups {
        canvas.blank();
        let name = group.hypervisor.as_ref().map_or("This machine", |it| it.as_str());
        let name = canvas.data(name).into_owned();
        canvas.words(0, &[Piece::new(Paint::Bold, name)]);
        for finding in &group.findings {
            show(&mut canvas, finding);
        }
    }
    canvas.blank();
    canvas.words(0, &[Piece::plain(sums(groups))]);
    canvas.finish()
}

fn show(canvas: &mut Canvas, finding: &Finding) {
    let (word, paint) = match finding.state {
        Health::Ok => ("ok", Paint::Plain),
        Health::Warn => ("warn", Paint::Update),
        Health::Fail => ("FAIL", Paint::Danger),
        Health::Skipped => ("skipped", Paint::Dim),
    };
    let label = format!("{word:<7} {}", finding.check);
    let text = canvas.data(&finding.text).into_owned();
    canvas.row(2, &label, LABEL, &[Piece::new(paint, text)]);
    for detail in &finding.details {
        let text = canvas.data(detail).into_owned();
        canvas.row(2, "", LABEL, &[Piece::plain(text)]);
    }
    for fix in &finding.fix {
        way_out(canvas, fix);
    }
}

fn way_out(canvas: &mut Canvas, fix: &Fix) {
    match fix {
        Fix::Say(words) => {
            let words = canvas.data(words).into_owned();
            let sign = canvas.arrow();
            canvas.row(2, sign, 1, &[Piece::plain(words)]);
        }
        Fix::Run(command) => {
            let command = canvas.data(command).into_owned();
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            canvas.command(&" ".repeat(FIX), &words);
        }
        Fix::Write(line) => {
            let line = canvas.data(line).into_owned();
            for line in broken(&line, canvas.width().saturating_sub(FIX)) {
                canvas.verbatim(FIX, "", &line, Paint::Bold);
            }
        }
    }
}

/// A list of a settings file that is too long for a line, one item to a line.
fn broken(line: &str, room: usize) -> Vec<String> {
    let list = line.strip_suffix(']').and_then(|rest| rest.split_once(" = ["));
    match list {
        Some((key, items)) if line.len() > room => {
            let items = items.split(", ").map(|item| format!("  {item},"));
            let first = std::iter::once(format!("{key} = ["));
            first.chain(items).chain(["]".to_owned()]).collect()
        }
        Some(_) | None => vec![line.to_owned()],
    }
}

fn sums(groups: &[FindingGroup]) -> String {
    let count = |state: Health| {
        groups.iter().flat_map(|it| &it.findings).filter(|it| it.state == state).count()
    };
    let parts = [
        (count(Health::Ok), "ok"),
        (count(Health::Warn), "worth a look"),
        (count(Health::Fail), "failed"),
        (count(Health::Skipped), "skipped"),
    ];
    let told = parts.iter().filter(|(count, _)| *count > 0);
    let told: Vec<String> = told.map(|(count, word)| format!("{count} {word}")).collect();
    format!("{}.", told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Check;

    fn page(finding: Finding, style: &Style) -> String {
        let groups = [FindingGroup { hypervisor: Some("pve".into()), findings: vec![finding] }];
        findings_text("0.0.0", &groups, style)
    }

    #[test]
    fn text_of_others_is_inert_and_everything_fits_80_columns() {
        let pin = format!("pins = [\"sha256:{0}\", \"sha256:{0}\"]", "ab".repeat(32));
        let long = "VM.Config.Options ".repeat(12);
        let finding = Finding::fail(Check::Tls, "said \u{1b}[31mred and much more of it than fits")
            .detail("a\r\nb")
            .say("do this")
            .run(format!("pveum role modify R --append 1 --privs \"{}\"", long.trim()))
            .write(pin);
        let text = page(finding, &Style::PLAIN);
        assert!(text.is_ascii() && !text.contains('\u{1b}') && !text.contains('\r'), "{text}");
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        // A command is continued, a list is broken, so that both can be copied.
        assert!(text.contains(" \\\n"), "{text}");
        assert!(text.contains("\n    pins = [\n      \"sha256:abab"), "{text}");
        assert!(text.contains("1 failed."), "{text}");
    }
}
