//! A plan with one of everything, made by hand.

use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};

fn place(file: &str, line: u32) -> Option<Place> {
    Some(Place { file: file.into(), line, column: 3 })
}

fn path(text: &str) -> FieldPath {
    text.parse().unwrap()
}

fn change(
    field: &str,
    before: Option<Value>,
    after: Option<Value>,
    cost: Disruption,
) -> FieldChange {
    FieldChange { field: path(field), before, after, disruption: cost, place: None, pending: false }
}

fn gib(count: u64) -> Option<Value> {
    Some(Value::Size(Bytes::gib(count)))
}

fn list(items: &[&str]) -> Option<Value> {
    Some(Value::List(items.iter().map(ToString::to_string).collect()))
}

fn step(op: StepOp, wait: Wait, otherwise: Option<StepOp>) -> Step {
    Step {
        op,
        begin: Expect::default(),
        end: Expect { exists: Some(true), ..Expect::default() },
        wait,
        otherwise,
        learns: BTreeSet::new(),
        guarded: true,
    }
}

fn action(name: &str, verb: Verb, classes: &[Disruption]) -> Action {
    Action {
        id: format!("vm/{name}:{verb}").into(),
        key: ResourceKey::vm(name),
        hypervisor: "pve-paris".into(),
        native_id: Some("20071".into()),
        node: Some("pve1".into()),
        verb,
        fields: Vec::new(),
        classes: classes.iter().copied().collect(),
        data_loss: DataLoss::default(),
        reversible: true,
        place: place("machines/web.yaml", 12),
        steps: Vec::new(),
        base: None,
        claims: Vec::new(),
        choices: Vec::new(),
        protected: false,
    }
}

pub(super) fn create(name: &str, memory: u64) -> Action {
    Action {
        native_id: Some("20007".into()),
        fields: vec![
            change("name", None, Some(name.into()), Disruption::None),
            change("cpu", None, Some(Value::Count(2)), Disruption::None),
            change("memory", None, gib(memory), Disruption::None),
            change("disk.boot.size", None, gib(32), Disruption::None),
            change("nic.eth0.network", None, Some("vmbr20".into()), Disruption::None),
            change("nic.eth0.ip", None, Some("10.20.0.59/24".into()), Disruption::None),
            change("disk.boot", None, Some(Value::Flag(true)), Disruption::None),
        ],
        place: place("novahost.yaml", 41),
        steps: vec![
            step(
                StepOp::Clone(Box::new(CloneFrom {
                    template: "9000".into(),
                    template_node: Some("pve1".into()),
                    template_name: Some("debian-13".into()),
                    template_uuid: None,
                    linked: false,
                    snapshot: None,
                    name: name.into(),
                    node: Some("pve1".into()),
                    storage: Some("local-zfs".into()),
                    pool: None,
                    marker: MarkerDraft::new(Stage::New),
                })),
                Wait::Task,
                None,
            ),
            step(
                StepOp::Configure(vec![
                    Setting::Cpu { total: 2, sockets: 1 },
                    Setting::Memory(Bytes::gib(memory)),
                ]),
                Wait::Call,
                None,
            ),
            step(StepOp::Start, Wait::Task, None),
        ],
        claims: vec![Claim::Id("20007".into()), Claim::Name(name.into())],
        choices: vec![
            Choice {
                what: "node".into(),
                value: "pve1".into(),
                why: "most memory free after placement, 61 GiB of 128 GiB".into(),
            },
            Choice {
                what: "storage disk.boot".into(),
                value: "local-zfs".into(),
                why: "default of pve-paris".into(),
            },
        ],
        // The same for every name, so that a group's native id is nobody's own.
        ..action(name, Verb::Create, &[])
    }
}

pub(super) fn update(name: &str) -> Action {
    let mut memory = change("memory", gib(4), gib(8), Disruption::Restart);
    memory.place = place("profiles/big.yaml", 4);
    let mut cpu = change("cpu", Some(Value::Count(2)), Some(Value::Count(4)), Disruption::Restart);
    cpu.pending = true;
    let notes = change(
        "notes",
        Some("Web server.\nOwner: Ann\nSee the wiki.\n".into()),
        Some("Web server.\nOwner: Bob\nSee the wiki.\n".into()),
        Disruption::Online,
    );
    let tags = change("tags", list(&["prod"]), list(&["prod", "web"]), Disruption::Online);
    Action {
        fields: vec![cpu, memory, tags, notes],
        steps: vec![
            step(StepOp::Configure(vec![Setting::Memory(Bytes::gib(8))]), Wait::Call, None),
            step(StepOp::Shutdown, Wait::PowerOff { within_s: 120 }, None),
            step(StepOp::Start, Wait::Task, None),
        ],
        ..action(name, Verb::Update, &[Disruption::Online, Disruption::Restart])
    }
}

