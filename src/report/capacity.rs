//! Capacity as text: what there is, what is taken, and what is left before and after the
//! plan. A number that fits no column would be worse than a line more: a long name stands
//! on a line of its own.

use super::{
    Style,
    layout::{Canvas, Paint, Piece},
};
use crate::{
    capacity::{NodeRoom, NodeState, Room, Share, StorageRoom},
    model::Bytes,
};

/// Columns of a name beside its numbers; a longer one gets a line for itself.
const NAME: usize = 18;
/// Columns of what is counted: `memory GiB`.
const WHAT: usize = 10;
/// Columns of a number with the gap before it: seven of them fit 80 with the two above.
const NUMBER: usize = 7;

/// All hypervisors for people.
pub fn capacity_text(rooms: &[Room], style: &Style) -> String {
    let mut canvas = Canvas::new(style);
    for (index, room) in rooms.iter().enumerate() {
        if index > 0 {
            canvas.blank();
        }
        let head = match room.version.as_str() {
            "" => room.hypervisor.to_string(),
            version => format!("{} ({version})", room.hypervisor),
        };
        let head = canvas.data(&head).into_owned();
        canvas.words(0, &[Piece::new(Paint::Bold, head)]);
        nodes(&mut canvas, &room.nodes);
        storages(&mut canvas, &room.storages);
        for note in &room.notes {
            let note = canvas.data(note).into_owned();
            canvas.row(2, "note:", 5, &[Piece::plain(note)]);
        }
    }
    if rooms.is_empty() {
        canvas.words(0, &[Piece::plain("No hypervisor is configured.")]);
    } else {
        canvas.blank();
        canvas.words(0, &[Piece::plain(LEGEND)]);
    }
    canvas.finish()
}

const LEGEND: &str = "LIMIT: what the policy gives away. OFF: machines that are off, not counted. \
                      FREE: now. AFTER: free once the plan is carried out, whatever of it \
                      waits; a new disk counts with its whole size. CLAIM: what thin disks may \
                      still come to take.";

fn line(canvas: &mut Canvas, paint: Paint, name: &str, what: &str, cells: &[String]) {
    let mut text = format!("{what:<WHAT$}");
    for cell in cells {
        text.push_str(&format!(" {cell:>width$}", width = NUMBER - 1));
    }
    let name = canvas.data(name).into_owned();
    let mut lead = name;
    if lead.chars().count() > NAME {
        canvas.verbatim(2, "", &lead, Paint::Plain);
        lead = String::new();
    }
    canvas.verbatim(2, &format!("{lead:<NAME$} "), &text, paint);
}

fn heads(names: [&str; 7]) -> Vec<String> {
    names.into_iter().filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn nodes(canvas: &mut Canvas, rows: &[NodeRoom]) {
    if rows.is_empty() {
        return;
    }
    let head = heads(["TOTAL", "LIMIT", "OURS", "OTHERS", "OFF", "FREE", "AFTER"]);
    line(canvas, Paint::Dim, "NODE", "", &head);
    for row in rows {
        let cells = |it: &Share, shown: fn(i128) -> String| -> Vec<String> {
            let known = [it.total, it.limit, it.ours, it.others, it.off].map(i128::from);
            let free = [it.free, it.free_after].map(i128::from);
            known.into_iter().chain(free).map(shown).collect()
        };
        let paint = |it: &Share| if it.free_after < 0 { Paint::Danger } else { Paint::Plain };
        let cpu = cells(&row.cpu, |count| count.to_string());
        line(canvas, paint(&row.cpu), row.node.as_str(), "cpu", &cpu);
        let memory = cells(&row.memory_bytes, gib);
        let state = match row.state {
            NodeState::Online => "",
            NodeState::Offline | NodeState::Maintenance | NodeState::NotAllowed => {
                row.state.as_str()
            }
        };
        line(canvas, paint(&row.memory_bytes), state, "memory GiB", &memory);
    }
}

fn storages(canvas: &mut Canvas, rows: &[StorageRoom]) {
    if rows.is_empty() {
        return;
    }
    let head = heads(["TOTAL", "USED", "CLAIM", "FREE", "PLAN", "AFTER", ""]);
    line(canvas, Paint::Dim, "STORAGE", "", &head);
    for row in rows {
        let number = |bytes: u64| gib(bytes.into());
        let cells = [
            number(row.total_bytes),
            number(row.used_bytes),
            row.promised_bytes.map_or_else(|| "-".to_owned(), number),
            gib(row.free_bytes.into()),
            number(row.planned_bytes),
            gib(row.free_after_bytes.into()),
        ];
        let name = match &row.node {
            Some(node) => format!("{} on {node}", row.storage),
            None => row.storage.to_string(),
        };
        let what = if row.active { "disk GiB" } else { "inactive" };
        let paint = if row.free_after_bytes < 0 { Paint::Danger } else { Paint::Plain };
        line(canvas, paint, &name, what, &cells);
    }
}

/// Bytes as GiB with at most one digit behind the point. What is left is rounded down, so
/// that nothing is promised that is not there.
fn gib(bytes: i128) -> String {
    let tenths = (bytes * 10).div_euclid(i128::from(Bytes::GIB));
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.abs();
    match tenths % 10 {
        0 => format!("{sign}{}", tenths / 10),
        rest => format!("{sign}{}.{rest}", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_rounded_down() {
        let gibs = |tenths: i128| (tenths * i128::from(Bytes::GIB) + 9) / 10;
        assert_eq!(gib(gibs(576)), "57.6");
        assert_eq!(gib(gibs(640)), "64");
        assert_eq!(gib(gibs(640) - 1), "63.9");
        assert_eq!(gib(-1), "-0.1");
        assert_eq!(gib(0), "0");
    }

    #[test]
    fn a_page_fits_80_columns_with_long_names_and_large_numbers() {
        let many = 999_999 * Bytes::GIB;
        let share = Share {
            total: many,
            limit: many,
            ours: many,
            others: many,
            off: many,
            free: -1,
            free_after: -5 * (1 << 30),
        };
        let room = Room {
            hypervisor: "pve-paris".into(),
            version: "Proxmox VE 9.2".into(),
            nodes: vec![NodeRoom {
                node: "a-host-with-a-name-that-is-as-long-as-names-may-be.example.net".into(),
                state: NodeState::Maintenance,
                machines: 1,
                cpu: Share { total: 8, limit: 32, ..Share::default() },
                memory_bytes: share,
            }],
            storages: vec![StorageRoom {
                storage: "ceph".into(),
                node: None,
                active: true,
                total_bytes: many,
                used_bytes: 0,
                promised_bytes: None,
                free_bytes: 0,
                planned_bytes: 0,
                free_after_bytes: 0,
            }],
            notes: vec![
                "what was not read is not counted: ".to_owned() + &"node pve3; ".repeat(20),
            ],
        };
        let text = capacity_text(&[room], &Style::PLAIN);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for word in ["maintenance", "999999", "-5", "note:", "ceph"] {
            assert!(text.contains(word), "no `{word}`:\n{text}");
        }
    }
}
