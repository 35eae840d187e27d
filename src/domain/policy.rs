//! The numbers of the product, each with its default and its source. Validated once, at start.

use std::time::Duration;

use super::challenge::Purpose;
use super::code::CODE_DIGITS;

/// At most `count` within `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many.
    pub count: i64,
    /// In how long.
    pub within: Duration,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every limit that rules decide by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Digits of a code.
    pub code_digits: u8,
    /// Life of a challenge. 600 s is the hard maximum (NIST SP 800-63B-4 §3.1.3.2, ASVS 6.5.5).
    pub challenge_life: Duration,
    /// Life of a challenge that approves the change of a setting.
    pub setting_life: Duration,
    /// How long an approved change may be carried out.
    pub approval_life: Duration,
    /// How long a review of contacts may be named by a mandate.
    pub review_life: Duration,
    /// How long an approved reset of a factor waits, so that it can be cancelled.
    pub reset_hold: Duration,
    /// How long sensitive settings are held after a change of number or a reset.
    pub cooling_off: Duration,
    /// Wrong codes a challenge bears.
    pub wrong_per_challenge: i16,
    /// Wrong codes in a row that a member may enter before having to wait.
    pub wrong_in_a_row: i32,
    /// The first wait; it doubles with each further wrong code.
    pub guess_wait: Duration,
    /// The longest wait.
    pub guess_wait_max: Duration,
    /// Wrong codes of a member after which no new challenge is issued until the window moves.
    pub wrong_per_day: Window,
    /// Wrong codes of a member after which the factor is suspended. With six digits the chance of a
    /// hit stays at 1e-4 in the window.
    pub wrong_per_month: Window,
    /// The wait before the second, third … send of a challenge; the last one repeats.
    pub resend_after: Vec<Duration>,
    /// Sends of one challenge, all channels together.
    pub sends_per_challenge: i16,
    /// Sends to one number (R-54: shared by all members who have it).
    pub sends_per_number: Vec<Window>,
    /// Email fallback after the first SMS was claimed.
    pub fallback_after: Duration,
    /// With less life than this left, a message is not sent.
    pub life_left_min: Duration,
    /// How long a provider may take to answer.
    pub provider_timeout: Duration,
    /// What a claim outlives the provider's time by. After both, the attempt is `unknown`.
    pub lease_margin: Duration,
    /// The longest transaction. The timers rely on it: a due time is always later than the commit
    /// that sets it.
    pub transaction_max: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            code_digits: 6,
            challenge_life: seconds(600),
            setting_life: seconds(300),
            approval_life: seconds(120),
            review_life: seconds(3600),
            reset_hold: seconds(24 * 3600),
            cooling_off: seconds(72 * 3600),
            wrong_per_challenge: 5,
            wrong_in_a_row: 5,
            guess_wait: seconds(30),
            guess_wait_max: seconds(3600),
            wrong_per_day: Window { count: 15, within: seconds(24 * 3600) },
            wrong_per_month: Window { count: 100, within: seconds(30 * 24 * 3600) },
            resend_after: [60, 60, 120, 300].map(seconds).to_vec(),
            sends_per_challenge: 5,
            sends_per_number: vec![
                Window { count: 5, within: seconds(600) },
                Window { count: 10, within: seconds(3600) },
                Window { count: 20, within: seconds(24 * 3600) },
            ],
            fallback_after: seconds(60),
            life_left_min: seconds(60),
            provider_timeout: seconds(5),
            lease_margin: seconds(5),
            transaction_max: seconds(5),
        }
    }
}

