use super::*;
use crate::config::diagnostic::{one_line, render_text};
use proptest::prelude::*;

fn read(text: &str) -> (Option<Node>, Vec<String>) {
    let mut sources = SourceMap::new();
    let mut report = Report::new();
    let file = read_text(&mut sources, "a.yaml", text.as_bytes().to_vec(), &mut report);
    let node = file.and_then(|file| parse(&sources.text(file), file, &mut report));
    let lines = report.sorted(&sources).iter().map(|problem| one_line(problem, &sources)).collect();
    (node, lines)
}

fn good(text: &str) -> Node {
    let (node, problems) = read(text);
    assert_eq!(problems, Vec::<String>::new(), "{text}");
    node.expect("a tree")
}

fn problems(text: &str) -> Vec<String> {
    read(text).1
}

fn value(text: &str) -> Value {
    good(&format!("a: {text}\n")).get("a").expect("the key").value.value.clone()
}

#[test]
fn plain_scalars_follow_the_core_schema_of_yaml_1_2() {
    for (text, expected) in [
        ("", Value::Null),
        ("~", Value::Null),
        ("Null", Value::Null),
        ("true", Value::Bool(true)),
        ("FALSE", Value::Bool(false)),
        ("-12", Value::Int(-12)),
        ("+12", Value::Int(12)),
        ("0x1F", Value::Int(31)),
        ("0o17", Value::Int(15)),
        ("0", Value::Int(0)),
        ("1e3", Value::Float(1000.0)),
        (".5", Value::Float(0.5)),
        ("12.50", Value::Float(12.5)),
        ("-.inf", Value::Float(f64::NEG_INFINITY)),
        ("9223372036854775808", Value::Float(9_223_372_036_854_775_808.0)),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    for text in [
        "yes",
        "no",
        "on",
        "off",
        "0755",
        "1_000",
        "12:34:56",
        "nul",
        "tRue",
        ".",
        "-",
        "1.2.3",
        "0x",
        "00:50:56:12:34:56",
    ] {
        if text != "-" {
            assert_eq!(value(text), Value::Str(text.into()), "{text}");
        }
        assert_eq!(value(&format!("'{text}'")), Value::Str(text.into()), "{text}");
    }
    assert_eq!(value("!!str 12"), Value::Str("12".into()));
    assert_eq!(value("\"\""), Value::Str("".into()));
}

#[test]
fn what_yaml_1_1_would_have_read_is_known_for_hints() {
    let meant = |text: &str| good(&format!("a: {text}\n")).get("a").expect("the key").value.meant();
    assert_eq!(meant("yes"), Some(Meant::Bool(true)));
    assert_eq!(meant("Off"), Some(Meant::Bool(false)));
    assert_eq!(meant("0755"), Some(Meant::Octal));
    assert_eq!(meant("1_000"), Some(Meant::Grouped));
    assert_eq!(meant("12:34:56"), Some(Meant::Sexagesimal));
    assert_eq!(meant("'yes'"), None);
    assert_eq!(meant("web"), None);
}

#[test]
fn spans_point_at_what_is_written() {
    let text = "é: 1\nvms:\n  web:   # here\n    memory: 4GiB\n    tags: [a, \"b\"]\nlast: x\n";
    let node = good(text);
    let slice = |span: Span| &text[span.start as usize..span.end as usize];
    let vms = node.get("vms").expect("vms");
    assert_eq!(slice(vms.key_span), "vms");
    let web = vms.value.get("web").expect("web");
    assert_eq!(slice(web.value.span), "memory: 4GiB\n    tags: [a, \"b\"]");
    assert_eq!(slice(web.value.get("memory").expect("memory").value.span), "4GiB");
    let tags = &web.value.get("tags").expect("tags").value;
    assert_eq!(slice(tags.span), "[a, \"b\"]");
    assert_eq!(slice(tags.as_seq().expect("a list")[1].span), "\"b\"");
}

#[test]
fn a_byte_order_mark_at_the_start_is_dropped() {
    let node = good("\u{FEFF}a: 1\n");
    assert_eq!(node.get("a").expect("a").key_span.start, 0);
}

#[test]
fn text_that_is_not_utf8_is_refused_at_its_place() {
    let mut sources = SourceMap::new();
    let mut report = Report::new();
    assert_eq!(read_text(&mut sources, "a.yaml", b"a: 1\nb: \xE9\n".to_vec(), &mut report), None);
    assert_eq!(read_text(&mut sources, "b.yaml", b"\xFF\xFEa\0".to_vec(), &mut report), None);
    assert_eq!(
        read_text(&mut sources, "c.yaml", vec![b' '; FILE_BYTES_MAX + 1], &mut report),
        None
    );
    let lines: Vec<String> =
        report.sorted(&sources).iter().map(|problem| one_line(problem, &sources)).collect();
    assert_eq!(
        lines,
        [
            "a.yaml:2:4: error[not-utf8]: byte 0xE9 is not UTF-8",
            "b.yaml:1:1: error[not-utf8]: the file is UTF-16",
            "c.yaml:1:1: error[file-too-large]: the file has 16777217 bytes; at most 16777216 are read",
        ]
    );
}

#[test]
fn characters_that_deceive_are_refused() {
    assert_eq!(
        problems("a: \0\n"),
        ["a.yaml:1:4: error[nul-byte]: the character `\\u{0}` is not allowed in YAML"]
    );
    assert_eq!(
        problems("a: x\u{202E}y\nb: \u{1b}[2J\n"),
        [
            "a.yaml:1:5: error[bidi-control]: the character `\\u{202e}` changes the order in which the line is read",
            "a.yaml:2:4: error[control-character]: the character `\\u{1b}` is not allowed in YAML",
        ]
    );
    // Escaped in quotes it is visible to a reviewer.
    assert_eq!(value("\"\\u202E\""), Value::Str("\u{202E}".into()));
}

#[test]
fn problems_of_one_file_are_found_together() {
    assert_eq!(
        problems(
            "a: 1\na: 2\nb: { c: 1, d: 2, c: 3 }\n<<: *x\n7: seven\n? [k]\n: v\nt: !!python/object:os.system x\nu: !mine y\n"
        ),
        [
            "a.yaml:2:1: error[duplicate-key]: the key `a` is here a second time",
            "a.yaml:3:18: error[duplicate-key]: the key `c` is here a second time",
            "a.yaml:4:1: error[merge-key]: `<<` merges are not part of YAML 1.2",
            "a.yaml:4:5: error[unknown-alias]: no anchor of this name before this alias",
            "a.yaml:5:1: error[key-not-text]: a key must be a text, found the number 7",
            "a.yaml:6:3: error[key-not-text]: a key must be a text, found a list",
            "a.yaml:8:4: error[tag]: tags are not supported",
            "a.yaml:9:4: error[tag]: tags are not supported",
        ]
    );
}

#[test]
fn duplicate_keys_of_a_large_mapping_are_found_with_both_places() {
    let mut text: String = (0..1000).map(|at| format!("key-{at}: 1\n")).collect();
    text.push_str("key-500: 2\n");
    assert_eq!(
        problems(&text),
        ["a.yaml:1001:1: error[duplicate-key]: the key `key-500` is here a second time"]
    );
    let mut sources = SourceMap::new();
    let mut report = Report::new();
    let file = sources.add("a.yaml", text.as_str());
    let _ = parse(&text, file, &mut report);
    let shown = render_text(&report, &sources, false, 80);
    assert!(shown.contains("501 | key-500: 1") && shown.contains("first written here"), "{shown}");
}

#[test]
fn a_second_document_is_refused() {
    assert_eq!(
        problems("a: 1\n---\nb: 1\n"),
        ["a.yaml:2:1: error[several-documents]: a second document begins here"]
    );
    good("---\na: 1\n...\n");
    assert_eq!(good("a: 1\r\nb: x\r\n").to_json(), serde_json::json!({ "a": 1, "b": "x" }));
    assert_eq!(good("").value, Value::Null);
    assert_eq!(good("# nothing\n").value, Value::Null);
}

#[test]
fn syntax_errors_speak_of_configuration() {
    assert_eq!(
        problems("a:\n\t b: 1\n"),
        ["a.yaml:2:3: error[tab]: a tab stands where YAML allows only spaces"]
    );
    assert!(problems("a: \"x\nb: 1\n")[0].contains("a quote is not closed before this line"));
    let unclosed = problems("a: \"x");
    assert!(unclosed[0].contains("error[syntax]: a quote is never closed"), "{unclosed:?}");
    assert!(problems("a: [1, 2\nb: 1\n")[0].contains("error[syntax]"));
    assert!(problems("a: b: c\n")[0].contains("error[syntax]: a `:` where no key can be"));
    assert!(problems("a: @x\n")[0].contains("a value cannot begin with `@`"));
}

#[test]
fn aliases_share_their_target_and_keep_both_places() {
    let node = good("base: &b { x: [1, 2] }\none: *b\ntwo: *b\n");
    let (base, one) =
        (&node.get("base").expect("base").value, &node.get("one").expect("one").value);
    assert_eq!(one.to_json(), base.to_json());
    assert_ne!(one.span, base.span);
    let (Value::Map(left), Value::Map(right)) = (&base.value, &one.value) else {
        panic!("mappings")
    };
    assert!(Arc::ptr_eq(left, right));
    assert!(problems("a: &a [*a]\n")[0].contains("error[recursive-alias]"));
}

#[test]
fn a_bomb_of_aliases_stops_early() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let uses = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
    }
    let found = problems(&text);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("error[too-many-aliases]"), "{found:?}");
}

