//! Connections, sessions, trust, and what must not be said aloud.

use super::{
    lab::{Lab, PASSWORD, absent},
    subject::{Act, Door, Point, Trouble, WRONG_SECRET},
};
use novahost::{
    model::{Change, Coverage, FreshObject, Located, Scope, Submitted, TaskState},
    provider::Provider,
};
use std::{error::Error, fmt::Write as _, time::Duration};

pub async fn another_installation_gets_no_change(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    // Before this, nothing of ours has arrived through these doors.
    for door in [Door::WrongPin, Door::WrongAuthority] {
        let before = lab.world.requests();
        let provider = lab.world.provider(door);
        let _ = provider.observe(&lab.scope()).await;
        assert!(provider.list().await.is_err() && provider.read(&lab.target()).await.is_err());
        assert_eq!(lab.world.requests(), before, "{door:?}: a credential was sent");
    }
    let other = lab.world.provider(Door::WrongIdentity);
    let (_, intent) = lab.submit(&*other, &lab.target(), &step, &step.op, &absent()).await;
    assert_eq!(lab.world.mutations(), 0);
    assert!(matches!(other.locate(&intent).await, Located::StillUnknown(_)));
    for door in [Door::RightIdentity, Door::RightPin] {
        let seen = lab.world.provider(door).observe(&lab.scope()).await;
        assert_eq!(seen.coverage, Coverage::Complete, "{door:?}");
    }
    let right = lab.world.provider(Door::RightIdentity);
    let (submitted, _) = lab.submit(&*right, &lab.target(), &step, &step.op, &absent()).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
}

pub async fn a_read_is_tried_again_and_a_change_is_not(lab: Lab) {
    for trouble in [Trouble::GatewayBefore, Trouble::LostBefore, Trouble::LostAfter] {
        lab.world.trouble(Point::Listing, trouble.clone(), 2);
        assert!(lab.provider.list().await.is_ok(), "{trouble:?}");
    }
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    lab.world.trouble(Point::Mutation, Trouble::GatewayBefore, 1);
    let (submitted, _) = lab.send(&step, &absent()).await;
    assert!(matches!(submitted, Submitted::Unknown(_)), "{submitted:?}");
    assert_eq!(lab.world.mutations(), 1);
}

pub async fn a_redirect_is_not_followed(lab: Lab) {
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    lab.trouble(Point::Mutation, Trouble::Redirect);
    let (submitted, _) = lab.send(&step, &absent()).await;
    assert!(matches!(submitted, Submitted::Refused(_) | Submitted::Unknown(_)), "{submitted:?}");
    assert_eq!(lab.world.mutations(), 1);
    assert_eq!(lab.truth(), "nothing");
}

pub async fn an_idle_connection_is_replaced(lab: Lab) {
    let foreign = lab.props().foreign.clone();
    for step in lab
        .lower(&Change::Stop(novahost::model::PowerState::Running))
        .into_iter()
        .chain(lab.lower(&Change::Start))
    {
        let fresh = lab.provider.read(&foreign).await.unwrap();
        // In pieces: on a busy machine both sides may wake up at the same moment.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (submitted, _) = lab.submit(&*lab.provider, &foreign, &step, &step.op, &fresh).await;
        match submitted {
            Submitted::Accepted(task) => {
                assert!(matches!(lab.wait(&task).await, TaskState::Done(_)));
            }
            Submitted::Done(_) => {}
            other => panic!("{other:?}"),
        }
        lab.reaches(&foreign, &step).await;
    }
}

pub async fn replies_are_compressed(lab: Lab) {
    assert_eq!(lab.observe().await.coverage, Coverage::Complete);
    assert!(lab.world.compressed() > 0);
}

pub async fn the_next_endpoint_is_used_when_the_first_is_down(lab: Lab) {
    let provider = lab.world.provider(Door::FirstDead);
    assert_eq!(provider.observe(&lab.scope()).await.coverage, Coverage::Complete);
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    let (submitted, _) = lab.submit(&*provider, &lab.target(), &step, &step.op, &absent()).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
}

pub async fn a_session_is_opened_once_renewed_and_closed(lab: Lab) {
    let provider = lab.world.provider(Door::Session);
    assert_eq!(provider.observe(&lab.scope()).await.coverage, Coverage::Complete);
    assert!(provider.list().await.is_ok());
    assert_eq!(lab.world.logins(), 1);
    lab.trouble(Point::Listing, Trouble::Expired);
    assert!(provider.list().await.is_ok());
    assert_eq!(lab.world.logins(), 2);
    provider.close().await;
    assert!(provider.list().await.is_ok());
    assert_eq!(lab.world.logins(), 3);
    let step = lab.build_steps(&lab.desired(true), None).await.remove(0);
    let (submitted, _) = lab.submit(&*provider, &lab.target(), &step, &step.op, &absent()).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
}

/// An error with all its causes, in every spelling.
fn spell(error: &dyn Error) -> String {
    let mut text = format!("{error} {error:?} ");
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, "{cause} {cause:?} ");
        next = cause.source();
    }
    text
}

pub async fn no_secret_is_said_aloud(lab: Lab) {
    let mut said = String::new();
    for door in [Door::WrongSecret, Door::WrongPin, Door::WrongIdentity, Door::Dead, Door::Session]
    {
        let provider: std::sync::Arc<dyn Provider> = lab.world.provider(door);
        let _ = write!(said, "{:?} ", provider.observe(&Scope::default()).await);
        if let Err(error) = provider.read(&lab.target()).await {
            said.push_str(&spell(&error));
        }
    }
    let machine = lab.desired(true);
    let mut steps = lab.build_steps(&machine, None).await.into_iter();
    let clone = steps.next().unwrap();
    let wrong = lab.world.provider(Door::WrongSecret);
    let (submitted, _) = lab.submit(&*wrong, &lab.target(), &clone, &clone.op, &absent()).await;
    let _ = write!(said, "{submitted:?} ");
    lab.must(&clone).await;
    // The server says the password back, whole and as it was sent.
    let seed = steps.find(|step| step.op.name() == "configure").unwrap();
    let fresh = lab.read().await;
    lab.trouble(Point::Mutation, Trouble::Echo);
    let (submitted, intent) = lab.send(&seed, &fresh).await;
    let _ = write!(said, "{submitted:?} {intent:?} {seed:?} ");
    if let Submitted::Unknown(error) | Submitted::NotSent(error) = &submitted {
        said.push_str(&spell(error));
    }
    lab.must(&seed).await;
    let fresh = lab.read().await;
    assert!(matches!(fresh.object, FreshObject::Machine(_)));
    let _ = write!(said, "{fresh:?} {} ", fresh.raw);
    lab.act(Act::HostDown(true));
    let _ = write!(said, "{:?} ", lab.observe().await);
    for secret in lab.world.secrets().iter().map(String::as_str).chain([PASSWORD, WRONG_SECRET]) {
        assert!(!said.contains(secret), "`{secret}` is said");
    }
    assert!(said.len() > 2000, "nothing was said at all");
}
