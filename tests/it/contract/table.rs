//! The rules as a list: which row of ARCHITECTURE.md, section 6, each one holds, and who
//! else says so.

use super::{
    births, grants, kept,
    lab::Lab,
    labels, life, lost, observe, parts, read, refused, setups, spreads,
    subject::{
        Need,
        Scene::{self, Crowd, Idle, Labelled, Slow, Usual},
    },
    tasks, transport,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    pin::Pin,
};

/// Who says that this is how a product behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The product's own schema, over the recorded exchanges.
    Schema,
    /// An official client, which drives the simulator through the same calls.
    Proxmoxer,
    /// The vendor's own simulator, which answers the same calls the same way.
    Vcsim,
    /// Our simulator alone, of a behaviour for which the reference has a source.
    Mock,
    /// Nobody beside our own reading; or nobody at all, where the product has not what the
    /// rule is about.
    Nobody,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Witness::Schema => "schema check",
            Witness::Proxmoxer => "proxmoxer",
            Witness::Vcsim => "vcsim",
            Witness::Mock => "mock",
            Witness::Nobody => "witness: none",
        })
    }
}

type Check = fn(Lab) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One rule.
pub struct Rule {
    /// Its row in ARCHITECTURE.md.
    pub row: u8,
    /// Its name, which is that of its function.
    pub name: &'static str,
    /// The world it wants.
    pub scene: Scene,
    /// Whether it sends what must be refused, or plants faults.
    pub faulty: bool,
    /// Its witnesses: of Proxmox VE, of vCenter.
    pub witnesses: [Witness; 2],
    /// What a product must have so that it says anything.
    pub needs: &'static [Need],
    /// The rule itself.
    pub check: Check,
}

macro_rules! rules {
    ($($row:literal $module:ident::$name:ident $scene:ident $side:ident
        $first:ident $second:ident $([$($need:ident)*])?;)*) => {
        /// All rules, by row.
        pub static RULES: &[Rule] = &[$(Rule {
            row: $row,
            name: stringify!($name),
            scene: $scene,
            faulty: rules!(@faulty $side),
            witnesses: [Witness::$first, Witness::$second],
            needs: &[$($(Need::$need),*)?],
            check: |lab| Box::pin($module::$name(lab)),
        }),*];
    };
    (@faulty clean) => { false };
    (@faulty faulty) => { true };
}

