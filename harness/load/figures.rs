//! What a run has seen: every latency, and every count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use time::OffsetDateTime;

/// Durations of one kind, each kept, so that percentiles are exact. Four bytes a sample.
#[derive(Default)]
pub(super) struct Samples(Mutex<Vec<u32>>);

impl Samples {
    /// Adds one. Times of two clocks can seem to run backwards; that counts as none.
    pub fn add(&self, took: time::Duration) {
        let microseconds = u32::try_from(took.whole_microseconds().max(0)).unwrap_or(u32::MAX);
        self.lock().push(microseconds);
    }

    /// Percentiles of all but the first `skip`.
    pub fn since(&self, skip: usize) -> (usize, Percentiles) {
        let samples = self.lock();
        let new = samples.get(skip..).unwrap_or_default().to_vec();
        (samples.len(), Percentiles::of(new))
    }

    /// Percentiles of all.
    pub fn percentiles(&self) -> Percentiles {
        self.since(0).1
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Percentiles, in milliseconds; by the nearest rank.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Percentiles {
    /// How many samples.
    pub count: usize,
    /// Half are no slower.
    pub p50: f64,
    /// 90 % are no slower.
    pub p90: f64,
    /// 99 % are no slower.
    pub p99: f64,
    /// 99.9 % are no slower.
    pub p999: f64,
    /// The slowest.
    pub max: f64,
}

impl Percentiles {
    /// Of microseconds, in any order.
    pub fn of(mut samples: Vec<u32>) -> Self {
        samples.sort_unstable();
        let rank = |share: f64| {
            let place = (samples.len() as f64 * share).ceil() as usize;
            samples.get(place.saturating_sub(1)).map_or(0.0, |found| f64::from(*found) / 1000.0)
        };
        Self {
            count: samples.len(),
            p50: rank(0.5),
            p90: rank(0.9),
            p99: rank(0.99),
            p999: rank(0.999),
            max: rank(1.0),
        }
    }

    /// Of durations.
    pub fn of_durations(samples: &[Duration]) -> Self {
        Self::of(samples.iter().map(|d| u32::try_from(d.as_micros()).unwrap_or(u32::MAX)).collect())
    }

    /// As the JSON object has it.
    pub fn json(&self) -> Value {
        let Self { count, p50, p90, p99, p999, max } = self;
        json!({ "count": count, "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max })
    }
}

/// A count.
#[derive(Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A login that was left to its email.
pub(super) struct FallenBack {
    /// Its challenge.
    pub challenge: Uuid,
    /// When the mail arrived.
    pub arrived_at: OffsetDateTime,
}

/// All of it. Latencies and `measured` are of logins whose start lies after the warm-up; the other
/// counts are of every login.
#[derive(Default)]
pub(super) struct Figures {
    /// From the intended start to the SMS at the provider.
    pub request_to_sms: Samples,
    /// From the code in hand to the outcome of a right guess.
    pub verify: Samples,
    /// From the intended start to the answer `open`.
    pub open: Samples,
    /// Logins begun.
    pub begun: Count,
    /// Logins verified.
    pub verified: Count,
    /// Logins begun after the warm-up and verified by the code of the SMS.
    pub measured: Count,
    /// Logins that were to be left to the email.
    pub left: Count,
    /// Wrong guesses, answered `wrong_code`.
    pub wrong: Count,
    /// Logins that were not answered `open`.
    pub not_opened: Count,
    /// Texts that did not arrive.
    pub sms_missing: Count,
    /// Mails that did not arrive.
    pub email_missing: Count,
    /// Right guesses that were not answered `verified`.
    pub not_verified: Count,
    /// Rate given and no member free: the system is too slow, or there are too few.
    pub nobody_free: Count,
    /// Mails that arrived.
    pub fallen_back: Mutex<Vec<FallenBack>>,
    /// The first few sentences about what went wrong.
    pub complaints: Mutex<Vec<String>>,
}

impl Figures {
    /// Keeps a sentence about what went wrong, if there is room.
    pub fn complain(&self, why: String) {
        /// Sentences kept. They are mostly the same one.
        const COMPLAINTS_MAX: usize = 5;
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < COMPLAINTS_MAX && !complaints.contains(&why) {
            complaints.push(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples_at_the_nearest_rank() {
        let found = Percentiles::of((1..=1000).rev().map(|n| n * 1000).collect());
        assert_eq!((found.p50, found.p90, found.p99), (500.0, 900.0, 990.0));
        assert_eq!((found.p999, found.max, found.count), (999.0, 1000.0, 1000));
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
        assert_eq!(Percentiles::of(vec![7000]).p50, 7.0);
    }
}
