//! Claims about drift: read off plans made by hand.

use super::*;
use crate::{
    model::{Bytes, Disruption, Note, Place, Targeted},
    report::{
        Options, Style, drift_json, drift_markdown, drift_text,
        fixture::{create, planned, sample},
    },
};

fn change(field: &str, observed: Option<Value>, declared: Option<Value>) -> FieldChange {
    FieldChange {
        field: field.parse().unwrap(),
        before: observed,
        after: declared,
        disruption: Disruption::None,
        place: Some(Place { file: "novahost.yaml".into(), line: 7, column: 3 }),
        pending: false,
    }
}

/// An update of one machine, for this reason.
fn update(name: &str, reason: Reason, fields: Vec<FieldChange>) -> Plan {
    let mut plan = planned(vec![create(name, 1)]);
    let action = &mut plan.body.actions[0];
    action.verb = Verb::Update;
    action.fields = fields;
    plan.envelope.reasons = [(action.id.clone(), reason)].into();
    plan
}

fn drifted() -> Plan {
    let fields = vec![
        change("memory", Some(Value::Size(Bytes::gib(4))), Some(Value::Size(Bytes::gib(2)))),
        change("cpu", Some(Value::Count(7)), Some(Value::Count(2))),
        change("notes", Some("by hand".into()), None),
    ];
    update("web", Reason::Drift, fields)
}

fn of(plan: &Plan) -> Drift {
    Drift::of(plan, &BTreeSet::new())
}

fn page(drift: &Drift) -> String {
    drift_text(drift, &Options::default(), &[], &Style::PLAIN)
}

#[test]
fn each_field_is_told_as_declared_and_as_observed_with_its_unit() {
    let mut drift = of(&drifted());
    drift.differences[0].author = Some(Named {
        who: "root@pam".into(),
        task: "qmconfig".into(),
        at: "2026-11-28T01:02:03Z".into(),
        perhaps: false,
    });
    let text = page(&drift);
    for line in [
        "\n[drift] vm/web on pve-paris",
        "why       drift: changed on the hypervisor, not in the YAML",
        "cpu       declared 2, observed 7",
        "memory    declared 2 GiB, observed 4 GiB",
        "notes     declared (not set), observed by hand",
        "author    root@pam, qmconfig, 2026-11-28 01:02:03 UTC",
        "Differences: 1 drift.",
    ] {
        assert!(text.contains(line), "`{line}` is missing in\n{text}");
    }
    assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 80), "{text}");
    assert_eq!(text.lines().last(), Some("Next: novahost plan"));
    drift.differences[0].author.as_mut().unwrap().perhaps = true;
    assert!(page(&drift).contains("author    perhaps root@pam, qmconfig"));
}

#[test]
fn nothing_is_said_aloud() {
    let mut plan = planned(Vec::new());
    plan.body.unchanged = 1_234;
    plan.envelope.hypervisors.clear();
    let text = page(&of(&plan));
    assert_eq!(text.lines().last(), Some("No drift. 1,234 unchanged."));
}

#[test]
fn a_changed_file_is_not_called_drift_and_has_no_author() {
    let drift = of(&update("web", Reason::ConfigChanged, drifted().body.actions[0].fields.clone()));
    let class = drift.differences[0].class;
    assert_eq!((class.as_str(), class.has_author()), ("config-changed", false));
    assert!(drift.line().starts_with("Differences: 1 config-changed."), "{}", drift.line());
}

#[test]
fn what_the_journal_remembers_is_vanished_and_anything_else_is_new() {
    let plan = planned(vec![create("gone", 1), create("young", 1)]);
    let drift = Drift::of(&plan, &[ResourceKey::vm("gone")].into());
    let classes: Vec<&str> = drift.differences.iter().map(|it| it.class.as_str()).collect();
    assert_eq!(classes, ["vanished", "new"]);
    // The id of a birth is a choice; it belongs to nobody yet.
    assert!(drift.differences.iter().all(|it| it.id.is_none() && it.fields.is_empty()));
    assert!(drift.differences[0].class.has_author() && !drift.differences[1].class.has_author());
    assert!(page(&drift).contains("object    declared, not observed"));
}