fn replace() -> Action {
    Action {
        native_id: Some("20012".into()),
        fields: vec![change(
            "firmware",
            Some("bios".into()),
            Some("uefi".into()),
            Disruption::Replace,
        )],
        data_loss: DataLoss {
            volumes: vec![
                LostVolume {
                    volume: "local-zfs:vm-20012-disk-0".into(),
                    label: "disk.boot".into(),
                    size: Some(Bytes::gib(32)),
                },
                LostVolume {
                    volume: "local-zfs:vm-20012-disk-1".into(),
                    label: "unused0".into(),
                    size: Some(Bytes::gib(100)),
                },
            ],
            on_a_machine_that_stays: false,
        },
        reversible: false,
        steps: vec![step(StepOp::Shutdown, Wait::PowerOff { within_s: 120 }, Some(StepOp::Stop))],
        ..action("db-1", Verb::Replace, &[Disruption::Replace])
    }
}

fn delete() -> Action {
    Action {
        native_id: Some("20099".into()),
        node: Some("pve2".into()),
        place: None,
        data_loss: DataLoss {
            volumes: vec![LostVolume {
                volume: "local-zfs:vm-20099-disk-0".into(),
                label: "disk.boot".into(),
                size: None,
            }],
            on_a_machine_that_stays: false,
        },
        reversible: false,
        ..action("old-1", Verb::Delete, &[Disruption::Delete])
    }
}

pub(super) fn waiting(unlock: &str) -> Waiting {
    Waiting { code: Code::Consent, message: "needs consent by name".into(), unlock: unlock.into() }
}

pub(super) fn refusal() -> Refused {
    Refused {
        code: Code::MassAbsence,
        message: "12 of 57 owned machines are no longer there; a run may miss 5".into(),
        objects: (0..12).map(|number| format!("vm/gone-{number:02}")).collect(),
        help: "check the account's rights and the datacenter, then plan again".into(),
    }
}

/// A plan of these actions, one wave, with its right id.
pub(super) fn planned(actions: Vec<Action>) -> Plan {
    let body = PlanBody {
        format: PLAN_FORMAT,
        project: "acme-prod".into(),
        files: BTreeMap::from([("novahost.yaml".into(), "00".repeat(32))]),
        policy: Policy::default(),
        actions,
        edges: Vec::new(),
        blocked: Vec::new(),
        unchanged: 52,
    };
    let waves = vec![body.actions.iter().map(|it| it.id.clone()).collect()];
    let reasons = body.actions.iter().map(|it| (it.id.clone(), Reason::New)).collect();
    Plan {
        plan_id: plan_id(&body),
        body,
        envelope: Envelope { reasons, waves, ..Envelope::default() },
    }
}

/// One create, update, replace and delete; one blocked; three waiting.
pub(super) fn sample() -> Plan {
    let mut plan = planned(vec![replace(), delete(), update("web-1"), create("web-9", 4)]);
    plan.body.edges.push(Edge {
        before: "vm/old-1:delete".into(),
        after: "vm/web-9:create".into(),
        reason: EdgeReason::Frees,
    });
    plan.body.blocked.push(Blocked {
        key: ResourceKey::vm("db-2"),
        hypervisor: "pve-lab".into(),
        verb: Some(Verb::Create),
        code: Code::FailedHypervisor,
        message: "`pve-lab` did not answer, so it cannot be told whether db-2 exists".into(),
        help: "bring it back, or run with --allow-partial to do the rest".into(),
        place: place("machines/db.yaml", 3),
    });
    plan.plan_id = plan_id(&plan.body);
    let envelope = &mut plan.envelope;
    envelope.waves = vec![
        vec!["vm/db-1:replace".into(), "vm/old-1:delete".into(), "vm/web-1:update".into()],
        vec!["vm/web-9:create".into()],
    ];
    envelope.reasons = BTreeMap::from([
        ("vm/db-1:replace".into(), Reason::ConfigChanged),
        ("vm/old-1:delete".into(), Reason::Removed),
        ("vm/web-1:update".into(), Reason::Drift),
        ("vm/web-9:create".into(), Reason::New),
    ]);
    envelope.waiting = BTreeMap::from([
        ("vm/db-1:replace".into(), waiting("--allow replace=vm/db-1")),
        ("vm/old-1:delete".into(), waiting("--allow delete=vm/old-1")),
        ("vm/web-1:update".into(), waiting("--allow restart=vm/web-1")),
    ]);
    envelope.hypervisors = BTreeMap::from([
        (
            "pve-lab".into(),
            HypervisorSummary {
                version: String::new(),
                coverage: "failed".into(),
                gaps: vec![
                    "could not connect to https://10.9.0.5:8006: timed out after 10 s".into(),
                ],
                guests: 0,
                owned: 0,
                age_s: None,
            },
        ),
        (
            "pve-paris".into(),
            HypervisorSummary {
                version: "Proxmox VE 9.2".into(),
                coverage: "complete".into(),
                gaps: Vec::new(),
                guests: 1060,
                owned: 57,
                age_s: None,
            },
        ),
    ]);
    envelope.notes.push(Note {
        key: Some(ResourceKey::vm("web-1")),
        text: "first-boot configuration changed and is read only by new machines".into(),
    });
    plan
}
