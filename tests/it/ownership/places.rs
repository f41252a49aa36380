//! Places that are silent, hidden, or not what they were.

use super::{FULL, Fleet, Wish, cluster};
use mock_servers::pve::{
    Fault,
    access::{AclEntry, AclKind},
};

const TOKEN: &str = novahost::sandbox::TOKEN_ID;

#[test]
pub fn a_machine_that_high_availability_moved_is_the_same_machine() {
    let fleet = Fleet::start("migrated");
    let web = fleet.web();
    fleet.operator(|control| control.migrate_guest(web, "pve2"));
    fleet.settled();
    // It moves on between a plan and its apply.
    fleet.wish(Wish::Changed);
    fleet.run("plan --out plan.json").code(0);
    fleet.operator(|control| control.migrate_guest(web, "pve3"));
    let before = fleet.truth();
    fleet.run("apply plan.json --yes --allow restart").code(0);
    before.is_still(&fleet.truth(), &[web], "nothing else was touched");
    assert_eq!(fleet.web(), web);
    assert_eq!(fleet.guest(web).node, "pve3");
    assert_eq!(fleet.guest(web).config["cores"], "2");
}

#[test]
pub fn a_node_that_is_offline_makes_its_machines_unknown_and_not_absent() {
    let fleet = Fleet::start("offline");
    let web = fleet.web();
    let node = fleet.guest(web).node;
    // A name would be in the way of a second machine; here nothing is but the silence.
    fleet.operator(|control| {
        control.rename(web, "renamed");
        control.node_offline(&node, true);
    });
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        fleet.tempt(&[Wish::Same, Wish::Gone], |_, ran| {
            ran.code(9).says_in_words(&format!("node `{node}` is not online"));
        });
        let before = fleet.truth();
        let ran = fleet.run(&format!("{FULL} --allow-partial")).code(5);
        before.is_still(&fleet.truth(), &[], &ran.out);
        let ran = ran.says("[unreadable-object]").says("not online");
        if journal {
            ran.says_in_words(&format!("{web} on pve-paris could be vm/web"));
        }
    }
    fleet.operator(|control| {
        control.node_offline(&node, false);
        control.rename(web, "web");
    });
    fleet.settled();
    assert_eq!(fleet.web(), web);
}

fn row(path: &str, role: &str) -> AclEntry {
    AclEntry {
        path: path.to_owned(),
        kind: AclKind::Token,
        who: TOKEN.to_owned(),
        role: role.to_owned(),
        propagate: true,
    }
}

/// The account sees less than it did: a machine that it does not see is not gone.
fn hidden(name: &str, path: impl Fn(u32) -> String, why: &str) {
    let fleet = Fleet::start(name);
    let (web, db) = (fleet.web(), fleet.db());
    let row = row(&path(web), "NoAccess");
    fleet.operator(|control| control.edit(|world| world.access.acl.push(row.clone())));
    fleet.tempt_twice(|wish, _, ran| {
        let ran = ran.says_in_words(why);
        if wish == Wish::Gone {
            assert!([0, 5].contains(&ran.code), "{ran}");
        } else {
            ran.code(5).says("[scoped-inventory]").says_in_words("give the account VM.Audit");
        }
    });
    fleet.operator(|control| control.edit(|world| drop(world.access.acl.pop())));
    fleet.settled();
    assert_eq!((fleet.web(), fleet.db()), (web, db));
}

#[test]
pub fn a_guest_that_one_row_hides_is_not_gone() {
    hidden("hidden-guest", |id| format!("/vms/{id}"), "hides guests at `/vms/");
}

#[test]
pub fn guests_that_a_row_on_all_of_them_hides_are_not_gone() {
    hidden("hidden-vms", |_| "/vms".to_owned(), "VM.Audit");
}

#[test]
pub fn guests_that_a_row_on_their_pool_hides_are_not_gone() {
    hidden("hidden-pool", |_| "/pool/shop".to_owned(), "hides guests at `/pool/shop`");
}

#[test]
pub fn without_the_right_to_read_access_rows_nothing_is_known_to_be_gone() {
    let fleet = Fleet::start("no-sys-audit");
    let web = fleet.web();
    let take = |privilege: &str| {
        fleet.operator(|control| {
            control.edit(|world| {
                let role = world.access.custom_roles.get_mut("NovahostProvisioner").unwrap();
                assert!(role.contains(privilege));
                role.retain(|it| it != privilege);
            });
        });
    };
    take("Sys.Audit");
    fleet.operator(|control| control.delete_guest(web));
    let before = fleet.truth();
    let ran = fleet.run(FULL).code(5).says("[scoped-inventory]").says("Sys.Audit");
    before.is_still(&fleet.truth(), &[], &ran.out);
    fleet.wish(Wish::Gone);
    fleet.run(FULL);
    before.is_still(&fleet.truth(), &[], "nothing is deleted in the dark");
}

