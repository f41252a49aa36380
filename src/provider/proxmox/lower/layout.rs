//! Which slot each named device of a machine sits in, as this product spells slots:
//! everything new gets the first free one.

use crate::{
    model::{
        BootDevice, Bus, DeviceKind, DeviceMap, DeviceName, FieldKind, FieldPath, MachineSpec,
        ObservedMachine, Slot, Unsupported,
    },
    provider::{
        adoption::Places,
        lowering::{Seat, Seating, fault},
        proxmox::{
            normalize::slots_of,
            property::split_slot,
            translate::{bus_of, cd_drive},
        },
    },
};

/// Slots are a bus with a number.
pub(super) const PLACES: Places = Places { bus_of, at: |bus, index| Some(slot(bus, index)) };

fn slot(bus: Bus, index: u8) -> String {
    format!("{}{index}", bus.as_str())
}

/// What cards are ordered by.
pub(super) fn nic_order(slot: &str) -> Option<u16> {
    split_slot(slot).map(|(_, index)| index)
}

/// The slots of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) seats: Seating,
    seed: Option<Seat>,
}

/// Slots for cards.
const NICS: u8 = 32;

/// Where CD and first-boot drives go, in this order: `ide2` is where the product's
/// own interface puts them, and `ide0` is the other one that every machine type has.
const DRIVES: [&str; 11] = [
    "ide2", "ide0", "ide3", "ide1", "sata5", "sata4", "sata3", "sata2", "sata1", "sata0", "scsi30",
];

impl Layout {
    /// What is there, by the map alone: the start of an update.
    pub(super) fn of(seen: &ObservedMachine, map: &DeviceMap) -> Self {
        let seat = |slot: &Slot| Seat::new(slot.clone(), true);
        let seed = seen.devices.iter().find(|device| device.kind == DeviceKind::Seed);
        let seed = seed.map(|device| seat(&device.slot));
        let mut seats = Seating::of(seen, map);
        seats.cd = cd_drive(&seen.devices).map(|device| seat(&device.slot));
        Self { seats, seed }
    }

    /// A machine at birth, over what a template or a former run left there.
    pub(super) fn at_birth(
        spec: &MachineSpec,
        base: Option<&ObservedMachine>,
        map: &DeviceMap,
    ) -> Result<Self, Vec<Unsupported>> {
        let mut layout = base.map(|base| Self::of(base, map)).unwrap_or_default();
        let mut faults = base
            .map(|base| layout.seats.take_over(spec, base, PLACES, nic_order))
            .unwrap_or_default();
        for (name, disk) in layout.seats.seatless(spec) {
            let bus = disk.bus.unwrap_or(Bus::Scsi);
            faults.extend(layout.add_disk(name, bus, disk.slot).err());
        }
        for name in spec.nics.keys() {
            if !layout.seats.nics.contains_key(name) {
                layout.add_nic(name).map_err(|fault| vec![fault])?;
            }
        }
        if faults.is_empty() { Ok(layout) } else { Err(faults) }
    }

    /// A slot for a new disk: the wished one, or the first free one of its bus.
    pub(super) fn add_disk(
        &mut self,
        name: &DeviceName,
        bus: Bus,
        wish: Option<u8>,
    ) -> Result<Slot, Unsupported> {
        let wished = wish.map(|index| slot(bus, index));
        let all = (0..slots_of(bus)).map(|index| slot(bus, index));
        self.seats.add_disk(name, bus, wished, all)
    }

    /// A slot for a new card.
    pub(super) fn add_nic(&mut self, name: &DeviceName) -> Result<Slot, Unsupported> {
        let mut all = (0..NICS).map(|index| format!("net{index}"));
        let slot = all.find(|slot| !self.seats.is_taken(slot)).ok_or_else(|| {
            let why = format!("all {NICS} slots for cards are taken");
            fault(FieldPath::on(FieldKind::Nic, name), why, "remove a card")
        })?;
        let seat = self.seats.take(slot);
        self.seats.nics.insert(name.clone(), seat.clone());
        Ok(seat.slot)
    }

    fn free_drive(&mut self) -> Seat {
        let free = DRIVES.iter().find(|slot| !self.seats.is_taken(slot));
        // Eleven drives in use is beyond any machine that was ever seen; the server
        // then refuses the call, because the drive exists.
        self.seats.take((*free.unwrap_or(&DRIVES[0])).to_owned())
    }

    /// The slots of a boot order.
    pub(super) fn boot_slots(&self, boot: &[BootDevice]) -> Result<Vec<Slot>, Unsupported> {
        self.seats.boot_slots(boot, nic_order)
    }

    /// The CD drive; a new one is given the first free place.
    pub(super) fn cd(&mut self) -> Seat {
        let seat = self.seats.cd.clone().unwrap_or_else(|| self.free_drive());
        self.seats.cd.get_or_insert(seat).clone()
    }

    /// The first-boot drive; a new one is given the first free place.
    pub(super) fn seed(&mut self) -> Seat {
        let seat = self.seed.clone().unwrap_or_else(|| self.free_drive());
        self.seed.get_or_insert(seat).clone()
    }
}
