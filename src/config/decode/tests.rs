use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::config::diagnostic::{one_line, render_text};
use crate::config::scalar::{Bytes, Name, SecretRef, Spanned};
use crate::config::yaml::parse;

choice! {
    /// What the machine boots with.
    pub enum Firmware {
        /// Legacy.
        Bios = "bios",
        /// Modern.
        Uefi = "uefi",
    }
    later { "secure-boot" }
}

pattern! {
    /// The project.
    pub struct Project = "^[a-z0-9-]{1,32}$", "1 to 32 small letters, digits and `-`";
}

either! {
    /// Whether and how a machine starts with its host.
    pub enum Autostart {
        /// Yes or no.
        bool Flag(bool),
        /// In order.
        mapping Ordered(RawOrder),
    }
}

record! {
    /// When a machine starts.
    pub struct RawOrder {
        /// Lower ones first.
        order: Int<1, 999>,
    }
}

record! {
    /// A disk of a machine.
    pub struct RawDisk {
        /// Size; grows only.
        size: Option<Spanned<Bytes>>,
        /// The bus; `type` is no name in Rust.
        kind as "type": Option<String>,
        /// Whether it is backed up.
        backup: bool = true,
    }
    later { ssd, discard }
}

record! {
    /// A machine.
    pub struct RawVm {
        /// Where it lives.
        hypervisor: Spanned<Name>,
        /// Processors.
        cpu: u32,
        /// Firmware.
        firmware: Option<Firmware>,
        /// Disks by name.
        disks: BTreeMap<Name, RawDisk>,
        /// Servers.
        dns: Vec<IpAddr>,
        /// For the first login.
        password: Option<SecretRef>,
        /// With its host.
        autostart: Option<Autostart>,
    }
}

record! {
    /// Everything.
    pub struct RawRoot {
        /// The project.
        project: Lenient<Project>,
        /// Machines.
        vms: Templates<RawVm>,
    }
}

struct Run {
    value: Option<RawRoot>,
    members: Vec<RawVm>,
    lines: Vec<String>,
    text: String,
    errors: bool,
}

fn run(text: &str) -> Run {
    let mut sources = SourceMap::new();
    let mut report = Report::new();
    let file = sources.add("a.yaml", text);
    let node = parse(text, file, &mut report).expect("a tree");
    let mut cx = Cx::new(&sources);
    let value = RawRoot::decode(&node, &mut cx);
    let mut members = Vec::new();
    for template in value.iter().flat_map(|root| &root.vms.0) {
        for (at, member) in template.name.value.members.iter().enumerate() {
            let node = template.member_node(at).expect("a member");
            let read = |cx: &mut Cx<'_>| {
                cx.at_key(Some(template.name.span), |cx| RawVm::decode(&node, cx))
            };
            members.extend(cx.for_subject(format!("vm/{}", member.name), read));
        }
    }
    report.merge(cx.into_report());
    let lines = report.sorted(&sources).iter().map(|problem| one_line(problem, &sources)).collect();
    Run {
        value,
        members,
        lines,
        text: render_text(&report, &sources, false, 80),
        errors: report.has_errors(),
    }
}

#[test]
fn a_whole_document_is_read() {
    let run = run(
        "project: acme\nvms:\n  web-{1..2}:\n    hypervisor: pve\n    cpu: 2\n    firmware: uefi\n    disks:\n      boot: {}\n      data: { size: 4GiB, type: scsi, backup: false }\n    dns: [\"10.0.0.{n}\", \"::1\"]\n    password: { from: env:PW, version: 2 }\n    autostart: { order: 2 }\n",
    );
    assert_eq!(run.lines, Vec::<String>::new());
    assert!(run.value.is_some());
    assert_eq!(run.members.len(), 2);
    let second = &run.members[1];
    assert_eq!(second.dns[0].to_string(), "10.0.0.2");
    assert_eq!(second.firmware, Some(Firmware::Uefi));
    assert_eq!(second.password.as_ref().map(|secret| secret.version), Some(2));
    assert_eq!(second.autostart, Some(Autostart::Ordered(RawOrder { order: Int(2) })));
    let disk = &second.disks[&"data".parse::<Name>().expect("a name")];
    assert_eq!(
        (disk.size.map(|size| size.value), disk.kind.as_deref(), disk.backup),
        (Some(Bytes::gib(4)), Some("scsi"), false)
    );
    assert!(second.disks[&"boot".parse::<Name>().expect("a name")].backup);
}

