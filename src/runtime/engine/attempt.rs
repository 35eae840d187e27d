//! Attempts at messages, and the witness beside them.

use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::super::blame::{Blame, Failure, Neighbours, Undone, blame};
use super::super::worker::Worker;
use super::engine::{Engine, PAUSE};
use crate::broker::pauses;
use crate::fault::{Dependency, Fault};
use crate::observe;
use crate::store::Store;

/// An attempt that takes longer gets a witness.
const WITNESS_AFTER: Duration = Duration::from_secs(1);

/// What was seen beside an attempt.
struct Witness {
    /// Whether the database took other work all the while.
    others: Result<(), Fault>,
    /// Who was in the way.
    holder: Option<String>,
}

impl<W: Worker> Engine<W> {
    /// Does `work` for several messages, or one, among their `neighbours` of the same work. Does it again
    /// for as long as it fails by the fault of a dependency: that counts against no message. They stay
    /// unacked meanwhile.
    pub(super) async fn attempt<T, F>(
        &self,
        neighbours: &Mutex<Neighbours>,
        ids: &[Uuid],
        work: impl Fn() -> F,
    ) -> Result<T, Undone>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let store = &self.shared.store;
        let messages = ids.len();
        let seen = || neighbours.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut in_a_row, mut waits) = (0, pauses());
        loop {
            let (done, witness) = witnessed(store, Box::pin(work())).await;
            let failure = match done {
                Ok(done) => {
                    seen().succeeded(ids);
                    return Ok(done);
                }
                Err(failure) => failure,
            };
            let Failure::Fault(Fault::Held(_) | Fault::Slow(_) | Fault::Down(..)) = failure else {
                return Err(Undone { blame: blame(&failure, messages, true, true, 0), failure });
            };
            let others = match witness.others {
                Ok(()) => store.takes_work().await,
                obstacle => obstacle,
            };
            in_a_row = if others.is_ok() { in_a_row + 1 } else { 0 };
            // Where others do not succeed either, nothing shows in the neighbours.
            let beside = match (&failure, ids) {
                (Failure::Fault(Fault::Slow(_)), [id]) if others.is_ok() => {
                    seen().succeed_beside(*id)
                }
                _ => true,
            };
            let blame = blame(&failure, messages, others.is_ok(), beside, in_a_row);
            let why = reason(&failure, &others, witness.holder.as_deref());
            if blame != Blame::Dependency {
                return Err(Undone { blame, failure: explained(failure, why) });
            }
            let dependency = match failure {
                Failure::Fault(Fault::Down(dependency, _)) => dependency,
                _ => Dependency::Database,
            };
            observe::paused(W::NAME, dependency, &why);
            // Short at first, since a cut connection is often back at once; longer where the server
            // answers and what is missing (room, a right) does not come back.
            tokio::time::sleep(waits.next().unwrap_or(PAUSE).min(2 * PAUSE)).await;
            let mut said = others.err();
            while let Err(obstacle) = store.takes_work().await {
                if said.as_ref() != Some(&obstacle) {
                    observe::paused(W::NAME, dependency, &obstacle.to_string());
                }
                said = Some(obstacle);
                tokio::time::sleep(PAUSE).await;
                (in_a_row, waits) = (0, pauses());
            }
            observe::resumed(W::NAME, dependency);
        }
    }
}

/// Does `work`. If it takes long, looks meanwhile whether the database takes other work: a look
/// afterwards would not see a disk that stalls now and then.
async fn witnessed<T>(
    store: &Store,
    work: impl Future<Output = Result<T, Failure>>,
) -> (Result<T, Failure>, Witness) {
    let mut work = pin!(work);
    let mut witness = Witness { others: Ok(()), holder: None };
    loop {
        if let Ok(done) = tokio::time::timeout(WITNESS_AFTER, &mut work).await {
            return (done, witness);
        }
        let looking = async {
            let holder = store.in_the_way().await;
            (store.takes_work().await, holder)
        };
        let mut looking = pin!(looking);
        let (done, (others, holder)) = tokio::select! {
            looked = &mut looking => (None, looked),
            done = &mut work => match done {
                Ok(done) => return (Ok(done), witness),
                failed => (Some(failed), looking.await),
            },
        };
        witness.others = witness.others.and(others);
        witness.holder = holder.or(witness.holder);
        if let Some(done) = done {
            return (done, witness);
        }
    }
}

/// What an operator reads.
fn reason(failure: &Failure, others: &Result<(), Fault>, holder: Option<&str>) -> String {
    let Failure::Fault(failed) = failure else { return String::new() };
    let mut why = match failed {
        Fault::Down(_, why) => why.clone(),
        other => other.to_string(),
    };
    if let Err(obstacle) = others {
        let obstacle = match obstacle {
            Fault::Down(_, obstacle) => obstacle.clone(),
            other => other.to_string(),
        };
        if obstacle != why {
            why = format!("{obstacle} ({why})");
        }
    }
    if let Some(holder) = holder {
        why = format!("{why}; in the way: {holder}");
    }
    why
}

/// The same failure, with the reason.
fn explained(failure: Failure, why: String) -> Failure {
    match failure {
        Failure::Fault(Fault::Held(_)) => Fault::Held(why).into(),
        Failure::Fault(Fault::Down(dependency, _)) => Fault::Down(dependency, why).into(),
        other => other,
    }
}
