//! Labels: what has to be known to the server before a machine can bear one, then the one
//! call that puts it on. Each is a call of its own, of an interface that has no versions.

use super::step;
use crate::{
    model::{
        DeviceName, Expect, FieldKind, FieldPath, KnownLabel, Name, Step, StepOp, Unsupported,
        Value,
    },
    provider::lowering::fault,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of labels where they are put on.
#[derive(Clone, Copy, Default)]
pub(super) struct Around<'a> {
    /// What the machine bears, or what it may have been born with.
    pub worn: Option<&'a BTreeMap<Name, BTreeSet<String>>>,
    /// What the server knows.
    pub known: Option<&'a BTreeMap<Name, KnownLabel>>,
}

/// The calls after which a machine bears a label. What else it bears under the key stays,
/// unless the server lets it have one value only.
pub(super) fn bear(
    (key, value): (&Name, &str),
    around: Around<'_>,
) -> Result<Vec<Step>, Unsupported> {
    let known = around.known.and_then(|all| all.get(key));
    let values = known.map(|it| &it.values);
    let worn = around.worn.and_then(|all| all.get(key));
    let others: Vec<&String> = worn.into_iter().flatten().filter(|it| *it != value).collect();
    if let Some(why) = known.and_then(|it| it.unfit.as_ref()) {
        let help = "let the category take virtual machines, or use another key";
        return Err(fault(FieldPath::label(key), why.clone(), help));
    }
    let mut steps = Vec::new();
    if known.is_none() {
        steps.push(step(StepOp::DefineLabel { label: key.clone() }, there(), knows(key, None)));
    }
    if !values.is_some_and(|it| it.contains(value)) {
        let op = StepOp::DefineLabelValue { label: key.clone(), value: value.to_owned() };
        steps.push(step(op, there(), knows(key, Some(value))));
    }
    if known.is_some_and(|it| it.one) {
        match others.as_slice() {
            [] => {}
            [other] => {
                let op = StepOp::ClearLabel { label: key.clone(), value: (*other).clone() };
                steps.push(step(op, there(), bears(key, None)));
            }
            [_, _, ..] => {
                let why = "it bears several values of a label that can have one";
                let help = "take all but one of them off in vCenter";
                return Err(fault(FieldPath::label(key), why, help));
            }
        }
    }
    let op = StepOp::SetLabel { label: key.clone(), value: value.to_owned() };
    steps.push(step(op, there(), bears(key, Some(value))));
    Ok(steps)
}

fn there() -> Expect {
    Expect { exists: Some(true), ..Expect::default() }
}

fn knows(key: &Name, value: Option<&str>) -> Expect {
    let path = FieldPath::on(FieldKind::LabelValues, &DeviceName::new(key.shared()));
    let values = value.into_iter().map(str::to_owned).collect();
    Expect { fields: [(path, Some(Value::List(values)))].into(), ..Expect::default() }
}

fn bears(key: &Name, value: Option<&str>) -> Expect {
    let value = value.map(|value| Value::List(vec![value.to_owned()]));
    Expect { fields: [(FieldPath::label(key), value)].into(), ..Expect::default() }
}