impl Policy {
    /// Everything that is wrong with it, each as a sentence naming the setting.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        require(
            CODE_DIGITS.contains(&self.code_digits),
            "STEPUP_CODE_DIGITS must be 6 to 10 (NIST SP 800-63B-4 §3.1.3.2)",
        );
        require(
            self.challenge_life <= seconds(600) && self.challenge_life >= seconds(1),
            "STEPUP_CHALLENGE_SECONDS must be 1 to 600 (NIST SP 800-63B-4 §3.1.3.2)",
        );
        require(
            self.setting_life <= seconds(600) && self.setting_life >= self.transaction_max * 2,
            "STEPUP_SETTING_SECONDS must be at most 600, and at least twice \
             STEPUP_TRANSACTION_SECONDS",
        );
        require(
            (seconds(1)..=seconds(600)).contains(&self.approval_life),
            "STEPUP_APPROVAL_SECONDS must be 1 to 600",
        );
        require(
            self.reset_hold >= self.transaction_max * 2,
            "STEPUP_RESET_HOLD_SECONDS must be at least twice STEPUP_TRANSACTION_SECONDS",
        );
        require(
            (1..=100).contains(&self.wrong_per_challenge),
            "STEPUP_WRONG_PER_CHALLENGE must be 1 to 100",
        );
        require(
            (1..=100).contains(&self.wrong_per_month.count),
            "STEPUP_WRONG_PER_MONTH must be 1 to 100 (NIST SP 800-63B-4 §3.2.2)",
        );
        require(!self.resend_after.is_empty(), "STEPUP_RESEND_SECONDS must not be empty");
        require(self.fallback_after <= seconds(900), "STEPUP_FALLBACK_SECONDS must be at most 900");
        require(
            self.fallback_after >= self.transaction_max * 2,
            "STEPUP_FALLBACK_SECONDS must be at least twice STEPUP_TRANSACTION_SECONDS, \
             or the timers could miss a fallback that was not yet committed when due",
        );
        require(
            self.challenge_life >= self.transaction_max * 2,
            "STEPUP_CHALLENGE_SECONDS must be at least twice STEPUP_TRANSACTION_SECONDS",
        );
        require(
            self.resend_after.iter().all(|wait| *wait >= self.transaction_max * 2),
            "every one of STEPUP_RESEND_SECONDS must be at least twice STEPUP_TRANSACTION_SECONDS",
        );
        require(
            self.transaction_max >= Duration::from_millis(100),
            "STEPUP_TRANSACTION_SECONDS must be at least 0.1",
        );
        require(
            self.life_left_min < self.challenge_life && self.life_left_min < self.setting_life,
            "STEPUP_LIFE_LEFT_SECONDS must be less than STEPUP_CHALLENGE_SECONDS and \
             STEPUP_SETTING_SECONDS",
        );
        problems
    }

    /// The life of a challenge for this purpose.
    pub const fn life(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::Setting | Purpose::Team => self.setting_life,
            Purpose::Login
            | Purpose::Enrolment
            | Purpose::NumberChangeCurrent
            | Purpose::NumberChangeNew
            | Purpose::Disable => self.challenge_life,
        }
    }

    /// The wait after `sends` sends before the next is granted.
    pub fn resend_wait(&self, sends: i16) -> Duration {
        let step = usize::try_from(sends.max(1) - 1).unwrap_or(0);
        let last = self.resend_after.last().copied().unwrap_or(self.fallback_after);
        self.resend_after.get(step).copied().unwrap_or(last)
    }

    /// The wait after `in_a_row` wrong codes in a row, if any.
    pub fn guess_wait_after(&self, in_a_row: i32) -> Option<Duration> {
        let beyond = u32::try_from(in_a_row - self.wrong_in_a_row).ok()?;
        let wait = self.guess_wait.saturating_mul(2_u32.saturating_pow(beyond.min(20)));
        Some(wait.min(self.guess_wait_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_defaults_are_valid_and_are_those_of_the_document() {
        let policy = Policy::default();
        assert_eq!(policy.problems(), Vec::<String>::new());
        let waits: Vec<u64> = (1..=6).map(|sends| policy.resend_wait(sends).as_secs()).collect();
        assert_eq!(waits, [60, 60, 120, 300, 300, 300]);
        let waits: Vec<_> =
            (4..=13).map(|n| policy.guess_wait_after(n).map(|w| w.as_secs())).collect();
        let expected = [
            None,
            Some(30),
            Some(60),
            Some(120),
            Some(240),
            Some(480),
            Some(960),
            Some(1920),
            Some(3600),
            Some(3600),
        ];
        assert_eq!(waits, expected);
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let policy = Policy {
            code_digits: 5,
            challenge_life: seconds(601),
            fallback_after: seconds(1),
            ..Policy::default()
        };
        let problems = policy.problems().join("\n");
        for name in ["CODE_DIGITS", "CHALLENGE_SECONDS", "FALLBACK_SECONDS"] {
            assert!(problems.contains(name), "{problems}");
        }
    }

    proptest! {
        #[test]
        fn waits_never_shrink_and_never_exceed_the_cap(n in 0..10_000_i32) {
            let policy = Policy::default();
            prop_assert!(policy.guess_wait_after(n) <= policy.guess_wait_after(n + 1));
            prop_assert!(policy.guess_wait_after(n).is_none_or(|w| w <= policy.guess_wait_max));
        }
    }
}
