//! How tasks stand.

use super::{
    lab::Lab,
    subject::{Point, Trouble},
};
use novahost::model::{Located, Submitted, TaskRef, TaskState};

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
    assert_eq!(lab.wait(&task).await, TaskState::Done);
    assert_eq!(lab.provider.poll(&[]).await, []);
}

pub async fn a_task_that_cannot_be_found_is_unknown(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    let fresh = lab.read().await;
    let Submitted::Accepted(task) = lab.send(&step, &fresh).await.0 else { panic!("no task") };
    lab.wait(&task).await;
    let other = TaskRef(task.0.replacen("qmclone", "qmcreate", 1));
    assert_ne!(other, task, "the name of a task was not understood");
    let states = lab.provider.poll(&[other, task]).await;
    assert!(matches!(&states[..], [TaskState::Unknown(_), TaskState::Done]), "{states:?}");
}

pub async fn the_end_of_a_task_is_told_in_the_product_s_words(lab: Lab) {
    let ends = [
        (Trouble::TaskFails("no space left on device".into()), "no space left", false),
        (Trouble::TaskWarns("could not wipe the old header".into()), "wipe the old header", true),
        (Trouble::TaskDies, "", false),
    ];
    for (trouble, words, happened) in ends {
        let lab = lab.again().await;
        let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
        let fresh = lab.read().await;
        lab.trouble(Point::Mutation, trouble.clone());
        let (submitted, mut intent) = lab.send(&step, &fresh).await;
        let Submitted::Accepted(task) = submitted else { panic!("{submitted:?}") };
        let state = lab.wait(&task).await;
        match (&trouble, &state) {
            (Trouble::TaskFails(_), TaskState::Failed(text))
            | (Trouble::TaskWarns(_), TaskState::Warned(text)) => {
                assert!(text.contains(words), "{text}");
            }
            (Trouble::TaskDies, TaskState::Unknown(_)) => continue,
            other => panic!("{other:?}"),
        }
        intent.task = Some(task);
        let located = lab.settle(&intent).await;
        assert_eq!(matches!(located, Located::Happened(_)), happened, "{located:?}");
    }
}
