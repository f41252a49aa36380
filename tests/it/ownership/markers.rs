//! Markers that were edited, removed, forged, reverted.

use super::{FLEET, FULL, Fleet, WISHES, Wish, marker_of, stranger, without_marker};

/// Trust settings with a key that signs markers.
const SIGNED: &str = "marker_key = \"env:MARKER_KEY\"\n";

fn field(marker: &str, name: &str) -> String {
    let mut words = marker.split_whitespace();
    words.find(|it| it.starts_with(&format!("{name}="))).unwrap().to_owned()
}

/// Puts a marker under the notes.
fn put_back(fleet: &Fleet, id: u32, marker: &str) {
    fleet.edit(id, |guest| {
        without_marker(guest);
        let notes = guest.config.get("description").map_or("", String::as_str);
        let notes = format!("{notes}\n\n{marker}");
        guest.config.insert("description".to_owned(), notes);
    });
}

#[test]
pub fn a_marker_with_an_edited_half_or_word_ends_in_a_block() {
    let fleet = Fleet::start("edited");
    let web = fleet.web();
    // So that nothing but the marker stands in the way of a second machine.
    fleet.operator(|control| control.rename(web, "renamed"));
    let good = marker_of(&fleet.guest(web));
    let edits = [
        ("uuid", "uuid=6e1b8f0a-3c52-5f3a-9d5e-1f2a3b4c5d99", "impostor"),
        ("uuid", "uuid=none", "impostor"),
        ("id", "id=101", "impostor"),
        ("id", "id=20999", "moved"),
        ("id", "id=pending", "impostor"),
        ("stage", "stage=gone", "garbled-marker"),
        ("intent", "intent=none", "garbled-marker"),
        ("protect", "", "garbled-marker"),
        ("key", "key=web", "garbled-marker"),
    ];
    for (name, edited, code) in edits {
        fleet.notes(web, &field(&good, name), edited);
        fleet.tempt(&[Wish::Same, Wish::Gone], |wish, ran| {
            let ran = ran.says_in_words(&format!("{web} (`renamed`) on pve-paris"));
            // Whose it is cannot be read: it is in the way of all that is not found, which
            // without an entry is nothing.
            if (name, wish) == ("key", Wish::Gone) {
                ran.code(0).says_in_words("cannot be read");
            } else {
                ran.code(5).says(&format!("[{code}]"));
            }
        });
        put_back(&fleet, web, &good);
    }
    fleet.operator(|control| control.rename(web, "web"));
    fleet.settled();
    assert_eq!(fleet.web(), web);
}

#[test]
pub fn a_marker_of_another_key_is_not_believed_against_the_journal() {
    let fleet = Fleet::start("edited-key");
    let web = fleet.web();
    fleet.operator(|control| control.rename(web, "renamed"));
    fleet.notes(web, "key=vm/web", "key=vm/other");
    fleet.tempt(&WISHES, |_, ran| {
        let ran = ran.code(5).says_in_words(&format!(
            "the journal says that {web} (`renamed`) on pve-paris is vm/web, but its marker says `vm/other`"
        ));
        ran.says_in_words("write `key=vm/web` in its `novahost/1` line");
    });
    // Without the journal the marker is title; a delete still needs a second witness.
    fleet.lose_journal();
    fleet.tempt(&[Wish::Gone], |_, ran| drop(ran.code(5).says("second-witness")));
    fleet.notes(web, "key=vm/other", "key=vm/web");
    fleet.operator(|control| control.rename(web, "web"));
    fleet.settled();
}

#[test]
pub fn a_marker_that_was_given_to_another_project_is_theirs() {
    let fleet = Fleet::start("edited-project");
    let web = fleet.web();
    fleet.notes(web, "project=shop", "project=mill");
    fleet.tempt(&WISHES, |wish, ran| {
        if wish == Wish::Gone {
            ran.code(0).says("Nothing to do");
        } else {
            let ran = ran.code(5).says("[name-taken]");
            ran.says_in_words(&format!("{web} on pve-paris, which is vm/web of project `mill`"));
        }
    });
    fleet.notes(web, "project=mill", "project=shop");
    fleet.settled();
}

