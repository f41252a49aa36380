//! Which slot each named device of a machine sits in, as this product spells slots: a new
//! disk gets the first free one, and a new card is known by its address.

use crate::{
    model::{
        BootDevice, Bus, DeviceKind, DeviceMap, DeviceName, FieldKind, FieldPath, MacAddress,
        MachineSpec, ObservedMachine, Slot, Unsupported,
    },
    provider::{
        adoption::Places,
        lowering::{Seat, Seating, fault},
        vcenter::slots::{bus_of, handle, order, places, wish},
    },
};

/// Numbers that are written mean units of the first controller.
pub(super) const PLACES: Places =
    Places { bus_of, at: |bus, number| Some(wish(bus, number)?.to_string()) };

/// The slots of one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) seats: Seating,
}

impl Layout {
    /// What is there, by the map alone: the start of an update.
    pub(super) fn of(seen: &ObservedMachine, map: &DeviceMap) -> Self {
        let drive = seen.devices.iter().find(|device| device.kind == DeviceKind::Cdrom);
        let mut seats = Seating::of(seen, map);
        seats.cd = drive.map(|device| Seat::new(device.slot.clone(), true));
        Self { seats }
    }

    /// A machine at birth, over what a template or a former run left there.
    pub(super) fn at_birth(
        spec: &MachineSpec,
        base: Option<&ObservedMachine>,
        map: &DeviceMap,
        mac: impl Fn(&DeviceName) -> Option<MacAddress>,
    ) -> Result<Self, Vec<Unsupported>> {
        let mut layout = base.map(|base| Self::of(base, map)).unwrap_or_default();
        let mut faults =
            base.map(|base| layout.seats.take_over(spec, base, PLACES, order)).unwrap_or_default();
        for (name, disk) in layout.seats.seatless(spec) {
            let bus = disk.bus.unwrap_or(Bus::Scsi);
            faults.extend(layout.add_disk(name, bus, disk.slot).err());
        }
        for name in spec.nics.keys() {
            if !layout.seats.nics.get(name).is_some_and(|seat| seat.exists) {
                faults.extend(layout.add_nic(name, mac(name)).err());
            }
        }
        if faults.is_empty() { Ok(layout) } else { Err(faults) }
    }

    /// A slot for a new disk: the wished one, or the first free one of its bus.
    pub(super) fn add_disk(
        &mut self,
        name: &DeviceName,
        bus: Bus,
        wished: Option<u8>,
    ) -> Result<Slot, Unsupported> {
        let slot = |number| {
            wish(bus, number).map(|place| place.to_string()).ok_or_else(|| {
                let why = format!("the {} bus has no slot {number}", bus.as_str());
                fault(FieldPath::on(FieldKind::Disk, name), why, "choose another `slot:`")
            })
        };
        let wished = wished.map(slot).transpose()?;
        self.seats.add_disk(name, bus, wished, places(bus).map(|place| place.to_string()))
    }

    /// A slot for a new card: its address, since the server assigns the key.
    pub(super) fn add_nic(
        &mut self,
        name: &DeviceName,
        mac: Option<MacAddress>,
    ) -> Result<Slot, Unsupported> {
        let fail =
            |why: &str| fault(FieldPath::on(FieldKind::NicMac, name), why, "set another `mac:`");
        let Some(mac) = mac else { return Err(fail("no hardware address is left for it")) };
        let slot = handle(mac);
        let held = |(other, seat): (&DeviceName, &Seat)| other != name && *seat.after() == slot;
        if self.seats.nics.iter().any(held) {
            return Err(fail("another card of the machine has this hardware address"));
        }
        self.seats.nics.insert(name.clone(), Seat::new(slot.clone(), false));
        Ok(slot)
    }

    /// A card that is there is known by its address from this write on.
    pub(super) fn name_by_address(&mut self, name: &DeviceName, mac: MacAddress) {
        if let Some(seat) = self.seats.nics.get_mut(name) {
            seat.becomes = Some(handle(mac)).filter(|slot| *slot != seat.slot);
        }
    }

    /// The slots of a boot order.
    pub(super) fn boot_slots(&self, boot: &[BootDevice]) -> Result<Vec<Slot>, Unsupported> {
        self.seats.boot_slots(boot, order)
    }

    /// The CD drive; a new one is put where guests look first.
    pub(super) fn cd(&mut self) -> Result<Seat, Unsupported> {
        if let Some(seat) = &self.seats.cd {
            return Ok(seat.clone());
        }
        let places = [Bus::Ide, Bus::Sata].into_iter().flat_map(places);
        let mut slots: Vec<String> = places.map(|place| place.to_string()).collect();
        // One IDE place is used, the others are left to disks while there is SATA.
        slots.sort_by_key(|slot| (slot != "ide0:0", slot.starts_with("ide")));
        let Some(slot) = slots.into_iter().find(|slot| !self.seats.is_taken(slot)) else {
            let why = "there is no free place for a CD drive";
            let help = "remove a disk on ide or sata";
            return Err(fault(FieldPath::of(FieldKind::Cdrom), why, help));
        };
        let seat = self.seats.take(slot);
        self.seats.cd = Some(seat.clone());
        Ok(seat)
    }
}
