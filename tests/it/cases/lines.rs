//! A plan in lines, which is what cases compare, and what of it has to be the same on
//! every product.

use super::{On, lab::Look};
use novahost::model::Plan;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// A plan in lines: what is compared.
pub fn lines(look: &Look, on: On) -> String {
    let plan: &Plan = &look.made.plan;
    let mut text = String::new();
    for refusal in &plan.envelope.refusals {
        let _ = writeln!(text, "refused: {}: {}", refusal.code, refusal.objects.join(", "));
    }
    for action in &plan.body.actions {
        let id = action.native_id.as_ref().map_or("?", |id| on.shown_id(id.as_str()));
        let _ = write!(text, "{} {id}@{}", action.id, action.hypervisor);
        if !action.classes.is_empty() {
            let classes: Vec<&str> = action.classes.iter().map(|it| it.as_str()).collect();
            let _ = write!(text, " [{}]", classes.join(", "));
        }
        if let Some(waiting) = plan.envelope.waiting.get(&action.id) {
            let _ = write!(text, " waits: {} ({})", waiting.code, waiting.unlock);
        }
        text.push('\n');
        for edge in plan.body.edges.iter().filter(|it| it.after == action.id) {
            let _ = writeln!(text, "  after {} ({})", edge.before, reason(edge.reason));
        }
        for field in &action.fields {
            let shown = |value: &Option<novahost::model::Value>| {
                value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
            };
            let pending = if field.pending { " pending" } else { "" };
            let cost = if field.disruption == novahost::model::Disruption::None {
                String::new()
            } else {
                format!(" ({})", field.disruption)
            };
            let (before, after) = (shown(&field.before), shown(&field.after));
            let _ = writeln!(text, "  {}: {before} → {after}{cost}{pending}", field.field);
        }
        for volume in &action.data_loss.volumes {
            let size = volume.size.map_or_else(String::new, |it| format!(", {it}"));
            let _ = writeln!(text, "  loses {} ({}{size})", volume.volume, volume.label);
        }
    }
    for blocked in &plan.body.blocked {
        let verb = blocked.verb.map_or_else(String::new, |it| format!(" {it}"));
        let _ = writeln!(
            text,
            "blocked {}@{}{verb}: {}",
            blocked.key, blocked.hypervisor, blocked.code
        );
    }
    if text.is_empty() { "nothing\n".to_owned() } else { text }
}

fn reason(reason: novahost::model::EdgeReason) -> String {
    serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned()
}

/// What of a plan has to be the same wherever it is made: what is done to whom, from which
/// value to which. Prices, the grouping by price, native ids and names, volumes and digests
/// are a product's own.
pub fn essence(plan: &str) -> BTreeSet<String> {
    let mut done: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut found = BTreeSet::new();
    let mut action = String::new();
    for line in plan.lines() {
        if let Some(rest) = line.strip_prefix("  ") {
            if let Some(field) = field(rest) {
                done.entry(action.clone()).or_default().insert(field);
            }
        } else if line.starts_with("blocked ") || line.starts_with("refused: ") {
            found.insert(line.to_owned());
        } else if let Some((key, verb)) = line.split(' ').next().and_then(|it| it.rsplit_once(':'))
        {
            // What is restarted for a change is as much changed as what is not.
            action = format!("{key} {}", verb.split('.').next().unwrap_or_default());
            done.entry(action.clone()).or_default();
        }
    }
    for (action, fields) in done {
        found.insert(format!("{action}: {}", fields.into_iter().collect::<Vec<_>>().join("; ")));
    }
    found
}

/// `memory: 1 GiB → 2 GiB`, without its price; none for what is no field.
fn field(line: &str) -> Option<String> {
    let (name, values) = line.split_once(": ").filter(|(_, values)| values.contains('→'))?;
    let values = values.trim_end_matches(" pending");
    let values = match values.rsplit_once(" (") {
        Some((values, price)) if price.ends_with(')') => values,
        Some(_) | None => values,
    };
    let is_device = name.starts_with("disk.") || name.starts_with("nic.");
    let whole = is_device && name.matches('.').count() == 1;
    let native = name.ends_with(".network") || name.ends_with(".storage");
    if !native && !whole && !["init", "cdrom"].contains(&name) {
        return Some(format!("{name}: {values}"));
    }
    let (before, after) = values.split_once(" → ")?;
    let mask = |value| if ["-", "none"].contains(&value) { value } else { "~" };
    Some(format!("{name}: {} → {}", mask(before), mask(after)))
}

#[test]
fn the_essence_is_free_of_products() {
    let one = "vm/a:update.restart 20173@pve [restart] waits: consent (x)\n  memory: 1 GiB → 2 GiB (restart)\n  nic.eth0.network: vmbr0 → vmbr1\n";
    let other = "vm/a:update.online vm@pve\n  memory: 1 GiB → 2 GiB (online)\n  nic.eth0.network: VM Network → back\n";
    assert_eq!(essence(one), essence(other));
    assert_ne!(essence(one), essence(&other.replace("2 GiB", "3 GiB")));
    assert_ne!(essence(one), essence(&other.replace("back", "-")));
}
