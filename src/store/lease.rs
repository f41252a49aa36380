//! Leases keep two runs that share a store away from one project on one hypervisor.
//!
//! A lease runs out by time, so that a dead run blocks nobody for good, and at once
//! when its process is proved to have ended (`process`); its epoch
//! only grows and is checked in the transaction of every intent, so that a run which
//! slept through its end cannot write one more call.

use super::{
    chain,
    error::{Failure, StoreError},
    process,
    rows::{Entry, Event, Who},
};
use crate::model::{HypervisorName, ProjectName};
use rusqlite::{Connection, OptionalExtension, params, types::Type};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use uuid::Uuid;

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// For which run.
    pub run: Uuid,
    /// The user.
    pub who: String,
    /// The process.
    pub pid: u32,
    /// The machine that it runs on.
    pub host: String,
    /// The process, so that its end can be told (`this_process`).
    pub process: Option<String>,
}

impl fmt::Display for LeaseHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {} (process {}, run {})", self.who, self.host, self.pid, self.run)
    }
}

/// A lease that was given: all of its hypervisors or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose objects.
    pub project: ProjectName,
    /// Who holds it.
    pub holder: LeaseHolder,
    /// The fencing epoch on each hypervisor.
    pub epochs: BTreeMap<HypervisorName, i64>,
    /// When it runs out, milliseconds since 1970.
    pub expires_ms: i64,
    /// Leases that had run out and were taken over: to be told to the user, for the
    /// runs before may have left calls open.
    pub taken_over: Vec<LeaseTaken>,
}

/// A lease that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("`{hypervisor}` is leased for project `{project}` to {holder}")]
pub struct LeaseTaken {
    /// The project.
    pub project: ProjectName,
    /// The hypervisor.
    pub hypervisor: HypervisorName,
    /// Who has it.
    pub holder: LeaseHolder,
    /// When it runs out, milliseconds since 1970.
    pub expires_ms: i64,
}

/// A row of `leases`.
struct Held {
    epoch: i64,
    released: bool,
    taken: LeaseTaken,
}

impl Held {
    fn read(
        conn: &Connection,
        project: &ProjectName,
        hypervisor: &HypervisorName,
    ) -> Result<Option<Self>, Failure> {
        let mut statement = conn.prepare_cached(
            "SELECT epoch, run, who, pid, host, expires_ms, released, process FROM leases
             WHERE project = ?1 AND hypervisor = ?2",
        )?;
        let held = statement
            .query_row([project.as_str(), hypervisor.as_str()], |row| {
                let run: String = row.get(1)?;
                let run = run.parse().map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
                })?;
                Ok(Self {
                    epoch: row.get(0)?,
                    released: row.get(6)?,
                    taken: LeaseTaken {
                        project: project.clone(),
                        hypervisor: hypervisor.clone(),
                        holder: LeaseHolder {
                            run,
                            who: row.get(2)?,
                            pid: row.get(3)?,
                            host: row.get(4)?,
                            process: row.get(7)?,
                        },
                        expires_ms: row.get(5)?,
                    },
                })
            })
            .optional()?;
        Ok(held)
    }

    fn is_in_force(&self, now_ms: i64) -> bool {
        let ended = || self.taken.holder.process.as_deref().is_some_and(process::has_ended);
        !self.released && self.taken.expires_ms > now_ms && !ended()
    }
}

/// Takes a lease on all hypervisors, or on none.
pub(super) fn acquire(
    conn: &Connection,
    project: &ProjectName,
    hypervisors: &BTreeSet<HypervisorName>,
    holder: &LeaseHolder,
    ttl_ms: i64,
    now_ms: i64,
) -> Result<Result<Lease, LeaseTaken>, Failure> {
    let mut found = Vec::new();
    for hypervisor in hypervisors {
        let held = Held::read(conn, project, hypervisor)?;
        if let Some(held) = &held
            && held.is_in_force(now_ms)
            && held.taken.holder != *holder
        {
            return Ok(Err(held.taken.clone()));
        }
        found.push((hypervisor, held));
    }
    let expires_ms = now_ms.saturating_add(ttl_ms);
    let mut lease = Lease {
        project: project.clone(),
        holder: holder.clone(),
        epochs: BTreeMap::new(),
        expires_ms,
        taken_over: Vec::new(),
    };
    for (hypervisor, held) in found {
        let epoch = held.as_ref().map_or(0, |held| held.epoch) + 1;
        conn.prepare_cached(
            "INSERT INTO leases
                 (project, hypervisor, epoch, run, who, pid, host, expires_ms, released, process)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9)
             ON CONFLICT (project, hypervisor) DO UPDATE SET epoch = excluded.epoch,
                 run = excluded.run, who = excluded.who, pid = excluded.pid,
                 host = excluded.host, expires_ms = excluded.expires_ms, released = 0,
                 process = excluded.process",
        )?
        .execute(params![
            project.as_str(),
            hypervisor.as_str(),
            epoch,
            holder.run.to_string(),
            holder.who,
            holder.pid,
            holder.host,
            expires_ms,
            holder.process,
        ])?;
        lease.epochs.insert(hypervisor.clone(), epoch);
        if let Some(held) = held.filter(|held| !held.released && held.taken.holder != *holder) {
            chain::append(conn, take_over_entry(&held.taken, holder, now_ms))?;
            lease.taken_over.push(held.taken);
        }
    }
    Ok(Ok(lease))
}