#[test]
pub fn a_row_that_the_list_leaves_out_is_found_on_its_node() {
    let fleet = Fleet::start("unlisted");
    let web = fleet.web();
    fleet.operator(|control| {
        control.rename(web, "renamed");
        control.edit(|world| world.datacenter.unlisted.extend([web]));
    });
    let before = fleet.truth();
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        // Its name comes back, and nothing is made or moved.
        let ran = fleet.run("apply --yes --allow reinit").code(0).says_not("create");
        before.is_still(&fleet.truth(), &[web], &ran.out);
        assert_eq!(fleet.web(), web);
    }
}

#[test]
pub fn a_machine_that_cannot_be_read_is_unknown_and_not_absent() {
    let fleet = Fleet::outside("unreadable", "");
    let web = fleet.web();
    fleet.operator(|control| {
        control.rename(web, "renamed");
        control.set_fault(Box::new(move |point| {
            let its_own = point.path.contains(&format!("/qemu/{web}/"));
            its_own.then(|| Fault::Status(500, "unable to parse its configuration".to_owned()))
        }));
    });
    fleet.tempt_twice(|wish, journal, ran| {
        if wish == Wish::Gone && !journal {
            ran.code(0);
        } else {
            let ran = ran.code(5).says("[unreadable-object]");
            ran.says_in_words(&format!("{web} (`renamed`) on pve-paris"));
        }
    });
    fleet.operator(|control| {
        control.clear_fault();
        control.rename(web, "web");
    });
    fleet.settled();
}

#[test]
pub fn a_list_that_is_cut_short_is_unknown_and_not_shorter() {
    let fleet = Fleet::outside("cut-short", "");
    let web = fleet.web();
    // Where its node would tell of it, and cannot, it is in no list at all.
    fleet.operator(|control| control.edit(|world| world.datacenter.unlisted.extend([web])));
    for template in ["/cluster/resources", "/nodes/{node}/qemu"] {
        fleet.operator(|control| {
            control.set_fault(Box::new(move |point| {
                (point.method == "GET" && point.template == template).then_some(Fault::CutBody)
            }));
        });
        fleet.tempt(&[Wish::Same, Wish::Gone], |_, ran| drop(ran.code(9)));
    }
    fleet.operator(|control| {
        control.clear_fault();
        control.edit(|world| world.datacenter.unlisted.clear());
    });
    fleet.settled();
}

#[test]
pub fn another_installation_behind_the_name_is_not_a_cluster_where_all_is_gone() {
    let fleet = Fleet::outside("repointed", "");
    let (_runtime, other) = cluster(super::FIRST_WORLD);
    let guests = || other.control().snapshot().guests.into_keys().collect::<Vec<_>>();
    let (before, yaml) = (guests(), fleet.it.read("novahost.yaml"));
    let hosts = [fleet.server().endpoint(), other.endpoint()];
    let bound = |identity: &str| {
        let hosts = hosts.each_ref().map(|it| format!("\"{}\"", it.trim_start_matches("https://")));
        fleet.trust(&format!(
            "[hypervisors.pve-paris]\nhosts = [{}]\nsecrets = [\"env:NOVAHOST_PVE_TOKEN\"]\n{identity}\n",
            hosts.join(", ")
        ));
    };
    bound("");
    let note = fleet.run("plan").code(0).err;
    let (_, identity) = note.split_once("identity = ").expect("it says how to pin it");
    let identity = format!("identity = \"{}\"", identity.split('"').nth(1).unwrap());
    fleet.it.write("ca.pem", &format!("{}{}", fleet.server().ca_pem(), other.ca_pem()));
    fleet.it.write("novahost.yaml", &yaml.replace(&hosts[0], &hosts[1]));
    // Where trust says nothing of identity, whoever answers is believed, and the journal
    // knows better.
    let ran = fleet.run(FULL).code(5).warns("mass-absence").warns("endpoint");
    assert_eq!(guests(), before, "{ran}");
    // Where it does, the other is not believed, with a journal or without.
    bound(&identity);
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        let ran = fleet.run(FULL).code(5).says_in_words("trust settings expect `pve-paris/sha256:");
        assert_eq!(guests(), before, "{ran}");
    }
    fleet.it.write("novahost.yaml", &yaml);
    fleet.run("plan --detailed-exitcode").code(0);
}

#[test]
pub fn one_cluster_under_two_names_is_refused_before_any_plan() {
    let fleet = Fleet::outside("twice", "");
    let yaml = fleet.it.read("novahost.yaml");
    let (head, tail) = yaml.split_once("networks:\n").unwrap();
    let entry = &head[head.find("  pve-paris:\n").unwrap()..];
    let twin = entry.replace("pve-paris", "pve-twin");
    fleet.it.write("novahost.yaml", &format!("{head}{}\n\nnetworks:\n{tail}", twin.trim_end()));
    let before = fleet.truth();
    for line in ["plan", FULL] {
        let ran = fleet.run(line).code(3).warns("`pve-paris` and `pve-twin`").says_not("Plan ");
        before.is_still(&fleet.truth(), &[], &ran.out);
    }
}
