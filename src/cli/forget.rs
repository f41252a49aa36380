//! `forget`: machines are given up as they are, by the same road as everything else.

use super::{
    apply,
    args::{Apply, Forget, Global, Looking},
    error::CliError,
    output::Output,
    session::Session,
};
use crate::{apply::ExitClass, model::Kind};

/// `forget ADDRESS...`.
pub async fn run(global: &Global, args: Forget, output: &Output) -> Result<ExitClass, CliError> {
    if let Some(pool) = args.addresses.iter().find(|it| it.kind != Kind::Vm) {
        return Err(CliError::new(
            ExitClass::Error,
            format!("{pool} is a {}; only machines can be forgotten in this version", pool.kind),
        ));
    }
    let mut session = Session::open(global, args.file.as_deref(), output).await?;
    let result = match still_there(&session, &args) {
        Some(error) => Err(error),
        None => {
            session.desired.forget = args.addresses.iter().cloned().collect();
            apply::run_in(&session, &as_apply(args), None).await
        }
    };
    session.close().await;
    result
}

/// An entry asks for its machine again with the next plan, so giving it up would only
/// make it somebody's whose name is taken.
fn still_there(session: &Session, args: &Forget) -> Option<CliError> {
    let machines = &session.desired.machines;
    let entry = args.addresses.iter().find_map(|key| machines.get(key))?;
    Some(
        CliError::new(
            ExitClass::Refused,
            format!("{} still has an entry, at {}; nothing was changed", entry.key, entry.place),
        )
        .hint("remove the entry first; until it is forgotten, plans show its deletion, which waits for consent"),
    )
}

fn as_apply(args: Forget) -> Apply {
    Apply {
        path: args.file,
        file: None,
        looking: Looking { target: args.addresses.clone(), allow_partial: false },
        yes: args.yes,
        allow: Vec::new(),
        approve: None,
        // That a machine is gone is no alarm when it is to be forgotten.
        confirm: args.addresses,
        expect_shrink: None,
        reason: args.reason,
        ticket: args.ticket,
        format: args.format,
    }
}