#[test]
pub fn a_running_machine_whose_marker_says_new_is_not_built_again() {
    let fleet = Fleet::start("edited-stage");
    let web = fleet.web();
    fleet.notes(web, "stage=ready", "stage=new");
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        fleet.tempt(&[Wish::Same, Wish::Changed, Wish::Remade], |_, ran| {
            let ran = ran.code(5).says_in_words(&format!("{web} (`web`) on pve-paris"));
            ran.says_in_words("runs, though its marker says that it was never finished");
        });
    }
    fleet.notes(web, "stage=new", "stage=ready");
    fleet.settled();
}

#[test]
pub fn a_marker_that_was_removed_blocks_while_the_journal_remembers() {
    let fleet = Fleet::start("removed");
    let web = fleet.web();
    fleet.operator(|control| control.rename(web, "renamed"));
    let marker = marker_of(&fleet.guest(web));
    fleet.edit(web, without_marker);
    fleet.tempt(&WISHES, |_, ran| {
        let ran = ran.code(5).says("[lost-marker]");
        let ran = ran.says_in_words(&format!("{web} (`renamed`) on pve-paris is vm/web"));
        ran.says_in_words("write `adopt: pve-paris/");
    });
    put_back(&fleet, web, &marker);
    fleet.operator(|control| control.rename(web, "web"));
    fleet.settled();
}

#[test]
pub fn a_marker_that_was_removed_leaves_a_machine_that_is_nobodys() {
    let fleet = Fleet::start("removed-no-journal");
    let web = fleet.web();
    fleet.edit(web, without_marker);
    fleet.lose_journal();
    // Its tag is still there, and proves nothing.
    assert!(fleet.guest(web).config["tags"].contains("nh-shop"));
    fleet.tempt(&WISHES, |wish, ran| {
        if wish == Wish::Gone {
            ran.code(0).says("Nothing to do");
        } else {
            ran.code(5).says("[name-taken]").says_in_words(&format!("{web} on pve-paris"));
        }
    });
}

#[test]
pub fn a_tag_proves_nothing_and_comes_back_with_the_next_write() {
    let fleet = Fleet::start("tags");
    let web = fleet.web();
    fleet.edit(web, |guest| drop(guest.config.remove("tags")));
    fleet.operator(|control| {
        stranger(control, 20950, None);
        control.edit_config(20950, "tags", Some("nh-shop"));
        control.edit_config(101, "tags", Some("nh-shop"));
    });
    fleet.settled();
    let before = fleet.truth();
    for wish in [Wish::Same, Wish::Changed, Wish::Gone] {
        fleet.wish(wish);
        fleet.run(FULL).code(0);
        before.is_still(&fleet.truth(), &[web], "a tag is no mark of ours");
        if wish == Wish::Changed {
            assert!(fleet.guest(web).config["tags"].contains("nh-shop"), "it is back");
        }
    }
}

#[test]
pub fn a_forged_marker_that_binds_deletes_nothing_without_a_second_witness() {
    let fleet = Fleet::start("forged");
    let web = fleet.web();
    let marker = marker_of(&fleet.guest(web));
    fleet.operator(|control| {
        stranger(control, 20950, None);
        let uuid = control.inspect(|world| {
            world.guests[&20950].config["smbios1"].strip_prefix("uuid=").unwrap().to_owned()
        });
        let forged = marker
            .replace("vm/web", "vm/payroll")
            .replace(&field(&marker, "uuid"), &format!("uuid={uuid}"))
            .replace(&field(&marker, "id"), "id=20950");
        control.edit_config(20950, "description", Some(&forged));
    });
    fleet.tempt(&[Wish::Same], |_, ran| {
        let ran = ran.code(5).says("second-witness").says("--confirm vm/payroll");
        ran.says_in_words("the journal has no record of it");
    });
    // Without the journal not even what is ours is deleted on its marker's word alone.
    fleet.lose_journal();
    fleet.tempt(&[Wish::Gone], |_, ran| {
        drop(ran.code(5).says("--confirm vm/payroll").says("--confirm vm/web"));
    });
    fleet.edit(20950, without_marker);
    fleet.settled();
}