#[test]
fn every_object_of_a_plan_is_told_once() {
    let plan = sample();
    let drift = of(&plan);
    let told: Vec<_> = drift.differences.iter().map(|it| (&it.address, &it.hypervisor)).collect();
    let once: BTreeSet<_> = told.iter().collect();
    assert_eq!(told.len(), once.len());
    let actions = plan.body.actions.iter().map(|it| &it.key);
    for key in actions.chain(plan.body.blocked.iter().map(|it| &it.key)) {
        assert!(told.iter().any(|(address, _)| *address == key), "{key} is not told");
    }
    assert_eq!(drift.classes.values().sum::<usize>(), told.len());
}

#[test]
fn what_stands_in_the_way_is_a_class_of_its_own() {
    let plan = sample();
    let drift = of(&plan);
    let blocked = &plan.body.blocked[0];
    let it = drift.differences.iter().find(|it| it.address == blocked.key).unwrap();
    assert_eq!(it.class, Class::Code(blocked.code));
    assert_eq!((&it.why, it.help.as_ref()), (&blocked.message, Some(&blocked.help)));
    assert!(Class::Code(Code::LostMarker).has_author() && !Class::Code(Code::IdTaken).has_author());
}

#[test]
fn a_target_leaves_out_the_rest() {
    let mut plan = planned(vec![create("a", 1), create("b", 1)]);
    let id = plan.body.actions[0].id.clone();
    plan.envelope.targeted = Some(Targeted {
        targets: vec!["vm/a".into()],
        added: Vec::new(),
        chosen: [id].into(),
        left_out: 1,
    });
    let drift = of(&plan);
    assert_eq!(drift.differences.len(), 1);
    let text = drift_text(&drift, &Options::default(), &["vm/a".into()], &Style::PLAIN);
    assert!(text.ends_with("Next: novahost plan --target vm/a\n"), "{text}");
}

#[test]
fn the_document_has_stable_names_and_sizes_in_words() {
    let mut plan = drifted();
    plan.envelope.notes.push(Note { key: Some(ResourceKey::vm("x")), text: "odd".into() });
    let json: serde_json::Value = serde_json::from_str(&drift_json(&of(&plan))).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["classes"]["drift"], 1);
    assert_eq!(json["notes"][0], "vm/x: odd");
    let it = &json["differences"][0];
    assert_eq!((&it["address"], &it["class"]), (&"vm/web".into(), &"drift".into()));
    assert_eq!((&it["declared"], &it["observed"]), (&true.into(), &true.into()));
    assert!(it["author"].is_null());
    let field = it["fields"].as_array().unwrap().iter().find(|it| it["field"] == "memory").unwrap();
    assert_eq!((&field["declared"], &field["observed"]), (&"2 GiB".into(), &"4 GiB".into()));
    assert_eq!((&field["place"], &field["pending"]), (&"novahost.yaml:7".into(), &false.into()));
    let notes = it["fields"].as_array().unwrap().iter().find(|it| it["field"] == "notes").unwrap();
    assert!(notes["declared"].is_null());
}

#[test]
fn hostile_words_are_harmless_on_every_page() {
    let mut plan = drifted();
    plan.body.actions[0].fields.push(change(
        "name",
        Some("\u{1b}[31mx\u{202e}</pre>@team\n::error::y".into()),
        Some("web".into()),
    ));
    let mut drift = of(&plan);
    drift.differences[0].author = Some(Named {
        who: "evil\u{1b}]0;|**@team".into(),
        task: "\n::warning::".into(),
        at: "1".into(),
        perhaps: false,
    });
    let markdown = drift_markdown(&drift, &Options::default(), &[]);
    for text in [page(&drift), markdown.clone(), drift_json(&drift)] {
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(text.lines().all(|it| !it.trim_start().starts_with("::")), "{text}");
    }
    assert_eq!(markdown.matches("</pre>").count(), 1);
    assert!(!markdown.contains("@team"), "{markdown}");
}

#[test]
fn thousands_still_fit_a_screen_and_a_comment() {
    let drift = of(&planned((0..5_000).map(|n| create(&format!("m-{n:05}"), 1)).collect()));
    assert!(page(&drift).contains("4,900 more objects; --format json shows all"));
    let comment = drift_markdown(&drift, &Options::default(), &[]);
    assert!(comment.chars().count() < 65_536, "{}", comment.len());
    assert!(comment.contains("and 4,950 more."));
}
