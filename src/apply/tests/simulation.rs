//! Many short histories with faults by chance. Nothing unsafe ever happens; once
//! faults stop, another run of the same steps converges.

use super::{
    super::{Ended, Inputs, RunSummary, run},
    create, create_unnumbered, delete, inputs, nothing_unsafe, plan, update,
    world::{Dice, FakeJournal, World, owned},
};
use crate::model::{Action, PowerState, ResourceKey};
use std::{sync::Arc, time::Duration};

/// Histories of each kind. Enough to meet every pair of faults; a failure prints its seed.
const HISTORIES: u64 = 400;

fn start(seed: u64, hostile: bool) -> Arc<World> {
    let world = World::new();
    // Who chooses the ids makes no difference to any promise.
    world.state().assigns_ids = seed % 2 == 1;
    for (id, name) in [("200", "db-1"), ("201", "db-2")] {
        world.put(owned(id, name));
    }
    let mut old = owned("202", "old-1");
    old.power = PowerState::Running;
    world.put(old);
    let mut dice = Dice::new(seed);
    let percent = 10 + dice.next(60);
    world.state().chance = Some((dice, percent, hostile));
    world
}

/// What is still to be done, planned from what is there now.
fn todo(world: &World) -> Vec<Action> {
    let assigned = world.state().assigns_ids;
    let born = |n: u32| {
        let name = format!("web-{n}");
        if assigned { create_unnumbered(&name) } else { create(&name, &(100 + n).to_string()) }
    };
    let mut actions: Vec<Action> = (0..4).map(born).collect();
    for (id, name) in [("200", "db-1"), ("201", "db-2")] {
        actions.push(update(world, name, id));
    }
    if world.get("202").is_some() {
        actions.push(delete(world, "old-1", "202"));
    }
    actions
}

async fn once(world: &Arc<World>, seed: u64) -> RunSummary {
    let planned = plan(todo(world), &[("vm/web-0:create", "vm/web-1:create")]);
    let mut inputs = inputs(world, planned);
    inputs.jitter_seed = seed;
    run(inputs).await
}

async fn history(seed: u64, hostile: bool) {
    let world = start(seed, hostile);
    let bystanders = ["500", "501", "9000"].map(|id| world.get(id));
    once(&world, seed).await;
    nothing_unsafe(&world);
    world.calm();
    // A row that cannot be told about today is told about in the second run.
    let summary = once(&world, seed).await;
    nothing_unsafe(&world);
    assert_eq!(["500", "501", "9000"].map(|id| world.get(id)), bystanders);
    let disturbed = world.state().disturbed.clone();
    for report in &summary.actions {
        let waits_for_disturbed = report.id.as_str() == "vm/web-1:create"
            && disturbed.contains(&ResourceKey::vm("web-0"));
        if !disturbed.contains(&report.key) && !waits_for_disturbed {
            assert_eq!(report.ended, Ended::Done, "{}: {report:?}", report.id);
        }
    }
}

/// Runs a history in a task of its own, so that a failure can name its seed.
async fn with_seed(seed: u64, hostile: bool) {
    if let Err(error) = tokio::spawn(history(seed, hostile)).await {
        assert!(!error.is_panic(), "seed {seed}, hostile {hostile}: {error}");
    }
}

#[tokio::test]
async fn faults_of_the_network_do_no_harm_and_leave_nothing_undone() {
    for seed in 0..HISTORIES {
        with_seed(seed, false).await;
    }
}

#[tokio::test]
async fn faults_of_other_people_do_no_harm_either() {
    for seed in 0..HISTORIES {
        with_seed(seed, true).await;
    }
}

/// Two runners with separate journals make the same machine: at different ids, or where the
/// hypervisor assigns them, so that only the names collide.
async fn race(seed: u64) -> (usize, [Ended; 2]) {
    let world = World::new();
    let mut dice = Dice::new(seed);
    world.state().eyes_on_rows = false;
    world.state().task_time = Duration::from_millis(200 + dice.next(4000));
    let assigned = seed % 4 == 3;
    world.state().assigns_ids = assigned;
    let born = |id| if assigned { create_unnumbered("web-1") } else { create("web-1", id) };
    let first = inputs(&world, plan(vec![born("100")], &[]));
    let mut other = plan(vec![born("110")], &[]);
    other.plan_id = "another".to_owned();
    if !assigned {
        // Each claims the name as well; only the listing tells them of each other.
        other.body.actions[0].claims.truncate(1);
    }
    let journal = Arc::new(FakeJournal::default());
    let second = Inputs { journal, ..inputs(&world, other) };
    let head_start = dice.next(400);
    world.state().chance = Some((dice, 15, false));
    let late = async {
        for _ in 0..head_start {
            tokio::task::yield_now().await;
        }
        run(second).await
    };
    let (one, two) = tokio::join!(run(first), late);
    assert_eq!(world.state().violations, Vec::<String>::new(), "seed {seed}");
    let started = world.state().started.len();
    assert!(started <= 1, "seed {seed}: {started} machines of one key were started");
    (started, [one, two].map(|mut it| it.actions.remove(0).ended))
}

#[tokio::test]
async fn of_two_runners_that_race_for_a_key_at_most_one_starts_its_machine() {
    let (mut won, mut withdrew) = (0, 0);
    for seed in 0..HISTORIES {
        let (started, ends) = race(seed).await;
        won += started;
        let removed = |it: &&Ended| matches!(it, Ended::Stale(why) if why.contains("removed"));
        withdrew += ends.iter().filter(removed).count();
    }
    // The race is a race: sometimes somebody wins, and sometimes the other one sees it.
    assert!(won > 0 && withdrew > 0, "{won} won, {withdrew} withdrew");
}
