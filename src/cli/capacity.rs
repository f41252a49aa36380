//! `capacity`: how much room there is, now and after the plan. Looks, never touches.

use super::{
    args::{Capacity, Format, Global},
    error::CliError,
    output::Output,
    plan as plan_command,
    session::{self, Session},
};
use crate::{
    apply::ExitClass,
    capacity::{self, Room, Sources},
    report,
};

/// `capacity [HYPERVISOR]...`.
pub async fn run(global: &Global, args: Capacity, output: &Output) -> Result<ExitClass, CliError> {
    let session = Session::open(global, args.file.as_deref(), output).await?;
    session.look(async |session| run_in(session, &args).await).await
}

async fn run_in(session: &Session, args: &Capacity) -> Result<ExitClass, CliError> {
    let known = &session.desired.hypervisors;
    if let Some(name) = args.hypervisors.iter().find(|it| !known.contains_key(it.as_str())) {
        let names: Vec<&str> = known.keys().map(crate::model::HypervisorName::as_str).collect();
        let text = format!("there is no hypervisor `{}` in the YAML", crate::model::inert(name));
        return Err(
            CliError::new(ExitClass::Config, text).hint(format!("known are: {}", names.join(", ")))
        );
    }
    let history = session.history().await?;
    let inventory = session.observe(&history).await?;
    let products = plan_command::borrow(&session.desired);
    let made = plan_command::reconciled(
        session.known(&inventory, &history, &products),
        &[],
        &session.clock,
    )?;
    let mut rooms: Vec<Room> = capacity::rooms(Sources {
        desired: &session.desired,
        inventory: &inventory,
        ownership: &made.ownership,
        plan: &made.plan,
    });
    let asked = |it: &Room| args.hypervisors.iter().any(|name| *name == it.hypervisor.as_str());
    rooms.retain(|it| args.hypervisors.is_empty() || asked(it));
    match args.format.unwrap_or(session.output.format) {
        Format::Json => session.output.print_json(&rooms),
        Format::Text | Format::Markdown => {
            session.output.print(report::capacity_text(&rooms, &session.output.style()));
        }
    }
    Ok(session::coverage_class(&inventory).unwrap_or(ExitClass::Ok))
}