#[test]
fn all_problems_of_a_document_come_at_once() {
    let run = run(
        "project: Acme\nvms:\n  web_1: {}\n  web-{1..12}:\n    cpu: \"2\"\n    memroy: 4GiB\n    firmware: ufei\n    disks:\n      a: { size: 4, ssd: true, backup: yes }\n      B: { size: 4GB }\n      c:\n    dns: 10.0.0.1\n    autostart: on\n  db:\n    hypervisor: pve\n    cpu: 0755\n    firmware: secure-boot\n    autostart: { order: 1000 }\n    dns: [10.0.0.256, 7]\n",
    );
    insta::assert_snapshot!(run.lines.join("\n"), @r#"
    a.yaml:1:10: error[invalid-value]: `Acme` cannot stand here
    a.yaml:3:3: error[invalid-name]: `web_1` is not a name here
    a.yaml:4:3: error[missing-field]: the field `hypervisor` is missing (and 11 more machines)
    a.yaml:5:10: error[wrong-type]: expected a whole number, found the text `2` (and 11 more machines)
    a.yaml:6:5: error[unknown-field]: unknown field `memroy` (and 11 more machines)
    a.yaml:7:15: error[unknown-value]: `ufei` is not possible here (and 11 more machines)
    a.yaml:9:18: error[invalid-value]: the size `4` has no unit (and 11 more machines)
    a.yaml:9:21: error[not-supported-yet]: `ssd` is not supported yet in this version (and 11 more machines)
    a.yaml:9:40: error[wrong-type]: expected `true` or `false`, found the text `yes` (and 11 more machines)
    a.yaml:10:7: error[invalid-name]: `B` is not a name here (and 11 more machines)
    a.yaml:10:18: error[invalid-value]: sizes are in powers of 1024, `GB` is not one of their units (and 11 more machines)
    a.yaml:11:7: error[no-value]: expected a mapping, found no value (and 11 more machines)
    a.yaml:12:10: error[wrong-type]: expected a list, found the text `10.0.0.1` (and 11 more machines)
    a.yaml:13:16: error[wrong-type]: expected `true` or `false` or a mapping, found the text `on` (and 11 more machines)
    a.yaml:16:10: error[wrong-type]: expected a whole number, found the text `0755`
    a.yaml:17:15: error[not-supported-yet]: `secure-boot` is not supported yet in this version
    a.yaml:18:25: error[invalid-value]: the number must be at most 999
    a.yaml:19:11: error[invalid-value]: expected an IP address, found `10.0.0.256`
    a.yaml:19:23: error[wrong-type]: expected an IP address, found the number 7
    "#);
    assert!(run.errors);
}

#[test]
fn problems_are_shown_with_their_help() {
    let run = run(
        "project: acme\nvms:\n  web:\n    hypervisor: pve\n    cpu: 2\n    disks:\n      a: { size: 4, backup: yes }\n",
    );
    insta::assert_snapshot!(run.text, @r#"
    error[invalid-value]: the size `4` has no unit
     --> a.yaml:7:18
      |
    7 |       a: { size: 4, backup: yes }
      |                  ^
      |
      = help: write `4GiB` or `4MiB`

    error[wrong-type]: expected `true` or `false`, found the text `yes`
     --> a.yaml:7:29
      |
    7 |       a: { size: 4, backup: yes }
      |                             ^^^
      |
      = help: YAML 1.2 reads `yes` as a text; write `true`
    "#);
}

#[test]
fn a_secret_is_never_echoed() {
    for secret in [
        "hunter2",
        "{ from: hunter2 }",
        "{ fro: hunter2 }",
        "[hunter2]",
        "env:hunter2-x",
        "!hunter2",
        "*hunter2",
        "\"a, \\\"hunter2\"",
    ] {
        let run = run(&format!(
            "project: acme\nvms: {{ web: {{ hypervisor: pve, cpu: 1, password: {secret} }} }}\n"
        ));
        assert!(run.errors, "{secret}");
        assert!(!run.text.contains("hunter2"), "{}", run.text);
        assert!(!run.lines.join("\n").contains("hunter2"), "{:?}", run.lines);
    }
}

#[test]
fn dates_have_one_form_and_are_in_the_calendar() {
    let read = |text: &str| {
        let mut sources = SourceMap::new();
        let mut report = Report::new();
        let file = sources.add("a.yaml", text);
        let node = parse(text, file, &mut report).expect("a tree");
        jiff::civil::Date::decode(&node, &mut Cx::new(&sources)).map(|date| date.to_string())
    };
    assert_eq!(read("2027-03-01").as_deref(), Some("2027-03-01"));
    for text in ["2027-02-30", "20270301", "2027-3-1", "2027-03-01T00:00", "ééééé", "1"] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn a_short_size_is_echoed_and_accepted() {
    let run = run(
        "project: acme\nvms: { web: { hypervisor: pve, cpu: 1, disks: { a: { size: 4G } } } }\n",
    );
    assert_eq!(run.lines, ["a.yaml:2:60: warning[short-size]: `4G` is read as 4GiB"]);
    assert!(!run.errors && run.members.len() == 1);
}

#[test]
fn context_is_shown_beside_a_problem() {
    let text = "a: x\nuser: here\n";
    let mut sources = SourceMap::new();
    let mut report = Report::new();
    let file = sources.add("a.yaml", text);
    let node = parse(text, file, &mut report).expect("a tree");
    let mut cx = Cx::new(&sources);
    let user = node.get("user").expect("user").key_span;
    let entry = node.get("a").expect("a");
    let read: Option<bool> =
        cx.with_context(Label::new(user, "used by worker-2 here"), |cx| cx.field(entry));
    assert_eq!(read, None);
    let shown = render_text(cx.report(), &sources, false, 80);
    assert!(shown.contains("used by worker-2 here"), "{shown}");
}

#[test]
fn the_schema_is_built_from_the_same_table() {
    let schema = schema_of::<RawRoot>("https://example.net/s.json", "test");
    let disk = &schema["$defs"]["Disk"];
    assert_eq!(disk["additionalProperties"], false);
    assert_eq!(disk["description"], "A disk of a machine.");
    assert_eq!(disk["properties"]["size"]["description"], "Size; grows only.");
    assert_eq!(disk["required"], json!([]));
    assert!(disk["properties"].get("type").is_some() && disk["properties"].get("ssd").is_none());
    assert_eq!(schema["$defs"]["Vm"]["required"], json!(["hypervisor", "cpu"]));
    assert_eq!(RawDisk::FIELDS[1].name, "type");
    assert_eq!(RawDisk::LATER, ["ssd", "discard"]);
}

/// Enough of JSON Schema to judge documents by what this module generates; an independent validator judges elsewhere.
fn accepts(schema: &Json, root: &Json, value: &Json) -> bool {
    let Some(rules) = schema.as_object() else {
        return schema != &Json::Bool(false);
    };
    rules.iter().all(|(rule, wanted)| match (rule.as_str(), wanted) {
        ("$ref", Json::String(path)) => {
            accepts(root.pointer(path.trim_start_matches('#')).expect("a definition"), root, value)
        }
        ("type", Json::String(name)) => match name.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            other => panic!("{other}"),
        },
        ("anyOf", Json::Array(all)) => all.iter().any(|one| accepts(one, root, value)),
        ("allOf", Json::Array(all)) => all.iter().all(|one| accepts(one, root, value)),
        ("enum", Json::Array(all)) => all.contains(value),
        ("minimum", limit) => value.as_f64().is_none_or(|number| Some(number) >= limit.as_f64()),
        ("maximum", limit) => value.as_f64().is_none_or(|number| Some(number) <= limit.as_f64()),
        ("pattern", Json::String(pattern)) => {
            let regex = regex_lite::Regex::new(pattern).expect("a pattern");
            value.as_str().is_none_or(|text| regex.is_match(text))
        }
        ("required", Json::Array(keys)) => {
            keys.iter().all(|key| value.get(key.as_str().expect("a key")).is_some())
        }
        ("items", one) => {
            value.as_array().is_none_or(|items| items.iter().all(|item| accepts(one, root, item)))
        }
        ("properties" | "patternProperties" | "additionalProperties", _) => true,
        ("$schema" | "$id" | "title" | "description" | "$defs", _) => true,
        (other, _) => panic!("{other}"),
    }) && value.as_object().is_none_or(|map| {
        map.iter().all(|(key, value)| {
            let named = rules.get("properties").and_then(|properties| properties.get(key));
            let patterns = rules.get("patternProperties").and_then(Json::as_object);
            let matching = patterns.into_iter().flatten().filter(|(pattern, _)| {
                regex_lite::Regex::new(pattern).expect("a pattern").is_match(key)
            });
            let applying: Vec<&Json> =
                named.into_iter().chain(matching.map(|(_, one)| one)).collect();
            if applying.is_empty() {
                return rules
                    .get("additionalProperties")
                    .is_none_or(|one| accepts(one, root, value));
            }
            applying.into_iter().all(|one| accepts(one, root, value))
        })
    })
}

fn field(
    key: &'static str,
    values: &[&'static str],
) -> impl Strategy<Value = Option<String>> + use<> {
    let values: Vec<&'static str> = values.to_vec();
    prop::option::weighted(
        0.8,
        prop::sample::select(values).prop_map(move |value| format!("{key}: {value}")),
    )
}

fn machine() -> impl Strategy<Value = String> {
    (
        field("hypervisor", &["pve", "pve", "pve", "pve", "Pve", "1"]),
        field("cpu", &["2", "2", "2.0", "2.5", "-1", "'2'", "4294967296", "1e3"]),
        field("firmware", &["bios", "uefi", "secure-boot", "true", "{}"]),
        field(
            "disks",
            &[
                "{}",
                "{ a: {} }",
                "{ a: { size: 4GiB } }",
                "{ a: { size: 4 } }",
                "{ A: {} }",
                "{ a: { ssd: true } }",
                "{ a: { size: '{n}GiB' } }",
                "[]",
                "{ a: ~ }",
                "{ a: { backup: yes } }",
            ],
        ),
        field(
            "dns",
            &["[]", "[10.0.0.1]", "[10.0.0.256]", "['10.0.0.{n}']", "10.0.0.1", "['::1', 7]"],
        ),
        field(
            "password",
            &[
                "env:PW",
                "plain",
                "{ from: secret:x }",
                "{ from: x }",
                "{ from: env:A, version: 0 }",
                "{ version: 1 }",
            ],
        ),
        field("autostart", &["true", "yes", "{ order: 1 }", "{ order: 1000 }", "{}", "1"]),
        prop::option::weighted(0.1, Just("memroy: 1".to_owned())),
    )
        .prop_map(|(a, b, c, d, e, f, g, h)| {
            let fields: Vec<String> = [a, b, c, d, e, f, g, h].into_iter().flatten().collect();
            format!("{{ {} }}", fields.join(", "))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_schema_and_the_reader_give_one_verdict(
        key in prop::sample::select(vec!["web", "'web-{1..2}'", "Web", "web-"]),
        machine in machine(),
    ) {
        let text = format!("project: acme\nvms: {{ {key}: {machine} }}\n");
        let mut sources = SourceMap::new();
        let mut report = Report::new();
        let file = sources.add("a.yaml", text.as_str());
        let document = parse(&text, file, &mut report).expect("a tree").to_json();
        let schema = schema_of::<RawRoot>("x", "x");
        prop_assert_eq!(accepts(&schema, &schema, &document), !run(&text).errors, "{}\n{}", text, run(&text).text);
    }
}