rules! {
    1 observe::a_hypervisor_that_fails_says_why Usual faulty Nobody Mock;
    1 observe::a_renamed_machine_and_a_moved_one_are_seen_as_they_are_now Usual clean Schema Mock;
    2 observe::a_whole_view_is_complete Usual clean Schema Mock;
    2 observe::fewer_rights_are_scoped Usual faulty Nobody Mock;
    2 observe::a_row_that_hides_one_machine_is_scoped Usual clean Schema Nobody [HiddenTold];
    2 observe::a_silent_host_is_incomplete Usual faulty Nobody Mock;
    2 observe::a_frozen_installation_is_incomplete Usual clean Nobody Nobody [Quorum];
    2 observe::what_cannot_be_read_is_unknown_and_not_absent Usual faulty Nobody Mock;
    2 births::missing_rights_never_make_an_inventory_smaller Usual faulty Nobody Mock;
    3 observe::a_host_that_does_not_list_is_a_gap Usual faulty Nobody Nobody [HostsKnow];
    3 observe::a_listing_cut_short_is_never_a_shorter_list Usual faulty Nobody Mock;
    3 births::a_dead_session_is_no_empty_inventory Usual faulty Nobody Mock [Sessions];
    4 transport::another_installation_gets_no_change Usual faulty Nobody Mock;
    5 read::a_machine_is_found_where_it_moved Usual faulty Nobody Mock;
    5 read::absence_is_proved_on_every_host Usual faulty Nobody Mock;
    5 read::hidden_is_not_absent Usual faulty Nobody Mock;
    5 read::a_pool_is_there_or_it_is_not Usual faulty Nobody Nobody [OwnPools];
    6 read::a_version_changes_with_the_object_and_only_then Usual faulty Nobody Mock;
    6 life::pending_values_are_not_in_force Usual clean Schema Nobody [Pending];
    7 life::a_submit_sends_one_call Usual clean Nobody Mock;
    8 lost::a_lost_birth_is_looked_up Usual faulty Nobody Mock;
    8 lost::a_lost_change_is_looked_up Usual faulty Nobody Mock;
    8 lost::a_lost_call_about_a_label_is_looked_up Labelled faulty Nobody Mock [Labels];
    8 kept::a_lost_snapshot_is_looked_up Usual faulty Nobody Mock [OwnSnapshots];
    8 spreads::a_lost_call_about_a_rule_is_looked_up Usual faulty Nobody Mock [Spreads];
    8 setups::a_lost_setup_is_looked_up Usual faulty Nobody Mock [Setups];
    8 transport::a_read_is_tried_again_and_a_change_is_not Usual faulty Nobody Mock;
    9 refused::a_locked_machine_is_busy Usual faulty Nobody Mock;
    9 refused::what_exists_is_not_made_again Usual faulty Nobody Mock;
    9 grants::what_cannot_be_granted_is_refused Usual faulty Nobody Mock [PartedPools];
    9 parts::a_part_that_is_there_is_not_made_again Usual faulty Nobody Mock [PartedPools];
    9 refused::what_is_gone_is_missing Usual faulty Nobody Vcsim;
    9 refused::a_missing_privilege_is_a_permission Usual faulty Nobody Mock;
    9 labels::a_label_that_may_not_be_made_is_a_permission Labelled faulty Nobody Mock [Labels];
    9 setups::a_setup_that_does_not_fit_is_refused Usual faulty Nobody Mock [Setups];
    9 refused::what_never_left_is_not_sent Usual faulty Nobody Mock;
    10 refused::a_stale_version_is_a_conflict Usual faulty Nobody Mock;
    3 births::a_broken_chain_of_pages_is_never_a_shorter_list Crowd faulty Nobody Vcsim [Pages];
    10 births::a_conflict_in_a_task_is_told_as_one Usual faulty Nobody Mock [TypedFailures];
    11 life::what_a_step_does_not_speak_of_survives_it Usual clean Schema Mock;
    11 life::a_machine_changes_hands_by_its_marker_alone Usual clean Schema Mock;
    12 life::a_birth_is_off_marked_and_collides Usual clean Schema Vcsim;
    12 births::the_id_that_a_birth_tells_is_the_machine_s Usual clean Schema Vcsim;
    12 births::a_birth_is_found_by_our_uuid_and_never_made_twice Usual faulty Nobody Mock;
    12 births::a_linked_clone_hangs_on_the_named_snapshot Usual clean Nobody Mock [Snapshots];
    13 tasks::a_task_runs_then_is_done_and_answers_keep_their_order Slow clean Proxmoxer Vcsim;
    13 tasks::a_task_that_cannot_be_found_is_unknown Usual faulty Nobody Vcsim;
    13 tasks::the_end_of_a_task_is_told_in_the_product_s_words Usual faulty Nobody Mock;
    13 births::what_waits_for_its_turn_is_queued Usual faulty Nobody Mock [Queue];
    14 lost::a_lost_call_about_a_pool_is_looked_up Usual faulty Nobody Nobody [OwnPools];
    14 grants::a_lost_call_about_a_grant_is_looked_up Usual faulty Nobody Mock [PartedPools];
    14 parts::a_lost_call_about_a_part_is_looked_up Usual faulty Nobody Mock [PartedPools];
    14 lost::what_still_runs_is_running Slow faulty Nobody Mock;
    15 life::a_machine_is_born_from_a_template_as_declared Usual clean Schema Mock;
    15 life::a_machine_is_born_from_an_image_as_declared Usual clean Schema Mock;
    15 life::every_change_reads_back_as_declared Usual clean Schema Mock;
    15 life::a_machine_changes_its_pool Usual clean Schema Mock;
    15 labels::a_machine_bears_its_labels_beside_those_of_others Labelled clean Nobody Vcsim [Labels];
    15 labels::a_machine_is_born_with_its_labels Labelled clean Nobody Vcsim [Labels];
    15 spreads::machines_are_kept_apart_by_a_rule_of_our_name Usual clean Nobody Vcsim [Spreads];
    15 spreads::a_rule_with_machines_of_others_is_not_ours Usual clean Nobody Mock [Spreads];
    15 setups::a_guest_is_set_up_at_its_first_start Usual clean Nobody Vcsim [Setups];
    15 setups::descriptions_that_are_kept_are_seen Usual faulty Nobody Mock [Setups];
    15 life::a_pool_is_made_described_and_removed Usual clean Schema Nobody [OwnPools];
    15 parts::a_pool_of_parts_is_made_described_and_removed Usual clean Nobody Mock [PartedPools];
    15 grants::what_is_granted_on_a_pool_reads_back_as_granted Usual clean Nobody Mock [PartedPools];
    15 parts::a_pool_says_what_is_in_it Usual clean Nobody Mock [PartedPools];
    15 life::normalizing_twice_is_normalizing_once Usual clean Nobody Mock;
    15 births::a_machine_that_needs_a_person_is_locked Usual faulty Nobody Mock;
    15 life::addresses_are_told_to_a_guest_without_users Usual clean Schema Mock;
    15 life::a_disk_on_every_bus_reads_back Usual clean Schema Mock;
    15 life::a_disk_moves_to_another_storage_and_no_other_does Usual clean Nobody Mock [DiskMoves];
    15 life::a_pool_that_was_made_since_is_found Usual faulty Nobody Mock;
    16 life::what_cannot_be_had_is_an_error_while_planning Usual clean Nobody Mock;
    17 life::every_end_of_a_build_holds_when_it_is_done Usual clean Schema Mock;
    17 life::a_machine_starts_stops_and_goes Usual clean Schema Mock;
    17 life::a_guest_that_does_not_hear_is_switched_off Usual clean Nobody Mock;
    17 births::a_guest_without_tools_is_deaf Usual faulty Nobody Mock [Tools];
    17 kept::a_snapshot_is_taken_and_removed_and_no_other Usual clean Nobody Vcsim [OwnSnapshots];
    17 kept::what_linked_clones_hang_on_is_not_taken_away Usual faulty Nobody Mock [OwnSnapshots];
    17 kept::what_may_hang_on_it_and_cannot_be_seen_is_not_lost Usual faulty Nobody Mock [OwnSnapshots];
    18 life::a_half_made_machine_is_built_to_its_end Usual clean Schema Mock;
    19 life::a_device_is_in_the_map_from_the_call_that_makes_it Usual clean Schema Mock;
    19 births::a_card_that_was_added_is_found_by_its_handle Usual clean Schema Mock;
    20 transport::no_secret_is_said_aloud Usual faulty Nobody Mock;
    21 observe::an_inventory_costs_one_request_for_each_machine_that_matters Crowd clean Schema Vcsim;
    21 labels::tags_of_others_are_not_asked_about_one_by_one Labelled clean Nobody Mock [Labels];
    21 kept::snapshots_are_removed_with_one_look_at_the_others Usual clean Nobody Mock [OwnSnapshots];
    21 transport::a_redirect_is_not_followed Usual faulty Nobody Mock;
    21 transport::an_idle_connection_is_replaced Idle faulty Nobody Mock;
    21 transport::replies_are_compressed Crowd clean Proxmoxer Nobody [Compression];
    21 transport::the_next_endpoint_is_used_when_the_first_is_down Usual faulty Nobody Nobody [Addresses];
    21 transport::a_session_is_opened_once_renewed_and_closed Usual faulty Proxmoxer Vcsim;
    21 births::a_closed_provider_leaves_no_session Usual clean Nobody Vcsim [Sessions];
    22 read::an_error_says_whether_again_can_help Usual faulty Nobody Mock;
    23 observe::an_examination_makes_every_check_and_changes_nothing Usual faulty Nobody Mock;
    24 tasks::an_author_is_who_the_log_names_and_never_ourselves Usual clean Schema Mock;
    24 tasks::a_log_that_cannot_be_read_is_a_gap Usual faulty Nobody Mock;
}