fn take_over_entry(taken: &LeaseTaken, holder: &LeaseHolder, now_ms: i64) -> Entry {
    let who = Who { user: holder.who.clone(), host: holder.host.clone(), ..Who::default() };
    let mut entry =
        super::entry(Event::LeaseTakenOver, &taken.project, String::new(), holder.run, who, now_ms);
    entry.hypervisor = Some(taken.hypervisor.clone());
    entry.text = Some(format!("from {}", taken.holder));
    entry
}

/// Moves the end of a lease, unless somebody has taken it over.
pub(super) fn renew(
    conn: &Connection,
    lease: &Lease,
    ttl_ms: i64,
    now_ms: i64,
) -> Result<Result<Lease, LeaseTaken>, Failure> {
    for (hypervisor, epoch) in &lease.epochs {
        if let Err(lost) = check(conn, lease, hypervisor, *epoch)? {
            return Ok(Err(lost));
        }
    }
    let expires_ms = now_ms.saturating_add(ttl_ms);
    for hypervisor in lease.epochs.keys() {
        conn.prepare_cached(
            "UPDATE leases SET expires_ms = ?3 WHERE project = ?1 AND hypervisor = ?2",
        )?
        .execute(params![lease.project.as_str(), hypervisor.as_str(), expires_ms])?;
    }
    Ok(Ok(Lease { expires_ms, ..lease.clone() }))
}

fn check(
    conn: &Connection,
    lease: &Lease,
    hypervisor: &HypervisorName,
    epoch: i64,
) -> Result<Result<(), LeaseTaken>, Failure> {
    let held = Held::read(conn, &lease.project, hypervisor)?;
    Ok(match held {
        Some(held) if held.epoch == epoch && !held.released => Ok(()),
        Some(held) => Err(held.taken),
        None => {
            return Err(StoreError::LeaseLost {
                project: lease.project.clone(),
                hypervisor: hypervisor.clone(),
                run: lease.holder.run,
                taken: None,
            }
            .into());
        }
    })
}

/// Gives a lease back. What was taken over meanwhile stays with its holder.
pub(super) fn release(conn: &Connection, lease: &Lease) -> Result<(), Failure> {
    for (hypervisor, epoch) in &lease.epochs {
        conn.prepare_cached(
            "UPDATE leases SET released = 1
             WHERE project = ?1 AND hypervisor = ?2 AND epoch = ?3",
        )?
        .execute(params![lease.project.as_str(), hypervisor.as_str(), epoch])?;
    }
    Ok(())
}

/// Whether a run may still write: asked in the transaction of every intent.
///
/// `epoch` is what this process was given. Without one the run took no lease, and
/// may write only where nobody else has one.
pub(super) fn fence(
    conn: &Connection,
    project: &ProjectName,
    hypervisor: &HypervisorName,
    run: Uuid,
    epoch: Option<i64>,
    now_ms: i64,
) -> Result<(), Failure> {
    let held = Held::read(conn, project, hypervisor)?;
    let holds = match (&held, epoch) {
        (Some(held), Some(epoch)) => held.epoch == epoch && !held.released,
        (Some(held), None) => !held.is_in_force(now_ms),
        (None, Some(_)) => false,
        (None, None) => true,
    };
    if holds {
        return Ok(());
    }
    Err(StoreError::LeaseLost {
        project: project.clone(),
        hypervisor: hypervisor.clone(),
        run,
        taken: held.filter(|held| !held.released).map(|held| Box::new(held.taken)),
    }
    .into())
}
