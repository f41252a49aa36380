//! Files that were emptied, or that are not all there.

use super::{FLEET, Fleet};

/// A fleet whose machines stand in files of their own.
fn in_files(name: &str, count: usize) -> Fleet {
    let (head, _) = FLEET.split_once("vms:\n").unwrap();
    let yaml = head.replacen("project: shop\n", "project: shop\ninclude: [vms/*.yaml]\n", 1);
    Fleet::made(name, &yaml, |it| {
        std::fs::create_dir(it.path("vms")).unwrap();
        for number in 1..=count {
            let text = format!("vms:\n  n{number}: {{ profile: small, power: stopped }}\n");
            it.write(&format!("vms/n{number}.yaml"), &text);
        }
    })
}

fn remove(fleet: &Fleet, numbers: std::ops::RangeInclusive<usize>) {
    for number in numbers {
        std::fs::remove_file(fleet.it.path(&format!("vms/n{number}.yaml"))).unwrap();
    }
}

const DELETES: &str = "apply --yes --allow delete";

#[test]
pub fn half_of_the_files_missing_is_a_refusal() {
    let fleet = in_files("half-the-files", 8);
    let before = fleet.truth();
    remove(&fleet, 5..=8);
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        let ran = fleet.run(DELETES).code(5);
        before.is_still(&fleet.truth(), &[], &ran.out);
        let ran = ran.says_in_words("4 of 8 owned machines are no longer in the YAML");
        ran.warns("empty-source").warns("--expect-shrink 4");
    }
    // Fewer than were announced is as good; more is not.
    fleet.run(&format!("{DELETES} --expect-shrink 3")).code(5);
    before.is_still(&fleet.truth(), &[], "three were announced");
    let confirm = "--confirm vm/n5,vm/n6,vm/n7,vm/n8";
    fleet.run(&format!("{DELETES} --expect-shrink 4 {confirm}")).code(0).says("4 done");
    fleet.run("plan --detailed-exitcode").code(0);
}

#[test]
pub fn files_that_were_emptied_delete_nothing() {
    let fleet = in_files("emptied", 4);
    let before = fleet.truth();
    remove(&fleet, 1..=4);
    fleet.run(DELETES).code(3).warns("`vms/*.yaml` matches no file");
    fleet.it.write("vms/n1.yaml", "vms: {}\n");
    for journal in [true, false] {
        if !journal {
            fleet.lose_journal();
        }
        let ran = fleet.run(DELETES).code(5).says_in_words("4 of 4 owned machines");
        before.is_still(&fleet.truth(), &[], &ran.out);
        ran.warns("empty-source").warns("--expect-shrink 4");
    }
}