/// What ARCHITECTURE.md has to say in the last three columns of a row.
fn cells(row: u8) -> [String; 3] {
    let rules = || RULES.iter().filter(|rule| rule.row == row);
    let names: Vec<_> = rules().map(|rule| format!("`{}`", rule.name)).collect();
    // A witness of one rule of a row is none of the others: said only when some rule has it.
    let said = |product: usize| {
        let witnesses: BTreeSet<_> = rules().map(|rule| rule.witnesses[product]).collect();
        let said: Vec<_> = witnesses.iter().map(ToString::to_string).collect();
        said.join(", ")
    };
    [names.join(" "), said(0), said(1)]
}

#[test]
fn the_table_of_rules_and_the_architecture_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text.split("## 6. ").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut written = BTreeMap::new();
    for line in section.lines() {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        if let [_, number, _, _, test, first, second, _] = columns[..]
            && let Ok(number) = number.parse::<u8>()
        {
            written.insert(number, [test, first, second].map(str::to_owned));
        }
    }
    for rule in RULES {
        let [first, second] = rule.witnesses.map(|it| it.to_string());
        println!("{:2} {:75} {first:13} {second}", rule.row, rule.name);
    }
    let wanted: BTreeMap<_, _> = RULES.iter().map(|rule| (rule.row, cells(rule.row))).collect();
    assert_eq!(written, wanted);
}