#[test]
pub fn a_marker_without_the_right_signature_is_an_impostor() {
    let fleet = Fleet::outside("forged-signed", SIGNED);
    let web = fleet.web();
    fleet.settled();
    let good = marker_of(&fleet.guest(web));
    let mac = field(&good, "mac");
    let edits = [
        ("protect=0", "protect=1".to_owned()),
        ("stage=ready", "stage=deleting".to_owned()),
        ("stage=ready", "stage=new".to_owned()),
        ("key=vm/web", "key=vm/other".to_owned()),
        (mac.as_str(), String::new()),
        (mac.as_str(), "mac=0123456789abcdef0123456789abcdef".to_owned()),
        (&field(&good, "intent"), "intent=6e1b8f0a-3c52-5f3a-9d5e-1f2a3b4c5d99".to_owned()),
    ];
    fleet.operator(|control| control.rename(web, "renamed"));
    for (at, edited) in &edits {
        fleet.notes(web, at, edited);
        fleet.tempt(&[Wish::Same, Wish::Gone], |_, ran| {
            let ran = ran.code(5).says("[impostor]");
            let ran = ran.says_in_words(&format!("{web} (`renamed`) on pve-paris"));
            ran.says_in_words("the signature of its marker is wrong");
        });
        put_back(&fleet, web, &good);
    }
    fleet.operator(|control| control.rename(web, "web"));
    fleet.settled();
    // A valid signature is a second witness of its own.
    fleet.lose_journal();
    fleet.wish(Wish::Gone);
    fleet.run(FULL).code(0).says("1 done");
}

#[test]
pub fn a_snapshot_that_was_returned_to_leaves_the_marker_and_blocks_what_it_misses() {
    let bare = FLEET
        .replace("      data: { size: 5GiB, bus: scsi, slot: 1, on_remove: detach }\n", "")
        .replace("    disks:\n", "");
    let fleet = Fleet::of("reverted", &bare);
    let db = fleet.db();
    fleet.operator(|control| control.take_snapshot(db, "before"));
    fleet.it.write("novahost.yaml", FLEET);
    fleet.run("apply --yes").code(0);
    // A write of the marker that has seen the disk says so.
    fleet.it.edit("    power: stopped", "    power: stopped\n    protect: true");
    fleet.run("apply --yes").code(0);
    assert!(fleet.guest(db).config.contains_key("scsi1"));
    // Notes stay as they are, so that the map names a disk that is not there any more.
    fleet.operator(|control| control.roll_back(db, "before"));
    let before = fleet.truth();
    let ran = fleet.run(FULL).code(5).says("[missing-device]").says("vm/db");
    before.is_still(&fleet.truth(), &[], &ran.out);
    // Its volume is there, and put back where it was all is well.
    fleet.edit(db, |guest| {
        let volume = guest.config.remove("unused0").unwrap();
        guest.config.insert("scsi1".to_owned(), format!("{volume},size=5G"));
    });
    fleet.run("apply --yes").code(0);
    fleet.run("plan --detailed-exitcode").code(0);
}

#[test]
pub fn a_backup_of_an_earlier_stage_is_ours_and_is_taken_from_there() {
    let bare = FLEET
        .replace("      data: { size: 5GiB, bus: scsi, slot: 1, on_remove: detach }\n", "")
        .replace("    disks:\n", "");
    let fleet = Fleet::of("restored-earlier", &bare);
    let (web, db) = (fleet.web(), fleet.db());
    let earlier = fleet.guest(db);
    fleet.it.write("novahost.yaml", FLEET);
    fleet.run("apply --yes").code(0);
    // Restored over itself: uuid, id and notes are those of the backup.
    fleet.edit(db, |guest| *guest = earlier);
    fleet.operator(|control| {
        control.edit(|world| {
            world.volumes.retain(|key, _| !key.ends_with(&format!("vm-{db}-disk-1")));
        });
    });
    let before = fleet.truth();
    fleet.run("apply --yes").code(0).says("1 done");
    before.is_still(&fleet.truth(), &[db], "only what was restored has changed");
    assert_eq!((fleet.web(), fleet.db()), (web, db));
    assert!(fleet.guest(db).config.contains_key("scsi1"));
    fleet.run("plan --detailed-exitcode").code(0);
}
