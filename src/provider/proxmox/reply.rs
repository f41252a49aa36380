//! Any bytes, taken for any reply: what a server could send that is broken or hostile.
//!
//! Pure; the road of a reply up to the model, without the connection. It is what fuzzers
//! and property tests walk.

use super::{
    client, look,
    observe::newcomer,
    property, translate, upid,
    wire::{self, Failure, Text},
};
use serde::de::DeserializeOwned;

/// Reads the bytes as each kind of reply and takes what can be read into the model. Says
/// as how many kinds they could be read.
pub fn read_as_any(bytes: &[u8]) -> usize {
    let mut kinds = 0;
    // Words of a refusal are read from whatever its body holds.
    let words = client::failure_text(bytes, "reason");
    kinds += usize::from(serde_json::from_slice::<Failure>(bytes).is_ok() && !words.is_empty());
    kinds += rows(bytes);
    kinds += guest(bytes);
    kinds += texts(bytes);
    kinds
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    client::decode(bytes).ok()
}

fn rows(bytes: &[u8]) -> usize {
    let status: Option<Vec<wire::StatusRow>> = read(bytes);
    let quorate = status.as_deref().map(look::quorate);
    let plain = [
        read::<Vec<wire::NodeRow>>(bytes).is_some(),
        read::<Vec<wire::Resource>>(bytes).is_some(),
        read::<Vec<wire::AclRow>>(bytes).is_some(),
        read::<Vec<wire::Certificate>>(bytes).is_some(),
        read::<Vec<wire::Interface>>(bytes).is_some(),
        read::<Vec<wire::Volume>>(bytes).is_some(),
        read::<Vec<wire::LogLine>>(bytes).is_some(),
        read::<wire::Permissions>(bytes).is_some(),
        read::<wire::User>(bytes).is_some(),
        read::<wire::Version>(bytes).is_some(),
        read::<wire::Ticket>(bytes).is_some(),
        read::<wire::TaskStatus>(bytes).is_some(),
        quorate.is_some(),
    ];
    plain.into_iter().filter(|fine| *fine).count()
}

fn guest(bytes: &[u8]) -> usize {
    let mut row = newcomer(100, &"pve1".into());
    let mut kinds = 0;
    if let Some(live) = read::<wire::LiveGuest>(bytes) {
        look::freshen(&mut row, live);
        kinds += 1;
    }
    let _ = translate::listed(None, &row);
    if let Some(rows) = read::<Vec<wire::PendingRow>>(bytes) {
        let config = translate::raw_config(rows.into_iter().map(Into::into));
        let _ = look::fresh_machine(Some(&"shop".into()), &row, config);
        kinds += 1;
    }
    if let Some(pools) = read::<Vec<wire::Pool>>(bytes) {
        let _: Vec<_> = pools.iter().map(look::observed_pool).collect();
        kinds += 1;
    }
    if let Some(tasks) = read::<Vec<wire::TaskRow>>(bytes) {
        let _: Vec<_> = tasks.iter().map(|it| upid::Upid::parse(&it.upid)).collect();
        kinds += 1;
    }
    kinds
}

/// The little languages inside of a text.
fn texts(bytes: &[u8]) -> usize {
    let Some(Text(text)) = read(bytes) else { return 0 };
    let _ = upid::Upid::parse(&text);
    let _ = property::parse_size(&text);
    let _ = property::parse_boot(&text);
    let _ = property::parse_startup(&text);
    let _ = property::merge_startup(&text, Some(1), None);
    let _ = property::parse_ipconfig(&text);
    let _ = property::decode_ssh_keys(&text);
    let _ = property::split_slot(&text);
    let _ = property::storage_of(&text);
    let _ = property::net_card(&property::Property::lenient(&text));
    let _ = translate::split_comment(&text);
    1
}
