//! `drift`: what differs, of which class, and who made it so. Changes nothing.

use super::{
    args::{Drift as Args, Format, Global},
    error::CliError,
    output::Output,
    plan as plan_command,
    session::Session,
};
use crate::{
    apply::ExitClass,
    model::{Altered, Authors, History, HypervisorName, Inventory, Kind, ResourceKey},
    report::{self, Difference, Drift, Named},
    store::Written,
};
use std::collections::BTreeMap;

/// `drift`.
pub async fn run(global: &Global, args: &Args, output: &Output) -> Result<ExitClass, CliError> {
    let session = Session::open(global, args.source.path.as_deref(), output).await?;
    session.look(async |session| run_in(session, args).await).await
}

async fn run_in(session: &Session, args: &Args) -> Result<ExitClass, CliError> {
    let history = session.history().await?;
    let inventory = session.observe(&history).await?;
    let products = plan_command::borrow(&session.desired);
    let known = session.known(&inventory, &history, &products);
    let made = plan_command::reconciled(known, &args.looking.target, &session.clock)?;
    let mut drift = Drift::of(&made.plan, &made.ownership.vanished);
    name_authors(session, &mut drift, &inventory, &history).await?;
    show(session, args, &drift);
    // It always tells differences by its exit code; the flag is for people who spell it out.
    let partial = args.looking.allow_partial;
    Ok(plan_command::class_of(&made.plan, &inventory, true, partial))
}

fn show(session: &Session, args: &Args, drift: &Drift) {
    let output = &session.output;
    let options = report::Options {
        subject: Some(session.path.display().to_string()),
        sandbox: output.sandbox,
        ..report::Options::default()
    };
    let targets: Vec<String> = args.looking.target.iter().map(ToString::to_string).collect();
    match args.format.unwrap_or(output.format) {
        Format::Text => {
            output.print(report::drift_text(drift, &options, &targets, &output.style()));
        }
        Format::Json => output.print_whole(report::drift_json(drift)),
        Format::Markdown => {
            output.print_whole(report::drift_markdown(drift, &options, &targets));
        }
    }
}

/// Asks the task logs, where something moved that was not the YAML. That nobody is
/// named, or that a log cannot be read, changes no exit code.
async fn name_authors(
    session: &Session,
    drift: &mut Drift,
    inventory: &Inventory,
    history: &History,
) -> Result<(), CliError> {
    let moved = |it: &&Difference| it.class.has_author() && it.address.kind == Kind::Vm;
    let keys = drift.differences.iter().filter(moved).map(|it| it.address.clone()).collect();
    let written = written(session, keys).await?;
    let mut altered: BTreeMap<HypervisorName, Vec<Altered>> = BTreeMap::new();
    for it in drift.differences.iter_mut().filter(|it| moved(&&**it)) {
        if let Some(one) = altered_of(it, written.get(&it.address), inventory, history) {
            // An object that cannot be compared is found by what the journal knows of it.
            it.id.get_or_insert_with(|| one.id.clone());
            altered.entry(it.hypervisor.clone()).or_default().push(one);
        }
    }
    for (hypervisor, altered) in altered {
        let Some(provider) = session.providers.get(&hypervisor) else { continue };
        let Authors { found, gaps } = provider.authors(&altered).await;
        for it in drift.differences.iter_mut().filter(|it| it.hypervisor == hypervisor) {
            let one = altered.iter().find(|one| Some(&one.id) == it.id.as_ref());
            let author = one.and_then(|one| Some((found.get(&one.id)?, one.since_ms.is_none())));
            if let Some((author, perhaps)) = author.filter(|_| it.class.has_author()) {
                it.author = Some(Named::of(author, perhaps));
            }
        }
        let about = |gap: String| format!("authors on {hypervisor}: {gap}");
        drift.notes.extend(gaps.into_iter().map(about));
    }
    Ok(())
}

/// What the journal knows of our own writes; nothing when there is none.
async fn written(
    session: &Session,
    keys: std::collections::BTreeSet<ResourceKey>,
) -> Result<BTreeMap<ResourceKey, Written>, CliError> {
    if keys.is_empty() || !session.store_path.exists() {
        return Ok(BTreeMap::new());
    }
    Ok(session.store().await?.written(&session.desired.project, keys).await?)
}

/// What the log is asked about; `None` when nobody knows which machine it was.
fn altered_of(
    it: &Difference,
    written: Option<&Written>,
    inventory: &Inventory,
    history: &History,
) -> Option<Altered> {
    let remembered = || {
        let mut all = history.owned.iter();
        all.find(|one| one.key == it.address && one.hypervisor == it.hypervisor)
    };
    let id = it.id.clone().or_else(|| remembered().map(|one| one.id.clone()))?;
    let listed = inventory.hypervisors.get(&it.hypervisor)?.listed.get(&id);
    let written = written.cloned().unwrap_or_default();
    Some(Altered {
        node: it.node.clone().or_else(|| listed?.node.clone()),
        id,
        fields: it.fields.iter().map(|it| it.field.kind).collect(),
        since_ms: written.at_ms,
        ours: written.tasks,
    })
}
