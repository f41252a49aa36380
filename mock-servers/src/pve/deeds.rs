//! What somebody else may do to the cluster between any two calls of a client.

use serde::{Deserialize, Serialize};

use super::access::{AclEntry, AclKind};
use super::control::Control;
use super::world::{Guest, GuestKind, volume_key};

/// The name of the role that gives nothing.
const NO_ACCESS: &str = "NoAccess";

/// One deed. Where it is about a guest, that is the one of the request it comes before,
/// or another one by its id; a guest that is not there is left alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Sets or removes an option of the guest's configuration.
    Edit(String, Option<String>),
    /// Adds a line to the guest's notes, above all others.
    Remark(String),
    /// Replaces a piece of the guest's notes.
    Rewrite(String, String),
    /// Takes the last lines of the guest's notes away, and its tags.
    Unmark,
    /// Removes the guest with its volumes.
    Delete,
    /// Removes it, and puts a machine of somebody else at its id.
    Recycle,
    /// Puts a machine of somebody else at the id, if nothing is there yet.
    Occupy,
    /// Copies it to another id: notes come along, the UUID does not.
    Clone(u32),
    /// Restores it to another id: notes and UUID come along.
    Restore(u32),
    /// Restores it to another id, and removes the original.
    Relocate(u32),
    /// Gives it another name.
    Rename(String),
    /// Moves it to another node.
    Migrate(String),
    /// Takes a lock on it; none takes the lock away.
    Lock(Option<String>),
    /// Switches it on or off.
    Power(bool),
    /// Returns it to its only snapshot, or takes one when there is none.
    Revert,
    /// Takes a node down or brings it back.
    NodeOffline(String, bool),
    /// A node loses its power and its workers die.
    NodeCrash(String),
    /// Gives or takes the quorum.
    Quorum(bool),
    /// Hides a guest from everybody who is not root, or shows it again.
    Hide(bool),
    /// All sessions end: tickets given so far are refused.
    EndSessions,
    /// The listener shows another certificate, of another authority, or its own again.
    Certificate(bool),
    /// Several, one after the other.
    All(Vec<Deed>),
    /// The deed, to this guest and not to that of the request.
    To(u32, Box<Deed>),
}

impl Control {
    /// Does it. `about` is the guest of the request that it comes before.
    pub fn perform(&self, deed: &Deed, about: Option<u32>) {
        match deed {
            Deed::NodeOffline(node, offline) => return self.node_offline(node, *offline),
            Deed::NodeCrash(node) => return self.node_crash(node),
            Deed::Quorum(quorate) => return self.quorum(*quorate),
            Deed::EndSessions => return self.end_sessions(),
            Deed::Certificate(foreign) => return self.certificate(*foreign),
            Deed::All(deeds) => return deeds.iter().for_each(|deed| self.perform(deed, about)),
            Deed::To(id, deed) => return self.perform(deed, Some(*id)),
            _ => {}
        }
        if let Some(id) = about {
            self.perform_on(deed, id);
        }
    }

    fn perform_on(&self, deed: &Deed, id: u32) {
        let there = self.inspect(|world| world.guests.contains_key(&id));
        if !there && !matches!(deed, Deed::Occupy | Deed::Hide(_)) {
            return;
        }
        match deed {
            Deed::Edit(key, value) => self.edit_config(id, key, value.as_deref()),
            Deed::Remark(line) => self.notes(id, |notes| format!("{line}\n{notes}")),
            Deed::Rewrite(from, to) => self.notes(id, |notes| notes.replace(from, to)),
            Deed::Unmark => {
                self.notes(id, |notes| notes.lines().next().unwrap_or("").to_owned());
                self.edit_config(id, "tags", None);
            }
            Deed::Delete => self.delete_guest(id),
            Deed::Recycle => {
                self.delete_guest(id);
                self.stranger(id);
            }
            Deed::Occupy if !there => self.stranger(id),
            Deed::Occupy => {}
            Deed::Clone(to) => self.clone_guest(id, *to, &format!("copy-{to}")),
            Deed::Restore(to) => self.restore(id, *to),
            Deed::Relocate(to) => {
                self.restore(id, *to);
                self.delete_guest(id);
            }
            Deed::Rename(name) => self.rename(id, name),
            Deed::Migrate(node) => self.migrate_guest(id, node),
            Deed::Lock(Some(lock)) => self.lock(id, lock),
            Deed::Lock(None) => self.unlock(id),
            Deed::Power(on) => self.power(id, *on),
            Deed::Revert => self.revert(id),
            Deed::Hide(hidden) => self.hide(id, *hidden),
            Deed::NodeOffline(..)
            | Deed::NodeCrash(_)
            | Deed::Quorum(_)
            | Deed::EndSessions
            | Deed::Certificate(_)
            | Deed::All(_)
            | Deed::To(..) => {}
        }
    }

