use super::*;
use crate::config::diagnostic::{FileId, Report, SourceMap};
use crate::config::yaml::parse;

fn names(text: &str) -> Result<Vec<String>, String> {
    let span = Span::new(FileId(0), 0, text.len());
    let expanded = expand(&Arc::from(text), span).map_err(|problem| problem.message)?;
    Ok(expanded.members.iter().map(|member| member.name.to_string()).collect())
}

#[test]
fn braces_stand_for_their_members() {
    assert_eq!(names("web"), Ok(vec!["web".to_owned()]));
    assert_eq!(names("web-{1..3}").expect("names"), ["web-1", "web-2", "web-3"]);
    assert_eq!(names("{01..12}").expect("names")[8..], ["09", "10", "11", "12"]);
    assert_eq!(names("w{1..3,7}x").expect("names"), ["w1x", "w2x", "w3x", "w7x"]);
    assert_eq!(names("{a,b}").expect("names"), ["a", "b"]);
    assert_eq!(names("db{008..010}").expect("names"), ["db008", "db009", "db010"]);
}

#[test]
fn what_is_no_pattern_is_refused_with_its_reason() {
    for (text, expected) in [
        ("web-{3..1}", "the range `3..1` descends"),
        ("web-{1..", "the name `web-{1..` has braces that do not match"),
        ("web-}1{", "the name `web-}1{` has braces that do not match"),
        ("{a}{b}", "the name `{a}{b}` has more than one group in braces"),
        ("web-{n}", "`{n}` in the name `web-{n}` has nothing to stand for"),
        ("web-{1,,2}", "the group `{1,,2}` has an empty member"),
        ("web-{}", "the group `{}` has an empty member"),
        ("web-{1,1}", "the name `web-{1,1}` has the member `web-1` twice"),
        ("web-{a..c}", "`a..c` is not a range of numbers"),
        ("web-{01..100}", "the ends of `01..100` differ in width"),
        ("web-{1..99999}", "the range `1..99999` has more than 10000 members"),
        ("Web-{1..2}", "`Web-1` is not a name here"),
    ] {
        assert_eq!(names(text), Err(expected.to_owned()));
    }
    assert!(names(&format!("{}{{1..2}}", "a".repeat(63))).is_err());
    assert!(names("{1..10000,a}").is_err());
}

fn tree(text: &str) -> Node {
    let mut sources = SourceMap::new();
    let mut report = Report::new();
    let file = sources.add("a.yaml", text);
    parse(text, file, &mut report).expect("a tree")
}

#[test]
fn substitution_copies_only_what_changes() {
    let node = tree(
        "a: { b: [x, y] }\nhost: web-{n}.{n}\nkeep: ${n}\nlist: [1, '{n}']\n{n}: k\n"
            .trim_end_matches("{n}: k\n"),
    );
    let member = substitute(&node, "07");
    assert_eq!(member.get("host").expect("host").value.as_str(), Some("web-07.07"));
    assert_eq!(member.get("keep").expect("keep").value.as_str(), Some("${n}"));
    assert_eq!(member.get("list").expect("list").value.to_json(), serde_json::json!([1, "07"]));
    assert_eq!(member.span, node.span);
    let (Value::Map(before), Value::Map(after)) =
        (&node.get("a").expect("a").value.value, &member.get("a").expect("a").value.value)
    else {
        panic!("mappings")
    };
    assert!(Arc::ptr_eq(before, after));
    let plain = tree("a: [b]\n");
    let (Value::Map(before), Value::Map(after)) =
        (plain.clone().value, substitute(&plain, "1").value)
    else {
        panic!("mappings")
    };
    assert!(Arc::ptr_eq(&before, &after));
}

fn entry(text: &str, at: usize) -> Spanned<Expanded> {
    let span = Span::new(FileId(0), at, at + text.len());
    Spanned::new(expand(&Arc::from(text), span).expect("names"), span)
}

#[test]
fn overlapping_patterns_conflict_with_both_places() {
    let mut table = Expansion::new();
    assert!(table.add(&entry("web-{1..3}", 0)).is_empty());
    let conflicts = table.add(&entry("web-{2..5}", 20));
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].message, "`web-{2..5}` stands for `web-2` a second time");
    assert_eq!(conflicts[0].related[0].text, "`web-{1..3}` has it too");
    assert_eq!(conflicts[0].related[0].span.start, 0);
    let again = table.add(&entry("web-1", 40));
    assert_eq!(again[0].message, "`web-1` is here a second time");
}

#[test]
fn a_reference_to_the_written_name_means_all_members() {
    let mut table = Expansion::new();
    let _ = table.add(&entry("db-{1..2}", 0));
    let _ = table.add(&entry("web", 20));
    let resolve = |text: &str| {
        table.resolve(text).map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(resolve("db-{1..2}"), Some(vec!["db-1".to_owned(), "db-2".to_owned()]));
    assert_eq!(resolve("db-2"), Some(vec!["db-2".to_owned()]));
    assert_eq!(resolve("web"), Some(vec!["web".to_owned()]));
    assert_eq!(resolve("db-3"), None);
    assert_eq!(table.span_of("db-2").map(|span| span.start), Some(0));
}

#[test]
fn all_patterns_together_have_a_bound() {
    let mut table = Expansion::new();
    let problems: usize =
        (0..12).map(|at| table.add(&entry(&format!("m{at}-{{1..9999}}"), at)).len()).sum();
    assert_eq!(problems, 2);
}
