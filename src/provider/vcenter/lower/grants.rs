//! What is granted on the parts of a pool, one call for each part and each of those who are
//! granted something: of a call with several, the product may do a part.

use super::step;
use crate::model::{Expect, GrantChange, GrantEnd, Step, StepOp};

/// What goes first, then the roles, then what is granted with them.
pub(super) fn lower(change: &GrantChange) -> Vec<Step> {
    let ends = |end: GrantEnd| Expect { grants: vec![end], ..Expect::default() };
    let take = change.take.iter().map(|(part, grantee)| {
        let (part, grantee) = (part.clone(), grantee.clone());
        let end = GrantEnd { part: part.clone(), grantee: grantee.clone(), role: None };
        step(StepOp::Revoke { part, grantee }, Expect::default(), ends(end))
    });
    let make = change.make.iter().map(|role| {
        let end = Expect { roles: [*role].into(), ..Expect::default() };
        step(StepOp::MakeRole { role: *role }, Expect::default(), end)
    });
    let give = change.give.iter().map(|(part, grantee, role)| {
        let (part, grantee, role) = (part.clone(), grantee.clone(), *role);
        let end = GrantEnd { part: part.clone(), grantee: grantee.clone(), role: Some(role) };
        step(StepOp::Grant { part, grantee, role }, Expect::default(), ends(end))
    });
    take.chain(make).chain(give).collect()
}
