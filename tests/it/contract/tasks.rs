//! How tasks stand.

use super::{
    lab::Lab,
    subject::{Act, Door, Need, Point, Trouble},
};
use novahost::model::{
    Altered, Author, Authors, FieldKind, Located, Submitted, Target, TaskRef, TaskState,
};
use std::collections::BTreeSet;

pub async fn a_task_runs_then_is_done_and_answers_keep_their_order(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    let fresh = lab.read().await;
    let Submitted::Accepted(task) = lab.send(&step, &fresh).await.0 else { panic!("no task") };
    let garbage = TaskRef("what is this".into());
    let both = [garbage.clone(), task.clone(), garbage];
    let states = lab.provider.poll(&both).await;
    assert!(
        matches!(&states[..], [TaskState::Unknown(_), TaskState::Running, TaskState::Unknown(_)]),
        "{states:?}"
    );
    assert!(matches!(lab.wait(&task).await, TaskState::Done(_)));
    assert_eq!(lab.provider.poll(&[]).await, []);
}

pub async fn a_task_that_cannot_be_found_is_unknown(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    let fresh = lab.read().await;
    let Submitted::Accepted(task) = lab.send(&step, &fresh).await.0 else { panic!("no task") };
    lab.wait(&task).await;
    let other = lab.world.other_task(&task);
    assert_ne!(other, task, "the name of a task was not understood");
    let states = lab.provider.poll(&[other, task]).await;
    assert!(matches!(&states[..], [TaskState::Unknown(_), TaskState::Done(_)]), "{states:?}");
}

pub async fn the_end_of_a_task_is_told_in_the_product_s_words(lab: Lab) {
    let ends = [
        (Trouble::TaskFails("no space left on device".into()), "no space left", false),
        (Trouble::TaskWarns("could not wipe the old header".into()), "wipe the old header", true),
        (Trouble::TaskDies, "", false),
    ];
    for (trouble, words, happened) in ends {
        if matches!(trouble, Trouble::TaskWarns(_)) && !lab.has(Need::Warnings) {
            continue;
        }
        let lab = lab.again().await;
        let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
        let fresh = lab.read().await;
        lab.trouble(Point::Mutation, trouble.clone());
        let (submitted, mut intent) = lab.send(&step, &fresh).await;
        let Submitted::Accepted(task) = submitted else { panic!("{submitted:?}") };
        let state = lab.wait(&task).await;
        match (&trouble, &state) {
            (Trouble::TaskFails(_), TaskState::Failed(refusal)) => {
                assert!(refusal.text.contains(words), "{refusal:?}");
            }
            (Trouble::TaskWarns(_), TaskState::Done(receipt)) => {
                assert!(receipt.notes.iter().any(|note| note.contains(words)), "{receipt:?}");
            }
            (Trouble::TaskDies, TaskState::Unknown(_)) => continue,
            other => panic!("{other:?}"),
        }
        intent.task = Some(task);
        let located = lab.settle(&intent).await;
        assert_eq!(matches!(located, Located::Happened(_)), happened, "{located:?}");
    }
}

fn altered(target: &Target, fields: &[FieldKind]) -> Altered {
    Altered {
        id: target.id().cloned().unwrap_or_else(|| "nowhere".into()),
        node: target.node.clone(),
        fields: fields.iter().copied().collect(),
        since_ms: Some(1),
        ours: BTreeSet::new(),
    }
}

/// Whom the log names for one machine, where it can be read.
async fn named(lab: &Lab, altered: &Altered) -> Option<Author> {
    let Authors { mut found, gaps } = lab.provider.authors(std::slice::from_ref(altered)).await;
    assert!(gaps.is_empty(), "{gaps:?}");
    found.remove(&altered.id)
}

pub async fn an_author_is_who_the_log_names_and_never_ourselves(lab: Lab) {
    let foreign = lab.props().foreign.clone();
    let cpu = altered(&foreign, &[FieldKind::Cpu]);
    // What changed without a task has no author.
    lab.act(Act::Edit(foreign.id().unwrap()));
    assert_eq!(named(&lab, &cpu).await, None);
    lab.act(Act::Work(foreign.id().unwrap()));
    let author = named(&lab, &cpu).await.unwrap();
    assert_eq!(author.who, lab.props().outsider);
    assert!(!author.task.is_empty());
    // Not for what such a task cannot change, nor when we wrote later.
    assert_eq!(named(&lab, &altered(&foreign, &[FieldKind::Pool])).await, None);
    let later = Altered { since_ms: Some(author.at_ms + 3_600_000), ..cpu.clone() };
    assert_eq!(named(&lab, &later).await, None);
    // Requests are counted by hosts, not by machines.
    let before = lab.world.requests();
    lab.provider.authors(std::slice::from_ref(&cpu)).await;
    let one = lab.world.requests() - before;
    lab.provider.authors(&vec![cpu.clone(); 50]).await;
    assert_eq!(lab.world.requests() - before, 2 * one);
    // Our own work, by name, or by account where nobody remembers.
    let machine = lab.small().await;
    let ours = altered(&lab.target(), &[FieldKind::Cpu]);
    let task = named(&lab, &ours).await;
    let told = task.is_some_and(|it| it.who != lab.props().outsider);
    assert_eq!(told, lab.has(Need::NamedTasks), "it is in the log");
    assert_eq!(named(&lab, &Altered { since_ms: None, ..ours }).await, None);
    drop(machine);
    // What is gone is asked of all hosts at once.
    lab.act(Act::Destroy(foreign.id().unwrap()));
    let gone = altered(&Target { node: None, ..foreign }, &[]);
    assert_eq!(named(&lab, &gone).await.unwrap().who, lab.props().outsider);
}

pub async fn a_log_that_cannot_be_read_is_a_gap(lab: Lab) {
    let foreign = lab.props().foreign.clone();
    lab.act(Act::Work(foreign.id().unwrap()));
    let asked = [
        altered(&foreign, &[FieldKind::Cpu]),
        altered(&Target { node: None, ..lab.target() }, &[]),
    ];
    let whole = lab.provider.authors(&asked).await;
    assert!(whole.found.len() == 1 && whole.gaps.is_empty(), "{whole:?}");
    for door in [Door::WrongSecret, Door::WrongIdentity, Door::Dead] {
        let nothing = lab.world.provider(door).authors(&asked).await;
        assert!(nothing.found.is_empty() && !nothing.gaps.is_empty(), "{nothing:?}");
    }
    // An account that sees only its own tasks says so, rather than that nobody did it.
    lab.act(Act::Narrow);
    let blind = lab.provider.authors(&asked).await;
    assert!(blind.found.is_empty() && blind.gaps.len() == 2, "{blind:?}");
    assert_eq!(lab.world.mutations(), 0);
}
