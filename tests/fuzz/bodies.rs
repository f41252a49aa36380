//! What must hold for any bytes. Used by the fuzz targets beside this file, and by `tests/it/fuzz.rs`, which tries
//! the corpus and random changes of it with every `cargo test`. No body asks the time or the disk.

use novahost::{
    config::{self, diagnostic},
    model::{MarkerState, is_active, plan_id},
    ownership, provider, report,
};
use std::collections::BTreeMap;

/// A plan document that is what it says.
pub const PLAN: &str = include_str!("../../fixtures/hostile/plans/whole.json");

/// YAML is read to its end or refused with a place; nothing of it acts on a screen.
pub fn yaml(bytes: &[u8]) {
    // Bytes that are no text are refused before the parser; the corpus on disk has those.
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let files = BTreeMap::from([("it.yaml".to_owned(), text.to_owned())]);
    let loaded = config::load_str(&files, "it.yaml");
    assert!(loaded.desired.is_some() || loaded.report.has_errors(), "refused without a word");
    let shown = diagnostic::render_text(&loaded.report, &loaded.sources, false, 80);
    assert!(!shown.chars().any(|it| it != '\n' && is_active(it)), "{shown:?}");
    for problem in loaded.report.iter() {
        let line = diagnostic::one_line(problem, &loaded.sources);
        assert!(line.starts_with("it.yaml:"), "{line}");
    }
}

/// A reply of a hypervisor is read or it is not.
pub fn reply(bytes: &[u8]) {
    let kinds = provider::proxmox::reply::read_as_any(bytes);
    // Nothing can be every kind at once: an object is no list.
    assert!(kinds < 20, "{kinds}");
}

/// A plan that is taken is the one that its id stands for, and reads back as itself.
pub fn plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(plan) = report::parse_plan(text) else { return };
    assert_eq!(plan.plan_id, plan_id(&plan.body));
    let again = report::parse_plan(&report::plan_json(&plan));
    assert!(again.is_ok_and(|again| again == plan), "it does not read back as itself");
    if let Ok(known) = report::parse_plan(PLAN)
        && known.plan_id == plan.plan_id
    {
        assert!(known.body == plan.body, "a changed body kept its id");
    }
}

/// What is read as a marker is what we would print, and is taken out of the notes whole.
pub fn marker(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (notes, state) = ownership::split_notes(text);
    assert_eq!(ownership::split_notes(&notes).1, MarkerState::None, "a marker stayed in the notes");
    let MarkerState::Found(marker) = state else { return };
    let printed = ownership::render(&marker);
    assert_eq!(ownership::parse(&printed), MarkerState::Found(marker));
    assert!(!printed.chars().any(|it| it != '\n' && is_active(it)), "{printed:?}");
}
