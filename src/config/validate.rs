//! Whether what is written can be, and whether machines fit together.
//!
//! In: what `resolve` made. Out: problems, all of them. Pure. What a hypervisor
//! supports is left to its product; what it holds, to the plan.

mod addresses;
mod fleet;
mod machine;
mod native;
mod order;
mod pools;

use super::decode::Cx;
use super::diagnostic::Diagnostic;
use super::raw::{Product, RawConfig, RawMachine};
use super::resolve::{MachineEntry, Outcome};
use regex_lite::{Regex, RegexBuilder};

/// Bytes that a compiled `name_pattern` may take; the engine's time grows with it.
const PATTERN_BYTES_MAX: usize = 1 << 16;

/// Checks everything, each problem with its places.
pub fn validate(raw: &RawConfig, outcome: &Outcome, entries: &[MachineEntry], cx: &mut Cx<'_>) {
    for entry in entries {
        if let Some(machine) = &entry.raw {
            let product = product(machine, outcome);
            entry.on_behalf(cx, |cx| machine::check(machine, product, cx));
        }
    }
    addresses::check(outcome, cx);
    fleet::check(outcome, cx);
    pools::check(outcome, cx);
    order::check(&outcome.machines, cx);
    name_pattern(raw, outcome, cx);
}

/// The product of a machine's hypervisor; `None` when that could not be read.
fn product(machine: &RawMachine, outcome: &Outcome) -> Option<Product> {
    let name = machine.hypervisor.as_ref()?;
    outcome.world.hypervisors.get(&name.value.0)?.value.as_ref().map(Product::of)
}

/// Names against the project's own pattern.
fn name_pattern(raw: &RawConfig, outcome: &Outcome, cx: &mut Cx<'_>) {
    let policy = raw.policy.0.as_ref().and_then(|policy| policy.as_ref());
    let Some(written) = policy.and_then(|policy| policy.value.name_pattern.as_ref()) else {
        return;
    };
    let built = RegexBuilder::new(&written.value).size_limit(PATTERN_BYTES_MAX).build();
    let pattern: Regex = match built {
        Ok(pattern) => pattern,
        Err(error) => {
            let message = format!("`name_pattern` is not a regular expression: {error}");
            return cx.push(Diagnostic::error("invalid-value", written.span, message));
        }
    };
    // The pattern is for births: what is adopted has its name already.
    for machine in outcome.machines.iter().filter(|it| it.adopt.is_none()) {
        let name = machine.desired.spec.name.as_deref().unwrap_or_default();
        if !pattern.is_match(name) {
            let message = format!("the name `{name}` does not match the policy's `name_pattern`");
            let problem = Diagnostic::error("name-pattern", machine.name, message)
                .related(written.span, "the pattern")
                .subject(machine.desired.key.to_string().into());
            cx.push(problem);
        }
    }
}

#[cfg(test)]
mod tests;
