use super::*;

fn one(text: &str, build: impl FnOnce(FileId) -> Diagnostic) -> (SourceMap, Report) {
    let mut sources = SourceMap::new();
    let file = sources.add("infra/web.yaml", text);
    let mut report = Report::new();
    report.push(build(file));
    (sources, report)
}

fn place(file: FileId, text: &str, what: &str) -> Span {
    let at = text.find(what).expect("it is in the text");
    Span::new(file, at, at + what.len())
}

#[test]
fn a_problem_looks_like_one_of_rustc() {
    let text = "vms:\n  web-1:\n    memroy: 4GiB\n";
    let (sources, report) = one(text, |file| {
        Diagnostic::error("unknown-field", place(file, text, "memroy"), "unknown field `memroy`")
            .help("did you mean `memory`?")
    });
    insta::assert_snapshot!(render_text(&report, &sources, false, 80), @r#"
    error[unknown-field]: unknown field `memroy`
     --> infra/web.yaml:3:5
      |
    3 |     memroy: 4GiB
      |     ^^^^^^
      |
      = help: did you mean `memory`?
    "#);
    assert_eq!(
        one_line(&report.sorted(&sources)[0], &sources),
        "infra/web.yaml:3:5: error[unknown-field]: unknown field `memroy`"
    );
}

#[test]
fn both_ends_of_a_conflict_are_shown_from_two_files() {
    let mut sources = SourceMap::new();
    let left = sources.add("a.yaml", "web-1: {}\n");
    let right = sources.add("b.yaml", "\n\nweb-1: {}\n");
    let mut report = Report::new();
    report.push(
        Diagnostic::error(
            "duplicate-name",
            Span::new(right, 2, 7),
            "`web-1` is here a second time",
        )
        .related(Span::new(left, 0, 5), "first written here"),
    );
    insta::assert_snapshot!(render_text(&report, &sources, false, 80), @r#"
    error[duplicate-name]: `web-1` is here a second time
     --> b.yaml:3:1
      |
    3 | web-1: {}
      | ^^^^^
      |
     ::: a.yaml:1:1
      |
    1 | web-1: {}
      | ----- first written here
    "#);
}

#[test]
fn the_same_problem_of_many_objects_is_shown_once() {
    let text = "memory: 4\n";
    let (sources, mut report) = one(text, |file| {
        Diagnostic::error("invalid-value", place(file, text, "4"), "no unit")
            .subject("vm/web-1".into())
    });
    for at in 2..=12 {
        let span = Span::new(FileId(0), 8, 9);
        report.push(
            Diagnostic::error("invalid-value", span, "no unit")
                .subject(format!("vm/web-{at}").into()),
        );
    }
    let sorted = report.sorted(&sources);
    assert_eq!(sorted.len(), 1);
    assert_eq!(sorted[0].more_text().as_deref(), Some("and 11 more machines"));
    assert!(render_text(&report, &sources, false, 80).contains("note: and 11 more machines"));
}

#[test]
fn order_is_by_path_and_place_however_they_were_found() {
    let mut sources = SourceMap::new();
    let late = sources.add("b.yaml", "x\ny\n");
    let early = sources.add("a.yaml", "x\n");
    let mut report = Report::new();
    report.push(Diagnostic::error("one", Span::new(late, 2, 3), "m"));
    report.push(Diagnostic::warning("two", Span::new(late, 0, 1), "m"));
    report.push(Diagnostic::error("three", Span::new(early, 0, 1), "m"));
    let codes: Vec<&str> = report.sorted(&sources).iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["three", "two", "one"]);
}

#[test]
fn json_has_places_and_help() {
    let text = "é: x\n";
    let (sources, report) = one(text, |file| {
        Diagnostic::warning("short-size", place(file, text, "x"), "m\u{1b}")
            .help("h")
            .related(Span::new(file, 0, 2), "r")
    });
    let json = to_json(&report, &sources);
    assert_eq!(json[0]["column"], 4);
    assert_eq!(json[0]["end_column"], 5);
    assert_eq!(json[0]["message"], "m\\u{1b}");
    assert_eq!(json[0]["severity"], "warning");
    assert_eq!(json[0]["help"][0], "h");
    assert_eq!(json[0]["related"][0]["label"], "r");
    assert_eq!(json[0]["related"][0]["file"], "infra/web.yaml");
}

#[test]
fn nothing_active_reaches_the_reader() {
    let text = "a: \u{1b}[31mred\u{202E}\r\t# \u{200B}\n";
    let (sources, report) = one(text, |file| {
        Diagnostic::error("x", Span::new(file, 3, 8), "bad \u{1b}[2J\n::error::x \u{2066}")
            .help("\u{7}")
    });
    for shown in [
        render_text(&report, &sources, false, 80),
        one_line(&report.sorted(&sources)[0], &sources),
        to_json(&report, &sources).to_string(),
    ] {
        let lines = shown.replace('\n', "");
        assert!(!lines.chars().any(crate::model::is_active), "{shown:?}");
    }
    assert_eq!(inert("a\u{1b}[0m\n\u{202e}"), "a\\u{1b}[0m\\n\\u{202e}");
    assert!(matches!(inert("plain é"), std::borrow::Cow::Borrowed(_)));
}

#[test]
fn a_masked_place_is_never_shown() {
    let text = "auth: { password: hunter2, user: x }\n";
    let (sources, mut report) =
        one(text, |file| Diagnostic::error("x", place(file, text, "user"), "m"));
    report.mask(place(FileId(0), text, "hunter2"));
    let shown = render_text(&report, &sources, false, 80);
    assert!(!shown.contains("hunter2") && shown.contains("password: ********, user: x"), "{shown}");
}

#[test]
fn a_secret_is_hidden_by_its_key_when_nothing_was_decoded() {
    for text in [
        "auth: { password: hunter2, x\n",
        "auth: { token_secret: \"hunter2\" x\n",
        "\"api_key\" : hunter2  # x\n",
        "PASSWORD: 'hunter2\n",
        "password: a,hunter2}b\n",
        "password: \"a\\\"hunter2\"\n",
        "password: !hunter2\n",
        "password: *hunter2\n",
    ] {
        let (sources, report) =
            one(text, |file| Diagnostic::error("syntax", Span::new(file, 0, 1), "m"));
        let shown = render_text(&report, &sources, false, 80);
        assert!(!shown.contains("hunter2") && shown.contains("********"), "{shown}");
    }
    let text = "auth: { token_id: novahost@pve!ci, password: env:PW }\n";
    let (sources, report) =
        one(text, |file| Diagnostic::error("syntax", Span::new(file, 0, 1), "m"));
    assert!(
        render_text(&report, &sources, false, 80).contains("novahost@pve!ci, password: env:PW")
    );
}

#[test]
fn an_endless_line_is_cut_around_its_problem() {
    let text = format!("a: {}NEEDLE{}\n", "x".repeat(1_000_000), "é".repeat(1_000_000));
    let (sources, report) =
        one(&text, |file| Diagnostic::error("x", place(file, &text, "NEEDLE"), "m"));
    let shown = render_text(&report, &sources, false, 80);
    assert!(shown.contains("NEEDLE") && shown.len() < 2_000, "{}", shown.len());
}

#[test]
fn a_flood_is_counted_and_not_kept() {
    let text = "a".repeat(20_000);
    let (sources, mut report) =
        one(&text, |file| Diagnostic::error("x", Span::new(file, 0, 1), "m"));
    for at in 1..=DIAGNOSTICS_MAX {
        // The same problem of another machine takes no room.
        for subject in ["vm/a", "vm/b"] {
            let span = Span::new(FileId(0), at, at + 1);
            report.push(Diagnostic::error("x", span, "m").subject(subject.into()));
        }
    }
    assert_eq!(report.iter().count(), DIAGNOSTICS_MAX);
    assert!(report.dropped() == 2 && !report.sorted(&sources).is_empty());
}

#[test]
fn merged_reports_keep_their_verdict() {
    let (_, report) = one("a\n", |file| Diagnostic::error("x", Span::new(file, 0, 1), "m"));
    let mut all = Report::new();
    assert!(!all.has_errors() && all.is_empty());
    all.merge(report);
    assert!(all.has_errors() && all.iter().count() == 1);
}

#[test]
fn columns_of_a_very_long_line_are_counted_in_characters() {
    let mut sources = SourceMap::new();
    let text = format!("first\n{}", "aé€".repeat(2_000));
    let file = sources.add("long.yaml", text.as_str());
    for at in (6..text.len()).filter(|&at| text.is_char_boundary(at)) {
        let expected = text[6..at].chars().count() + 1;
        assert_eq!(sources.line_column(Span::new(file, at, at)), (2, expected), "byte {at}");
    }
}
