//! How the places of devices are spelt: `scsi0:1` is unit 1 of the first SCSI controller,
//! `nic-4000` the card with that device key.
//!
//! The server assigns the key of a card that is added, so such a card has a handle
//! instead that is known before: `mac-00:50:56:aa:bb:cc`. It keeps it for good.

use crate::model::{Bus, MacAddress, Slot};
use std::fmt;

/// The unit of a SCSI controller that is the controller itself.
const SCSI_OWN_UNIT: u8 = 7;

/// Where a disk or a CD drive sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bus: Bus,
    /// Which controller of that bus.
    pub(super) controller: u8,
    pub(super) unit: u8,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.bus.as_str(), self.controller, self.unit)
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
    (0..controllers)
        .flat_map(move |controller| (0..units).map(move |unit| Place { bus, controller, unit }))
        .filter(|place| !(place.bus == Bus::Scsi && place.unit == SCSI_OWN_UNIT))
}

/// The place of a slot.
pub(super) fn place(slot: &str) -> Option<Place> {
    let (at, unit) = slot.split_once(':')?;
    let bus = [Bus::Scsi, Bus::Sata, Bus::Ide]
        .into_iter()
        .find(|bus| at.strip_prefix(bus.as_str()).is_some())?;
    let controller = at.strip_prefix(bus.as_str())?.parse().ok()?;
    let place = Place { bus, controller, unit: unit.parse().ok()? };
    // One spelling each: `scsi00:1` is none.
    (place.to_string() == slot).then_some(place)
}

pub(super) fn bus_of(slot: &str) -> Option<Bus> {
    place(slot).map(|place| place.bus)
}

/// The place that a written number means: the unit on the first controller, and on IDE
/// the number counted over both.
pub(super) fn wish(bus: Bus, number: u8) -> Option<Place> {
    let (_, units) = extent(bus);
    let wished = match bus {
        Bus::Ide => Place { bus, controller: number / units, unit: number % units },
        Bus::Scsi | Bus::Sata | Bus::Virtio => Place { bus, controller: 0, unit: number },
    };
    places(bus).find(|place| *place == wished)
}

/// The slot of a card that is added with this address.
pub(super) fn handle(mac: MacAddress) -> Slot {
    Slot::from(format!("mac-{mac}").to_ascii_lowercase())
}

/// The address in the handle of a card that was added.
pub(super) fn handle_mac(slot: &str) -> Option<MacAddress> {
    slot.strip_prefix("mac-")?.parse().ok()
}

/// What slots are ordered by: device keys count up as cards were added by the server,
/// cards with handles came later.
pub(super) fn order(slot: &str) -> (u8, u32, u32) {
    if let Some(Place { bus, controller, unit }) = place(slot) {
        return (bus as u8, controller.into(), unit.into());
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
        assert_eq!(place("scsi00:1"), None);
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
}
