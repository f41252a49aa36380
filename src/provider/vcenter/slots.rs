//! How the places of devices are spelt: `scsi0:1` is unit 1 of the first SCSI controller,
//! `nic-4000` the card with that device key.
//!
//! The server assigns the key of a card that is added, so such a card has a handle
//! instead that is known before: `mac-00:50:56:aa:bb:cc`. It keeps it for good.

use crate::model::{Bus, MacAddress, Slot};
use std::fmt;

/// The unit of a SCSI controller that is the controller itself.
const SCSI_OWN_UNIT: u8 = 7;

/// A kind of controller, in the order in which firmware looks at them. There is one more
/// than novahost puts disks on: what hangs on it is read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scsi,
    Nvme,
    Sata,
    Ide,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Scsi, Self::Nvme, Self::Sata, Self::Ide];

    fn of(bus: Bus) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.bus() == Some(bus))
    }

    fn bus(self) -> Option<Bus> {
        match self {
            Self::Scsi => Some(Bus::Scsi),
            Self::Nvme => None,
            Self::Sata => Some(Bus::Sata),
            Self::Ide => Some(Bus::Ide),
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        self.bus().map_or("nvme", Bus::as_str)
    }
}

/// Where a disk or a CD drive sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    /// Which controller of that kind.
    pub(super) controller: u8,
    pub(super) unit: u8,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.kind.as_str(), self.controller, self.unit)
    }
}

/// Controllers of a bus, and units of each.
fn extent(bus: Bus) -> (u8, u8) {
    match bus {
        Bus::Scsi => (4, 16),
        Bus::Sata => (1, 30),
        Bus::Ide => (2, 2),
        Bus::Virtio => (0, 0),
    }
}

/// All places of a bus, in order.
pub(super) fn places(bus: Bus) -> impl Iterator<Item = Place> {
    let (controllers, units) = extent(bus);
    let all = move |kind| {
        (0..controllers).flat_map(move |controller| {
            (0..units).map(move |unit| Place { kind, controller, unit })
        })
    };
    let own = |place: &Place| place.kind == Kind::Scsi && place.unit == SCSI_OWN_UNIT;
    Kind::of(bus).into_iter().flat_map(all).filter(move |place| !own(place))
}

/// The place of a slot.
pub(super) fn place(slot: &str) -> Option<Place> {
    let (at, unit) = slot.split_once(':')?;
    let of = |kind: Kind| Some((kind, at.strip_prefix(kind.as_str())?));
    let (kind, controller) = Kind::ALL.into_iter().find_map(of)?;
    let place = Place { kind, controller: controller.parse().ok()?, unit: unit.parse().ok()? };
    // One spelling each: `scsi00:1` is none.
    (place.to_string() == slot).then_some(place)
}

pub(super) fn bus_of(slot: &str) -> Option<Bus> {
    place(slot)?.kind.bus()
}

/// The place that a written number means: the unit on the first controller, and on IDE
/// the number counted over both.
pub(super) fn wish(bus: Bus, number: u8) -> Option<Place> {
    let (_, units) = extent(bus);
    let wished = match bus {
        Bus::Ide => (number / units, number % units),
        Bus::Scsi | Bus::Sata | Bus::Virtio => (0, number),
    };
    places(bus).find(|place| (place.controller, place.unit) == wished)
}

/// The slot of a card that is added with this address.
pub(super) fn handle(mac: MacAddress) -> Slot {
    Slot::from(format!("mac-{mac}").to_ascii_lowercase())
}

/// The address in the handle of a card that was added.
pub(super) fn handle_mac(slot: &str) -> Option<MacAddress> {
    slot.strip_prefix("mac-")?.parse().ok()
}

/// What slots are ordered by, numbers as numbers: device keys count up as cards were added
/// by the server, cards with handles came later.
pub(super) fn order(slot: &str) -> (u8, i64, i64) {
    if let Some(Place { kind, controller, unit }) = place(slot) {
        return (kind as u8, controller.into(), unit.into());
    }
    match slot.strip_prefix("nic-").and_then(|key| key.parse().ok()) {
        Some(key) => (u8::MAX - 1, key, 0),
        None => (u8::MAX, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_reads_back_and_unit_seven_is_none() {
        let counts = [(Bus::Scsi, 60), (Bus::Sata, 30), (Bus::Ide, 4), (Bus::Virtio, 0)];
        for (bus, count) in counts {
            let all: Vec<Place> = places(bus).collect();
            assert_eq!(all.len(), count);
            assert!(all.iter().all(|it| place(&it.to_string()) == Some(*it)));
        }
        assert_eq!(place("nvme0:3").map(|it| (it.kind, it.unit)), Some((Kind::Nvme, 3)));
        assert_eq!(bus_of("nvme0:3"), None);
        for text in ["scsi00:1", "scsi0", "nic-4000", "floppy0:0", "", "scsi:1", "virtio0:0"] {
            assert_eq!(place(text), None, "{text}");
        }
        assert_eq!(wish(Bus::Scsi, 7), None);
        assert_eq!(wish(Bus::Ide, 3).unwrap().to_string(), "ide1:1");
        assert_eq!(wish(Bus::Ide, 4), None);
    }

    #[test]
    fn a_handle_is_the_address_in_lower_case() {
        let mac: MacAddress = "00:50:56:0A:0B:0C".parse().unwrap();
        assert_eq!(handle(mac).as_str(), "mac-00:50:56:0a:0b:0c");
        assert_eq!(handle_mac("mac-00:50:56:0a:0b:0c"), Some(mac));
        assert!(order("nic-4001") < order("mac-00:50:56:0a:0b:0c"));
        assert!(order("nic-999") < order("nic-4000"));
    }

    #[test]
    fn slots_are_ordered_as_numbers() {
        let mut slots =
            ["nic-4000", "ide0:0", "nvme0:0", "scsi1:0", "scsi0:10", "scsi0:2", "sata0:0"];
        slots.sort_by_key(|slot| order(slot));
        let sorted = ["scsi0:2", "scsi0:10", "scsi1:0", "nvme0:0", "sata0:0", "ide0:0", "nic-4000"];
        assert_eq!(slots, sorted);
    }
}
