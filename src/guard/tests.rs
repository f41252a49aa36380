use super::*;
use crate::model::{
    Bytes, DataLoss, Edge, EdgeReason, Envelope, LostVolume, PLAN_FORMAT, PlanBody, Policy,
    Remembered,
};
use crate::ownership::Owned;

fn action(name: &str, verb: Verb, classes: &[Disruption]) -> Action {
    let part = classes.last().filter(|_| verb == Verb::Update).map_or("", |it| it.as_str());
    Action {
        id: format!("vm/{name}:{verb}{part}").into(),
        key: ResourceKey::vm(name),
        hypervisor: "pve".into(),
        native_id: Some("100".into()),
        node: None,
        verb,
        fields: Vec::new(),
        classes: classes.iter().copied().collect(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: None,
        steps: Vec::new(),
        base: None,
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

fn edge(before: &Action, after: &Action, reason: EdgeReason) -> Edge {
    Edge { before: before.id.clone(), after: after.id.clone(), reason }
}

/// All that a verdict rests on, to be changed by a test.
struct Bench {
    plan: Plan,
    ownership: Ownership,
    history: History,
    desired: DesiredState,
    consent: Consent,
    chosen: Option<BTreeSet<ActionId>>,
    inventory: Inventory,
    marker_key: Option<MarkerKey>,
}

fn bench(actions: Vec<Action>, edges: Vec<Edge>) -> Bench {
    let body = PlanBody {
        format: PLAN_FORMAT,
        project: "acme".into(),
        files: BTreeMap::new(),
        policy: Policy::default(),
        actions,
        edges,
        blocked: Vec::new(),
        unchanged: 0,
    };
    let desired = DesiredState {
        project: "acme".into(),
        hypervisors: BTreeMap::new(),
        pools: BTreeMap::new(),
        machines: BTreeMap::new(),
        policy: Policy::default(),
        files: BTreeMap::new(),
        forget: BTreeSet::new(),
        networks: BTreeMap::new(),
    };
    Bench {
        plan: Plan { plan_id: String::new(), body, envelope: Envelope::default() },
        ownership: Ownership::default(),
        history: History::default(),
        desired,
        consent: Consent { yes: true, ..Consent::default() },
        chosen: None,
        inventory: Inventory::default(),
        marker_key: None,
    }
}

impl Bench {
    fn judge(&self) -> Verdict {
        judge(Case {
            plan: &self.plan,
            chosen: self.chosen.as_ref(),
            ownership: &self.ownership,
            inventory: &self.inventory,
            history: &self.history,
            desired: &self.desired,
            consent: &self.consent,
            marker_key: self.marker_key.as_ref(),
        })
    }

    fn allow(&mut self, class: Allowance, keys: Option<&[&str]>) -> &mut Self {
        let keys = keys.map(|it| it.iter().map(|name| ResourceKey::vm(*name)).collect());
        self.consent.allow.insert(class, keys);
        self
    }

    fn runs(&self) -> Vec<String> {
        self.judge().runnable.iter().map(ToString::to_string).collect()
    }

    fn unlock(&self, id: &str) -> String {
        self.judge().waiting[&ActionId::from(id.to_owned())].unlock.clone()
    }

    fn own(&mut self, count: usize) {
        for number in 0..count {
            let owned = Owned {
                hypervisor: "pve".into(),
                id: "1".into(),
                stage: crate::model::Stage::Ready,
            };
            self.ownership.owned.insert(ResourceKey::vm(format!("m{number}")), owned);
        }
    }

    fn refusals(&self) -> Vec<Code> {
        self.judge().refusals.iter().map(|it| it.code).collect()
    }
}

#[test]
fn a_yes_allows_up_to_next_boot_and_no_more() {
    let classes = [
        (Disruption::Online, None),
        (Disruption::NextBoot, None),
        (Disruption::Reinit, Some("--allow reinit=vm/web")),
        (Disruption::Restart, Some("--allow restart=vm/web")),
    ];
    for (class, unlock) in classes {
        let action = action("web", Verb::Update, &[class]);
        let id = action.id.to_string();
        let mut bench = bench(vec![action], Vec::new());
        match unlock {
            None => assert_eq!(bench.runs().concat(), id),
            Some(unlock) => assert_eq!(bench.unlock(&id), unlock),
        }
        bench.consent.yes = false;
        assert!(bench.runs().is_empty());
    }
}

#[test]
fn consent_is_per_class_and_per_address_and_not_cumulative() {
    let both = action("web", Verb::Update, &[Disruption::Reinit, Disruption::Restart]);
    let id = both.id.to_string();
    let mut bench = bench(vec![both], Vec::new());
    bench.allow(Allowance::Restart, None);
    assert_eq!(bench.unlock(&id), "--allow reinit=vm/web");
    bench.allow(Allowance::Reinit, Some(&["db"]));
    assert!(bench.runs().is_empty());
    bench.allow(Allowance::Reinit, Some(&["db", "web"]));
    assert_eq!(bench.runs(), [id]);
}

#[test]
fn a_loss_on_a_machine_that_stays_has_a_consent_of_its_own() {
    let mut update = action("web", Verb::Update, &[Disruption::Online]);
    let volume = LostVolume { volume: "v".into(), label: "data".into(), size: Some(Bytes::gib(1)) };
    update.data_loss = DataLoss { volumes: vec![volume.clone()], on_a_machine_that_stays: true };
    let mut bench = bench(vec![update], Vec::new());
    assert_eq!(bench.unlock("vm/web:updateonline"), "--allow data-loss=vm/web");
    bench.allow(Allowance::DataLoss, None);
    assert_eq!(bench.runs().len(), 1);
    let mut delete = action("web", Verb::Delete, &[Disruption::Delete]);
    delete.data_loss = DataLoss { volumes: vec![volume], on_a_machine_that_stays: false };
    assert_eq!(allowances(&delete), [Allowance::Delete].into());
}

#[test]
fn a_delete_needs_a_second_witness_of_any_kind() {
    let mut bench = bench(vec![action("web", Verb::Delete, &[Disruption::Delete])], Vec::new());
    bench.allow(Allowance::Delete, None);
    let code = |bench: &Bench| bench.judge().forbidden.values().next().map(|it| it.code);
    assert_eq!(code(&bench), Some(Code::SecondWitness));
    let record = |id: &str| Remembered {
        key: ResourceKey::vm("web"),
        hypervisor: "pve".into(),
        id: id.into(),
    };
    bench.history.owned = [record("999")].into();
    assert_eq!(code(&bench), Some(Code::SecondWitness), "a record of another machine is none");
    bench.history.owned = [record("100")].into();
    assert_eq!(code(&bench), None);
    bench.history = History::default();
    bench.consent.confirm = [ResourceKey::vm("db")].into();
    assert_eq!(code(&bench), Some(Code::SecondWitness), "another one was confirmed");
    bench.consent.confirm = [ResourceKey::vm("web")].into();
    assert_eq!(bench.runs(), ["vm/web:delete"]);
}

#[test]
fn protection_outranks_every_consent() {
    for verb in [Verb::Delete, Verb::Replace] {
        let mut removal = action("web", verb, &[Disruption::Delete, Disruption::Replace]);
        removal.protected = true;
        let mut bench = bench(vec![removal], Vec::new());
        bench.allow(Allowance::Delete, None).allow(Allowance::Replace, None);
        bench.consent.confirm = [ResourceKey::vm("web")].into();
        let codes: Vec<Code> = bench.judge().forbidden.values().map(|it| it.code).collect();
        assert_eq!(codes, [Code::Protected]);
    }
}

#[test]
fn dependents_wait_with_what_they_need_and_neighbours_go_on() {
    let first = action("a", Verb::Update, &[Disruption::Restart]);
    let second = action("b", Verb::Create, &[]);
    let third = action("c", Verb::Create, &[]);
    let other = action("d", Verb::Create, &[]);
    let edges =
        vec![edge(&first, &second, EdgeReason::After), edge(&second, &third, EdgeReason::After)];
    let bench = bench(vec![first, second, third, other], edges);
    assert_eq!(bench.runs(), ["vm/d:create"]);
    let waiting = &bench.judge().waiting;
    assert_eq!(waiting[&ActionId::from("vm/c:create".to_owned())].code, Code::Dependency);
    assert_eq!(bench.unlock("vm/c:create"), "--allow restart=vm/a");
}

#[test]
fn two_updates_of_one_machine_are_ordered_and_independent() {
    let free = action("a", Verb::Update, &[Disruption::Restart]);
    let later = action("a", Verb::Update, &[Disruption::Online]);
    let edges = vec![edge(&free, &later, EdgeReason::SameObject)];
    let bench = bench(vec![free, later], edges);
    assert_eq!(bench.runs(), ["vm/a:updateonline"]);
}

#[test]
fn nothing_is_taken_away_that_would_not_be_made_anew() {
    let cause = action("db", Verb::Update, &[Disruption::Restart]);
    let removal = action("web", Verb::Replace, &[Disruption::Replace]);
    let birth = action("web", Verb::Create, &[]);
    let edges = vec![
        edge(&cause, &birth, EdgeReason::After),
        edge(&removal, &birth, EdgeReason::SameObject),
    ];
    let all: BTreeSet<ActionId> = [removal.id.clone(), cause.id.clone()].into();
    let mut bench = bench(vec![cause, removal, birth], edges);
    bench.allow(Allowance::Replace, None);
    bench.consent.confirm = [ResourceKey::vm("web")].into();
    assert!(bench.runs().is_empty());
    assert_eq!(bench.unlock("vm/web:replace"), "--allow restart=vm/db");
    bench.allow(Allowance::Restart, None);
    assert_eq!(bench.runs().len(), 3);
    // The same when a saved plan's birth is no longer among what was chosen.
    bench.chosen = Some(all);
    assert_eq!(bench.runs(), ["vm/db:updaterestart"]);
}

#[test]
fn budgets_count_what_is_allowed_and_no_creates() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let deletes = names.iter().map(|it| action(it, Verb::Delete, &[Disruption::Delete]));
    let creates = (0..600).map(|it| action(&format!("new{it}"), Verb::Create, &[]));
    let mut bench = bench(deletes.chain(creates).collect(), Vec::new());
    bench.consent.confirm = names.iter().map(|it| ResourceKey::vm(*it)).collect();
    assert!(bench.refusals().is_empty(), "all of them wait");
    bench.allow(Allowance::Delete, Some(&["a", "b", "c", "d", "e"]));
    assert!(bench.refusals().is_empty(), "five are within the budget");
    bench.allow(Allowance::Delete, None);
    assert_eq!(bench.refusals(), [Code::Budget]);
    assert_eq!(bench.judge().refusals[0].objects.len(), 6);
    bench.plan.body.policy.budgets.deletes = 6;
    assert!(bench.refusals().is_empty());
    bench.plan.body.policy.budgets.changes = 5;
    assert_eq!(bench.refusals(), [Code::Budget]);
}

#[test]
fn a_shrunken_source_is_refused_above_three_or_a_fifth() {
    for (owned, kept, refused) in
        [(3, 0, false), (4, 0, true), (4, 1, false), (100, 80, false), (100, 79, true)]
    {
        let mut bench = bench(Vec::new(), Vec::new());
        bench.own(owned);
        let loaded = crate::config::load_str(
            &[("novahost.yaml".to_owned(), crate::config::testing::synthetic(1))].into(),
            "novahost.yaml",
        );
        let one = loaded.desired.unwrap().machines.into_values().next().unwrap();
        for number in 0..kept {
            let key = ResourceKey::vm(format!("m{number}"));
            bench.desired.machines.insert(key, one.clone());
        }
        let wanted: &[Code] = if refused { &[Code::EmptySource] } else { &[] };
        assert_eq!(bench.refusals(), wanted, "{owned} owned, {kept} kept");
        bench.consent.expect_shrink = u32::try_from(owned - kept).ok();
        assert!(bench.refusals().is_empty());
    }
}

#[test]
fn mass_absence_is_refused_above_two_or_a_tenth() {
    for (remembered, vanished, refused) in
        [(3, 2, false), (3, 3, true), (50, 5, false), (50, 6, true)]
    {
        let mut bench = bench(Vec::new(), Vec::new());
        bench.history.owned = (0..remembered)
            .map(|it| Remembered {
                key: ResourceKey::vm(format!("m{it}")),
                hypervisor: "pve".into(),
                id: it.to_string().into(),
            })
            .collect();
        bench.ownership.vanished =
            (0..vanished).map(|it| ResourceKey::vm(format!("m{it}"))).collect();
        let wanted: &[Code] = if refused { &[Code::MassAbsence] } else { &[] };
        assert_eq!(bench.refusals(), wanted, "{vanished} of {remembered}");
    }
}

#[test]
fn machines_that_vanished_refuse_the_run_until_a_person_says_they_are_gone() {
    let gone = ["a", "b", "c"].map(ResourceKey::vm);
    let ownership = Ownership { vanished: gone.clone().into(), ..Ownership::default() };
    let judged = |confirm: &[ResourceKey]| {
        let confirm = confirm.iter().cloned().collect();
        let consent = Consent { confirm, ..Consent::default() };
        mass_absence(&History::default(), &ownership, &consent)
    };
    let refused = judged(&[]).unwrap();
    assert_eq!(refused.objects, ["vm/a", "vm/b", "vm/c"]);
    assert!(refused.help.ends_with("add `--confirm vm/a,vm/b,vm/c`"), "{}", refused.help);
    // Two may vanish unasked, so one word is enough here.
    assert_eq!(judged(&gone[..1]), None);
    assert_eq!(judged(&gone), None);
}
