//! What somebody else may do to the inventory between any two calls of a client.

use serde::{Deserialize, Serialize};

use super::control::Control;
use super::vm::Vm;
use super::world::CustomField;

/// One deed. Where it is about a machine, that is the one of the request it comes before, or another
/// one by its id or name; a machine that is not there is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Sets or removes a value: `numCPUs`, `memoryMB`, `annotation`, or else a free key.
    Edit(String, Option<String>),
    /// Adds a line to the notes, above all others.
    Remark(String),
    /// Replaces a piece of text in the values of all free keys that are not the guest's.
    Rewrite(String, String),
    /// Takes all free keys away that are not the guest's.
    Unmark,
    /// Removes the machine with its disks.
    Delete,
    /// Puts a machine of somebody else under the name that a request is about, into the folder
    /// that it is about.
    Occupy,
    /// Copies it under another name: notes and free keys come along, UUIDs do not.
    Clone(String),
    /// Copies it under another name, with its UUIDs.
    Restore(String),
    /// Takes it out of the inventory and puts it back, which gives it another id.
    Reregister,
    /// Gives it another name.
    Rename(String),
    /// Moves it to another host.
    Migrate(String),
    /// Switches it on or off.
    Power(bool),
    /// Returns it to its first snapshot, or takes one when there is none.
    Revert,
    /// Lets it wait for an answer; none answers.
    Question(Option<String>),
    /// Loses its files, or finds them again: `orphaned`, `inaccessible`, `connected`.
    Connection(String),
    /// Takes a host down or brings it back.
    HostOffline(String, bool),
    /// Puts a host into maintenance or takes it out.
    Maintenance(String, bool),
    /// Hides the machine from everybody, or shows it again.
    Hide(bool),
    /// Lets everybody see that the machine is there, and read nothing of it; or ends that.
    Veil(bool),
    /// Defines a custom attribute for objects of every kind.
    DefineField(String),
    /// All sessions end.
    EndSessions,
    /// The listener shows another certificate, of another authority, or its own again.
    Certificate(bool),
    /// Several, one after the other.
    All(Vec<Deed>),
    /// The deed, to this machine and not to that of the request.
    To(String, Box<Deed>),
}

impl Control {
    /// Does it. `about` is the id or the name of the machine of the request that it comes before.
    pub fn perform(&self, deed: &Deed, about: Option<&str>) {
        self.perform_in(deed, about, None);
    }

    /// The same; `folder` is the one of the request, where it names one.
    pub(crate) fn perform_in(&self, deed: &Deed, about: Option<&str>, folder: Option<&str>) {
        match deed {
            Deed::HostOffline(host, offline) => self.host_offline(host, *offline),
            Deed::Maintenance(host, on) => self.maintenance(host, *on),
            Deed::DefineField(name) => self.edit(|world| {
                let key = world.fields.keys().next_back().map_or(101, |last| last + 1);
                world.fields.insert(key, CustomField { name: name.clone(), of: None });
            }),
            Deed::EndSessions => self.end_sessions(),
            Deed::Certificate(foreign) => self.certificate(*foreign),
            Deed::All(deeds) => {
                deeds.iter().for_each(|deed| self.perform_in(deed, about, folder));
            }
            Deed::To(id, deed) => self.perform_in(deed, Some(id), folder),
            Deed::Occupy => {
                if let Some(name) = about.filter(|name| self.find_vm(name).is_none()) {
                    let stranger = self.stranger(name);
                    self.edit(|world| {
                        let made = stranger.and_then(|it| world.entities.get_mut(&it));
                        if let (Some(entity), Some(folder)) = (made, folder) {
                            entity.parent = Some(folder.to_owned());
                        }
                    });
                }
            }
            Deed::Edit(..)
            | Deed::Remark(_)
            | Deed::Rewrite(..)
            | Deed::Unmark
            | Deed::Delete
            | Deed::Clone(_)
            | Deed::Restore(_)
            | Deed::Reregister
            | Deed::Rename(_)
            | Deed::Migrate(_)
            | Deed::Power(_)
            | Deed::Revert
            | Deed::Question(_)
            | Deed::Connection(_)
            | Deed::Hide(_)
            | Deed::Veil(_) => {
                if let Some(id) = about.and_then(|about| self.find_vm(about)) {
                    self.perform_on(deed, &id);
                }
            }
        }
    }

