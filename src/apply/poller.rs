//! One follower of tasks per hypervisor: many tasks, one question.

use super::{
    Stop,
    limits::{POLL_GROWTH, POLL_MAX, POLL_START, POLL_UNKNOWN_MAX},
};
use crate::{
    clock::Clock,
    model::{TaskRef, TaskState},
    provider::Provider,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Questions waiting to be taken up. Each comes from an action in flight, which are
/// fewer; more would only wait here instead of there.
const QUEUE_MAX: usize = 64;

/// How the following of a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// The task ended, or cannot be told any more.
    Ended(TaskState),
    /// It still runs, and the bound is reached.
    TooLong,
}

/// How long a task is followed.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// In all.
    pub(super) task: Duration,
    /// After an interrupt.
    pub(super) drain: Duration,
    /// Tells of the interrupt.
    pub(super) stop: Stop,
}

/// Asks how tasks stand, all that are due in one call.
pub(super) struct Poller {
    queue: mpsc::Sender<Question>,
}

type Question = (TaskRef, oneshot::Sender<Followed>);

struct Open {
    task: TaskRef,
    reply: oneshot::Sender<Followed>,
    delay: Duration,
    due: Duration,
    until: Duration,
    unknown: u32,
}

impl Poller {
    /// Begins to follow. It ends by itself when the poller is dropped.
    pub(super) fn start(provider: Arc<dyn Provider>, clock: Clock, patience: Patience) -> Self {
        let (queue, taken) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(follow_all(provider, clock, patience, taken));
        Self { queue }
    }

    /// The state in which a task ends.
    pub(super) async fn finish(&self, task: TaskRef) -> Followed {
        let (reply, answer) = oneshot::channel();
        let gone =
            || Followed::Ended(TaskState::Unknown("the follower of tasks has ended".to_owned()));
        if self.queue.send((task, reply)).await.is_err() {
            return gone();
        }
        answer.await.unwrap_or_else(|_| gone())
    }
}

async fn follow_all(
    provider: Arc<dyn Provider>,
    clock: Clock,
    patience: Patience,
    mut taken: mpsc::Receiver<Question>,
) {
    let mut open: Vec<Open> = Vec::new();
    let mut draining = false;
    let begin = |(task, reply): Question| {
        let now = clock.monotonic();
        let (due, until) = (now + POLL_START, now + patience.task);
        Open { task, reply, delay: POLL_START, due, until, unknown: 0 }
    };
    loop {
        let Some(due) = open.iter().map(|it| it.due).min() else {
            match taken.recv().await {
                Some(new) => open.push(begin(new)),
                None => return,
            }
            continue;
        };
        tokio::select! {
            biased;
            new = taken.recv(), if !taken.is_closed() => {
                open.extend(new.map(begin));
                continue;
            }
            () = clock.sleep(due.saturating_sub(clock.monotonic())) => {}
        }
        if patience.stop.gentle.is_cancelled() && !draining {
            draining = true;
            let until = clock.monotonic() + patience.drain;
            open.iter_mut().for_each(|it| it.until = it.until.min(until));
        }
        // Nobody waits any more for a task whose action has detached.
        open.retain(|it| !it.reply.is_closed());
        ask(provider.as_ref(), &clock, &patience, draining, &mut open).await;
    }
}

async fn ask(
    provider: &dyn Provider,
    clock: &Clock,
    patience: &Patience,
    draining: bool,
    open: &mut Vec<Open>,
) {
    // Those that are nearly due come along: one call serves them all.
    let horizon = clock.monotonic() + POLL_START;
    let (due, mut rest): (Vec<_>, Vec<_>) =
        std::mem::take(open).into_iter().partition(|it| it.due <= horizon);
    let tasks: Vec<TaskRef> = due.iter().map(|it| it.task.clone()).collect();
    let states = if tasks.is_empty() { Vec::new() } else { provider.poll(&tasks).await };
    let mut states = states.into_iter();
    for mut it in due {
        let state = states
            .next()
            .unwrap_or_else(|| TaskState::Unknown("no answer for this task".to_owned()));
        match state {
            TaskState::Running => it.unknown = 0,
            TaskState::Queued => {
                it.unknown = 0;
                // Its time begins when it does; an interrupt waits for no turn.
                if !draining {
                    it.until = clock.monotonic() + patience.task;
                }
            }
            TaskState::Unknown(_) if it.unknown < POLL_UNKNOWN_MAX => it.unknown += 1,
            TaskState::Done(_) | TaskState::Failed(_) | TaskState::Unknown(_) => {
                let _ = it.reply.send(Followed::Ended(state));
                continue;
            }
        }
        let now = clock.monotonic();
        if now >= it.until {
            let _ = it.reply.send(Followed::TooLong);
            continue;
        }
        it.delay = it.delay.mul_f64(POLL_GROWTH).min(POLL_MAX);
        it.due = now + it.delay;
        rest.push(it);
    }
    *open = rest;
}
