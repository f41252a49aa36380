//! One object from its own place: where it is, whether it is not, and as of when.

use super::{
    lab::{Lab, absent, pool},
    subject::{Act, Door, Need},
};
use novahost::model::{ErrorKind, FreshObject, Retry, Target};

pub async fn a_machine_is_found_where_it_moved(lab: Lab) {
    let foreign = lab.props().foreign.clone();
    lab.act(Act::Migrate(foreign.id().unwrap()));
    for node in [foreign.node.clone(), None] {
        let fresh = lab.provider.read(&Target { node, ..foreign.clone() }).await.unwrap();
        let FreshObject::Machine(machine) = fresh.object else { panic!("{fresh:?}") };
        assert_eq!(machine.node.as_ref(), Some(&lab.props().hosts[2]));
    }
    // Its host may be down by now: whoever asks the hosts cannot tell, and nobody calls it absent.
    lab.act(Act::HostDown(true));
    match lab.provider.read(&foreign).await {
        Ok(fresh) => assert!(matches!(fresh.object, FreshObject::Unreadable(_)), "{fresh:?}"),
        Err(error) => assert_eq!(error.kind, ErrorKind::Unreachable),
    }
}

pub async fn absence_is_proved_on_every_host(lab: Lab) {
    assert!(matches!(lab.read().await.object, FreshObject::Absent));
    if lab.has(Need::HostsKnow) {
        lab.act(Act::HostDown(true));
        let error = lab.provider.read(&lab.target()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unreachable);
        lab.act(Act::HostDown(false));
    }
    if lab.has(Need::Quorum) {
        lab.act(Act::Frozen(true));
        assert!(lab.provider.read(&lab.target()).await.is_err());
        lab.act(Act::Frozen(false));
    }
    lab.act(Act::Delete(lab.props().foreign.id().unwrap()));
    let gone = lab.provider.read(&lab.props().foreign).await.unwrap();
    assert!(matches!(gone.object, FreshObject::Absent));
    lab.act(Act::BeginBirth(&lab.target().at));
    assert!(matches!(lab.read().await.object, FreshObject::Unreadable(_)));
}

pub async fn hidden_is_not_absent(lab: Lab) {
    lab.act(Act::Hide(lab.props().foreign.id().unwrap()));
    let error = lab.provider.read(&lab.props().foreign).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission);
    lab.act(Act::Narrow);
    let error = lab.provider.read(&lab.props().foreign).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Permission);
    let nowhere = Target { node: None, ..lab.props().foreign.clone() };
    assert_eq!(lab.provider.read(&nowhere).await.unwrap_err().kind, ErrorKind::Permission);
    // Few rights are enough to prove that an id or a name is free, while every host answers.
    assert!(matches!(lab.read().await.object, FreshObject::Absent));
    if lab.has(Need::HostsKnow) {
        lab.act(Act::HostDown(true));
        assert!(lab.provider.read(&lab.target()).await.is_err());
    }
}

pub async fn a_version_changes_with_the_object_and_only_then(lab: Lab) {
    let foreign = lab.props().foreign.clone();
    let version = async || lab.provider.read(&foreign).await.unwrap().version.unwrap();
    let first = version().await;
    assert_eq!(version().await, first);
    lab.act(Act::Edit(foreign.id().unwrap()));
    let second = version().await;
    assert_ne!(second, first);
    assert!(absent().version.is_none() && lab.read().await.version.is_none());
}

pub async fn a_pool_is_there_or_it_is_not(lab: Lab) {
    assert!(matches!(lab.provider.read(&pool()).await.unwrap().object, FreshObject::Absent));
    let other = Target::with_id(pool().key, lab.props().pool.as_str(), None);
    let FreshObject::Pool(found) = lab.provider.read(&other).await.unwrap().object else {
        panic!("no pool")
    };
    assert_eq!(found.members.len(), 1);
    assert!(found.marker.found().is_none() && !found.comment.is_empty());
}

pub async fn an_error_says_whether_again_can_help(lab: Lab) {
    let again = async |door: Door| {
        let error = lab.world.provider(door).read(&lab.target()).await.unwrap_err();
        (error.kind, error.retry != Retry::No)
    };
    assert_eq!(again(Door::WrongSecret).await, (ErrorKind::Auth, false));
    assert_eq!(again(Door::WrongPin).await, (ErrorKind::Certificate, false));
    assert_eq!(again(Door::WrongAuthority).await, (ErrorKind::Certificate, false));
    assert_eq!(again(Door::WrongIdentity).await, (ErrorKind::Identity, false));
    assert_eq!(again(Door::Dead).await, (ErrorKind::Unreachable, true));
    if lab.has(Need::HostsKnow) {
        lab.act(Act::HostDown(true));
        assert_eq!(again(Door::Usual).await, (ErrorKind::Unreachable, true));
        lab.act(Act::HostDown(false));
    }
    lab.act(Act::Hide(lab.props().foreign.id().unwrap()));
    let error = lab.provider.read(&lab.props().foreign).await.unwrap_err();
    assert_eq!(error.retry, Retry::No);
}