#[test]
fn nesting_has_a_bound_in_every_form() {
    let flow = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let block: String = (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let dashes = format!("{}x\n", "- ".repeat(500));
    let chain = {
        let mut text = String::from("a0: &a0 [x]\n");
        (1..100).for_each(|at| text.push_str(&format!("a{at}: &a{at} [*a{}]\n", at - 1)));
        text
    };
    for text in [flow, block, dashes, chain] {
        let found = problems(&text);
        assert!(found.len() == 1 && found[0].contains("error[too-deep]"), "{found:?}");
    }
    good(&format!("a: {}{}\n", "[".repeat(DEPTH_MAX - 1), "]".repeat(DEPTH_MAX - 1)));
}

#[test]
fn a_huge_scalar_is_refused() {
    let found = problems(&format!("a: {}\n", "x".repeat(SCALAR_BYTES_MAX + 1)));
    assert!(found[0].contains("error[scalar-too-long]"), "{found:?}");
}

#[test]
fn the_total_has_a_bound() {
    assert!(within_total([ALL_BYTES_MAX / 2, ALL_BYTES_MAX / 2]));
    assert!(!within_total([ALL_BYTES_MAX, 1]));
    assert!(!within_total([usize::MAX, usize::MAX]));
}

#[test]
fn nothing_that_is_thrown_at_it_panics() {
    for text in [
        "\"\\ud800\"",
        "%YAML 9.9\n---\na",
        "&a",
        "*",
        "!<",
        "? ",
        ": ",
        "- - -",
        "{",
        "}",
        "a: |9\n x",
        "|",
        ">-\n\t",
        "\u{85}",
        "a:\r b:\rc",
    ] {
        let _ = read(text);
    }
}

fn scalar() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        (-1000i32..1000).prop_map(|value| serde_json::json!(f64::from(value) / 8.0)),
        "[ -~]{0,12}".prop_map(Into::into),
        "[a-zé:#\\-?\\n ]{0,12}".prop_map(Into::into),
        prop::sample::select(vec![
            "yes", "no", "0755", "1_000", "12:34:56", "~", "null", "0x1F", "1e3", "<<", "- a",
            "a: b", "#"
        ])
        .prop_map(Into::into),
    ]
}

fn document() -> impl Strategy<Value = serde_json::Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map("[a-z][a-z0-9_.-]{0,8}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn our_reader_and_serde_yaml_agree(document in document()) {
        let text = serde_yaml::to_string(&document).expect("it can be written");
        let theirs: serde_json::Value = serde_yaml::from_str(&text).expect("it can be read");
        let (node, problems) = read(&text);
        prop_assert!(problems.is_empty(), "{problems:?}\n{text}");
        let ours = node.expect("a tree").to_json();
        prop_assert_eq!(normal(&ours), normal(&theirs), "{}", text);
        prop_assert_eq!(normal(&ours), normal(&document), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\PC\\n\\t]{0,200}") {
        let (node, problems) = read(&text);
        prop_assert!(node.is_some() || !problems.is_empty());
    }
}

/// `1` and `1.0` are one number in JSON.
fn normal(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Number(number) => serde_json::json!(number.as_f64()),
        serde_json::Value::Array(items) => items.iter().map(normal).collect(),
        serde_json::Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), normal(value))).collect()
        }
        other => other.clone(),
    }
}