    fn notes(&self, id: u32, change: impl FnOnce(&str) -> String) {
        self.edit(|world| {
            if let Some(guest) = world.guests.get_mut(&id) {
                let notes = guest.config.get("description").map_or("", String::as_str);
                let notes = change(notes);
                guest.config.insert("description".to_owned(), notes);
            }
        });
    }

    /// A small machine that somebody else made just now.
    fn stranger(&self, id: u32) {
        self.edit(|world| {
            let node = world.nodes.keys().next().cloned().unwrap_or_default();
            let mut guest = Guest::new(&node, GuestKind::Qemu);
            let volume = format!("fast:vm-{id}-disk-7");
            let values = [
                ("name", format!("stranger-{id}")),
                ("description", "Not to be touched.".to_owned()),
                ("cores", "1".to_owned()),
                ("memory", "512".to_owned()),
                ("scsi0", format!("{volume},size=1G")),
                ("smbios1", format!("uuid={}", world.new_uuid())),
            ];
            guest.config = values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            guest.running = true;
            world.guests.insert(id, guest);
            world.volumes.insert(
                volume_key(true, &node, &volume),
                super::world::Volume {
                    size: 1 << 30,
                    vmid: id,
                    content: "images".to_owned(),
                    format: "raw".to_owned(),
                    parent: None,
                    ctime: 0,
                    stuck: false,
                },
            );
        });
    }

    /// A rollback brings the whole section back, notes included; the guest is off after it.
    fn revert(&self, id: u32) {
        self.edit(|world| {
            let Some(guest) = world.guests.get_mut(&id) else { return };
            match guest.snapshots.values().next() {
                Some(snapshot) => {
                    guest.config = snapshot.config.clone();
                    guest.pending.clear();
                    guest.pending_delete.clear();
                    guest.running = false;
                }
                None => {
                    let snapshot = super::world::Snapshot {
                        config: guest.config.clone(),
                        ..super::world::Snapshot::default()
                    };
                    guest.snapshots.insert("before".to_owned(), snapshot);
                }
            }
        });
    }

    /// Rows of an access list that hide one guest from every account but root's.
    fn hide(&self, id: u32, hidden: bool) {
        self.edit(|world| {
            let path = format!("/vms/{id}");
            world.access.acl.retain(|row| row.path != path || row.role != NO_ACCESS);
            if !hidden {
                return;
            }
            let mut rows = Vec::new();
            let users = world.access.users.iter().filter(|(name, _)| *name != "root@pam");
            for (name, user) in users {
                rows.push((AclKind::User, name.clone()));
                rows.extend(
                    user.tokens.keys().map(|token| (AclKind::Token, format!("{name}!{token}"))),
                );
            }
            world.access.acl.extend(rows.into_iter().map(|(kind, who)| AclEntry {
                path: path.clone(),
                kind,
                who,
                role: NO_ACCESS.to_owned(),
                propagate: true,
            }));
        });
    }

    fn end_sessions(&self) {
        self.edit(|world| world.counters.ticket_key = world.counters.ticket_key.wrapping_add(2));
    }
}
