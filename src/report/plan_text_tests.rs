use super::*;
use crate::report::fixture::{create, planned, refusal, sample, update};

fn shown(plan: &Plan, style: &Style) -> String {
    let options = Options { subject: Some("novahost.yaml".into()), ..Options::default() };
    plan_text(plan, &plan.envelope, &options, style)
}

/// Compares with a file that is read in review; `NOVAHOST_GOLDEN=write` writes it anew.
fn golden(name: &str, text: &str) {
    let path = format!("{}/fixtures/report/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("NOVAHOST_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{path} differs");
}

#[test]
fn one_of_everything_reads_well_in_ascii() {
    golden("everything-ascii", &shown(&sample(), &Style::PLAIN));
}

#[test]
fn one_of_everything_reads_well_in_unicode() {
    golden("everything-unicode", &shown(&sample(), &Style { unicode: true, ..Style::PLAIN }));
}

#[test]
fn steps_are_listed_when_asked_for() {
    let plan = sample();
    let options = Options { steps: true, ..Options::default() };
    golden("steps", &plan_text(&plan, &plan.envelope, &options, &Style::PLAIN));
}

#[test]
fn a_refusal_comes_before_all_actions() {
    let mut plan = sample();
    plan.envelope.refusals.push(refusal());
    golden("refused", &shown(&plan, &Style::PLAIN));
}

#[test]
fn an_empty_plan_says_so() {
    golden("empty", &shown(&planned(Vec::new()), &Style::PLAIN));
}

#[test]
fn a_crowd_is_summed_up() {
    let mut actions: Vec<_> = (0..200).map(|n| create(&format!("web-{n:03}"), 4)).collect();
    for (number, action) in actions.iter_mut().enumerate() {
        action.fields[5].after = Some(format!("10.20.0.{number}/24").as_str().into());
    }
    actions.push(update("db-1"));
    golden("crowd", &shown(&planned(actions), &Style::PLAIN));
}

#[test]
fn every_line_fits_at_every_width() {
    let mut plan = sample();
    plan.envelope.refusals.push(refusal());
    for width in [40, 60, 80, 120] {
        for unicode in [false, true] {
            let subject = Some("novahost.yaml".into());
            let options = Options { steps: true, subject, ..Options::default() };
            let text =
                plan_text(&plan, &plan.envelope, &options, &Style { color: false, unicode, width });
            for line in text.lines() {
                assert!(width_of(line) <= width, "{width}: {line}");
                assert_eq!(line.trim_end(), line, "trailing blanks");
            }
            assert!(unicode || text.is_ascii());
        }
    }
}

#[test]
fn a_version_that_fills_the_line_cuts_no_word_after_it() {
    let mut plan = sample();
    for read in plan.envelope.hypervisors.values_mut() {
        read.version = "a product whose name and version fill most of a line 8".to_owned();
    }
    let text = shown(&plan, &Style { width: 80, ..Style::PLAIN });
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.contains(&"complete") && words.contains(&"guests,"), "{text}");
}

#[test]
fn colours_add_nothing_but_colours() {
    let plain = shown(&sample(), &Style::PLAIN);
    let coloured = shown(&sample(), &Style { color: true, ..Style::PLAIN });
    let mut stripped = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        stripped.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').unwrap().1;
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn text_of_a_hypervisor_cannot_act() {
    let evil = "\u{1b}]0;x\u{7}\r\n::error file=a::b \u{202e}##[error]c\u{9b}31m";
    let mut plan = sample();
    plan.envelope.notes[0].key = None;
    plan.envelope.notes[0].text = evil.into();
    plan.envelope.notes.push(crate::model::Note { key: None, text: "::error::x".into() });
    plan.envelope.hypervisors.get_mut("pve-paris").unwrap().version = evil.into();
    plan.body.blocked[0].message = evil.into();
    let action = &mut plan.body.actions[2];
    action.fields[3].before = Some(evil.into());
    action.node = Some(evil.into());
    for unicode in [false, true] {
        let text = shown(&plan, &Style { unicode, ..Style::PLAIN });
        assert!(!text.chars().any(|c| c != '\n' && crate::model::is_active(c)), "{text}");
        assert!(text.lines().all(|line| !line.trim_start().starts_with("::")), "{text}");
        assert!(!text.contains("##["), "{text}");
    }
}

#[test]
fn what_a_person_must_agree_to_is_shown_before_what_is_harmless_is_cut() {
    // Each has its own size, so none can be grouped.
    let mut actions: Vec<_> = (0..300).map(|n| update(&format!("m-{n:03}"))).collect();
    for (number, action) in actions.iter_mut().enumerate() {
        action.fields.truncate(2);
        action.fields[1].after = Some(crate::model::Value::Count(number as u64));
        if number < 280 {
            action.classes = [crate::model::Disruption::Online].into();
        }
    }
    let text = shown(&planned(actions), &Style::PLAIN);
    assert!((280..300).all(|number| text.contains(&format!("vm/m-{number:03} RESTART"))));
    assert!(text.contains("... and 260 more to update; --format json shows all"));
}

#[test]
fn a_plan_of_ten_thousand_is_a_page() {
    let actions = (0..10_000).map(|n| create(&format!("web-{n:05}"), 4)).collect();
    let text = shown(&planned(actions), &Style::PLAIN);
    assert!(text.lines().count() < 40, "{text}");
    assert!(text.contains("+ create 10,000 machines like vm/web-00000"));
}

#[test]
fn ten_thousand_links_of_a_chain_do_not_fill_the_screen() {
    let actions: Vec<_> = (0..10_000).map(|n| create(&format!("web-{n:05}"), 4)).collect();
    let mut plan = planned(actions);
    plan.envelope.waves = plan.envelope.waves[0].iter().map(|id| vec![id.clone()]).collect();
    let text = shown(&plan, &Style::PLAIN);
    assert!(text.lines().count() < 500, "{}", text.lines().count());
    assert!(text.contains("... and 9,980 more to create"));
}

#[test]
fn a_crowd_of_blocked_objects_is_shown_by_cause() {
    let mut plan = sample();
    let one = plan.body.blocked[0].clone();
    plan.body.blocked = (0..5_000)
        .map(|n| Blocked { key: crate::model::ResourceKey::vm(format!("m-{n}")), ..one.clone() })
        .collect();
    let text = shown(&plan, &Style::PLAIN);
    assert!(text.contains("5,000 objects like vm/m-0"), "{text}");
    assert!(text.contains("and 4,990 more"));
}

#[test]
fn the_last_line_is_the_next_command() {
    let text = shown(&sample(), &Style::PLAIN);
    let last = text.lines().last().unwrap();
    assert_eq!(last, "Next: novahost apply novahost.yaml --allow restart=vm/web-1");
}
