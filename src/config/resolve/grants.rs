//! Who is granted what on which pool: a grant names an entry of `users`, which says who that
//! is on a hypervisor.

use super::places::Places;
use super::table::{Item, Table};
use crate::config::decode::Cx;
use crate::config::diagnostic::{Diagnostic, Span};
use crate::config::raw::{Product, RawGrant, RawHypervisor, RawPool, RawUser};
use crate::config::scalar::Name;
use crate::model::{Grant, Grantee, HypervisorName};
use std::collections::BTreeMap;

/// What the grants of a pool are looked up in.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Those who can be granted something.
    pub users: &'a Table<RawUser>,
    /// Where pools are.
    pub hypervisors: &'a Table<RawHypervisor>,
    /// Where everything stands.
    pub places: &'a Places<'a>,
}

/// A grant with the user that it names.
type Found<'a> = (&'a RawGrant, &'a Name, &'a Item<RawUser>);

/// The grants of one pool, by hypervisor.
pub fn acl(
    pool: &RawPool,
    around: Around<'_>,
    cx: &mut Cx<'_>,
) -> BTreeMap<HypervisorName, Vec<Grant>> {
    let mut all = BTreeMap::new();
    let mut found: Vec<Found<'_>> = Vec::new();
    for grant in &pool.acl {
        let user = around.users.find(&grant.user.value.0, grant.user.span, cx);
        found.extend(user.map(|(name, item)| (grant, name, item)));
    }
    for hypervisor in pool.at.0.keys() {
        let there = around.hypervisors.get(hypervisor.as_str());
        let Some(product) = there.and_then(|it| it.value.as_ref()).map(RawHypervisor::product)
        else {
            continue;
        };
        match product {
            Product::Vcenter => {
                let grants = at(hypervisor, &found, around, cx);
                all.insert(HypervisorName::new(hypervisor.shared()), grants);
            }
            Product::Proxmox => {
                if let Some(first) = pool.acl.first() {
                    refuse("`acl` of a pool", hypervisor, first.user.span, cx);
                }
            }
        }
    }
    all
}

/// The grants on one hypervisor.
fn at(hypervisor: &Name, found: &[Found<'_>], around: Around<'_>, cx: &mut Cx<'_>) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    for (grant, name, item) in found {
        let Some(user) = &item.value else { continue };
        let Some(there) = user.at.0.get(hypervisor) else {
            let message = format!("user `{name}` is not at `{hypervisor}`, where this pool is");
            let problem = Diagnostic::error("not-at-hypervisor", grant.user.span, message);
            let text = format!("say who that is: `at: {{ {hypervisor}: … }}`");
            cx.push(problem.related(item.key, text));
            continue;
        };
        let Some(said) = &there.value.0 else { continue };
        let Some(principal) = &said.principal else { continue };
        let grantee = Grantee::new(principal.as_str(), said.group);
        if let Some(other) = grants.iter().find(|it| it.grantee == grantee) {
            let message = format!("`{grantee}` is granted `{}` on this pool already", other.role);
            let problem = Diagnostic::error("duplicate-grant", grant.user.span, message);
            cx.push(problem.help("nobody has two roles on one pool: keep one of the two"));
            continue;
        }
        let place = around.places.at(grant.user.span);
        grants.push(Grant { grantee, user: name.to_string(), role: grant.role, place });
    }
    grants
}

/// Users on products of which none is asked about anybody yet.
pub fn check_users(users: &Table<RawUser>, hypervisors: &Table<RawHypervisor>, cx: &mut Cx<'_>) {
    for item in users.iter().filter_map(|(_, item)| item.value.as_ref()) {
        for (name, there) in &item.at.0 {
            let found = hypervisors.get(name.as_str()).and_then(|it| it.value.as_ref());
            if found.map(RawHypervisor::product) == Some(Product::Proxmox) {
                refuse("a user", name, there.key, cx);
            }
        }
    }
}

fn refuse(what: &str, hypervisor: &Name, span: Span, cx: &mut Cx<'_>) {
    let message = format!("{what} on `{hypervisor}`, which is Proxmox VE, is not supported yet");
    let problem = Diagnostic::error("not-supported-yet", span, message);
    cx.push(problem.help("pools are granted to users on a vCenter alone in this version"));
}