    fn perform_on(&self, deed: &Deed, id: &str) {
        match deed {
            Deed::Edit(key, value) => self.change_vm(id, |vm| edit(vm, key, value.as_deref())),
            Deed::Remark(line) => self.change_vm(id, |vm| {
                vm.config.annotation = format!("{line}\n{}", vm.config.annotation);
            }),
            Deed::Rewrite(from, to) => self.change_vm(id, |vm| {
                let own =
                    vm.config.extra.iter_mut().filter(|(key, _)| !key.starts_with("guestinfo."));
                own.for_each(|(_, value)| *value = value.replace(from, to));
            }),
            Deed::Unmark => self.change_vm(id, |vm| {
                vm.config.extra.retain(|key, _| key.starts_with("guestinfo."));
            }),
            Deed::Delete => self.delete_vm(id),
            Deed::Clone(name) => {
                self.clone_vm(id, name);
            }
            Deed::Restore(name) => {
                if let Some(copy) = self.clone_vm(id, name) {
                    let uuids = self.inspect(|world| {
                        world.vm(id).map(|vm| (vm.uuid.clone(), vm.instance_uuid.clone()))
                    });
                    self.change_vm(&copy, |vm| {
                        if let Some(uuids) = uuids {
                            (vm.uuid, vm.instance_uuid) = uuids;
                        }
                    });
                }
            }
            Deed::Reregister => {
                self.register_again(id);
            }
            Deed::Rename(name) => {
                self.edit(|world| {
                    if let Some(entity) = world.entities.get_mut(id) {
                        entity.name = super::world::escape_name(name);
                    }
                });
                self.change_vm(id, |_| {});
            }
            Deed::Migrate(host) => {
                let host = self.inspect(|world| world.find("HostSystem", host).map(str::to_owned));
                self.edit(|world| {
                    if let (Some(vm), Some(host)) = (world.vm_mut(id), host) {
                        vm.host = host;
                    }
                });
            }
            Deed::Power(on) => self.power(id, *on),
            Deed::Revert => self.revert(id),
            Deed::Question(question) => self.edit(|world| {
                if let Some(vm) = world.vm_mut(id) {
                    vm.question.clone_from(question);
                }
            }),
            Deed::Connection(state) => self.edit(|world| {
                if let Some(vm) = world.vm_mut(id) {
                    vm.connection.clone_from(state);
                }
            }),
            Deed::Hide(hidden) => self.hide(id, *hidden),
            Deed::Veil(veiled) => self.veil(id, *veiled),
            Deed::Occupy
            | Deed::HostOffline(..)
            | Deed::Maintenance(..)
            | Deed::DefineField(_)
            | Deed::EndSessions
            | Deed::Certificate(_)
            | Deed::All(_)
            | Deed::To(..) => {}
        }
    }
}

fn edit(vm: &mut Vm, key: &str, value: Option<&str>) {
    let number = value.and_then(|value| value.parse().ok());
    match (key, value) {
        ("numCPUs", _) => vm.config.cpus = number.unwrap_or(vm.config.cpus),
        ("memoryMB", _) => vm.config.memory_mb = number.unwrap_or(vm.config.memory_mb),
        ("annotation", value) => vm.config.annotation = value.unwrap_or("").to_owned(),
        (key, Some(value)) => {
            vm.config.extra.insert(key.to_owned(), value.to_owned());
        }
        (key, None) => {
            vm.config.extra.remove(key);
        }
    }
}
