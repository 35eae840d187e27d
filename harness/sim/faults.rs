//! Misbehaviour on request, per recipient.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use axum::http::HeaderValue;
use serde::{Deserialize, Serialize};

/// The recipient that stands for every recipient without a fault of its own.
pub(super) const EVERYBODY: &str = "*";

/// The longest `slow`, in seconds.
const MAX_SLOW_SECONDS: f64 = 300.0;

/// What goes wrong with a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub(super) enum Fault {
    /// Accepted and shown at once, answered after `seconds`.
    Slow {
        /// May be fractional.
        seconds: f64,
    },
    /// Neither accepted nor answered; the connection stays open.
    Hang,
    /// Answered with this HTTP status (300 to 599); 451 over SMTP.
    Status {
        /// The HTTP status.
        status: u16,
        /// The value of `Retry-After`, in whatever form.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
    },
    /// Answered 429 with `Retry-After`; 451 over SMTP.
    Throttle {
        /// Seconds.
        retry_after: u32,
        /// Write them as a date.
        #[serde(default)]
        date: bool,
    },
    /// Refused for good because of the recipient: 422, or 550 over SMTP.
    Refuse,
    /// Accepted, but never shown.
    Lose,
    /// Accepted and shown; then the connection closes without an answer.
    HangUp,
}

impl Fault {
    /// The name used in requests and in the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Slow { .. } => "slow",
            Self::Hang => "hang",
            Self::Status { .. } => "status",
            Self::Throttle { .. } => "throttle",
            Self::Refuse => "refuse",
            Self::Lose => "lose",
            Self::HangUp => "hang_up",
        }
    }

    /// Whether the message is accepted all the same.
    pub fn accepts(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Lose | Self::HangUp)
    }

    /// How long the answer is held back.
    pub fn delay(&self) -> Duration {
        match self {
            Self::Slow { seconds } => Duration::try_from_secs_f64(*seconds).unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Slow { seconds } if !(0.0..=MAX_SLOW_SECONDS).contains(seconds) => {
                Err("seconds must be from 0 to 300")
            }
            Self::Status { status, .. } if !(300..=599).contains(status) => {
                Err("status must be from 300 to 599")
            }
            Self::Status { retry_after: Some(text), .. }
                if HeaderValue::from_str(text).is_err() =>
            {
                Err("retry_after must be the text of a header")
            }
            _ => Ok(()),
        }
    }

    /// The value of `Retry-After`, if there is to be one.
    pub fn retry_after(&self, now: SystemTime) -> Option<HeaderValue> {
        match self {
            Self::Status { retry_after, .. } => HeaderValue::from_str(retry_after.as_deref()?).ok(),
            Self::Throttle { retry_after, date: false } => Some((*retry_after).into()),
            Self::Throttle { retry_after, date: true } => {
                let then = now + Duration::from_secs((*retry_after).into());
                HeaderValue::from_str(&httpdate::fmt_http_date(then)).ok()
            }
            _ => None,
        }
    }
}

/// A fault as it is ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Order {
    #[serde(flatten)]
    fault: Fault,
    /// How many messages it still spoils; without, all until it is healed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
}

impl Order {
    /// Whether the numbers make sense; the error says which do not.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.times == Some(0) {
            return Err("times must be at least 1");
        }
        self.fault.check()
    }
}

/// The faults in force, by recipient.
#[derive(Default)]
pub(super) struct Faults(BTreeMap<String, Order>);

impl Faults {
    /// Puts `order` in the place of the recipient's present fault.
    pub fn order(&mut self, recipient: String, order: Order) {
        self.0.insert(recipient, order);
    }

    /// Heals one recipient.
    pub fn heal(&mut self, recipient: &str) {
        self.0.remove(recipient);
    }

    /// Heals every recipient.
    pub fn heal_all(&mut self) {
        self.0.clear();
    }

    /// The faults in force.
    pub fn orders(&self) -> &BTreeMap<String, Order> {
        &self.0
    }

    /// The fault for the next message to `recipient`, counted: its own before everybody's.
    pub fn take(&mut self, recipient: &str) -> Option<Fault> {
        let name = if self.0.contains_key(recipient) { recipient } else { EVERYBODY };
        let order = self.0.get_mut(name)?;
        let fault = order.fault.clone();
        if let Some(times) = &mut order.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(name);
            }
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::{EVERYBODY, Fault, Faults, Order};

    fn order(json: &str) -> Order {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_fault_with_times_ends_by_itself() {
        let mut faults = Faults::default();
        faults.order("+1".into(), order(r#"{"fault":"status","status":500,"times":2}"#));
        assert_eq!(faults.take("+1"), Some(Fault::Status { status: 500, retry_after: None }));
        assert_eq!(faults.take("+2"), None);
        assert_eq!(faults.take("+1"), Some(Fault::Status { status: 500, retry_after: None }));
        assert_eq!(faults.take("+1"), None);
    }

    #[test]
    fn the_recipients_own_fault_goes_before_everybodys() {
        let mut faults = Faults::default();
        faults.order(EVERYBODY.into(), order(r#"{"fault":"lose"}"#));
        faults.order("+1".into(), order(r#"{"fault":"refuse","times":1}"#));
        assert_eq!(faults.take("+1"), Some(Fault::Refuse));
        assert_eq!(faults.take("+1"), Some(Fault::Lose));
        faults.heal(EVERYBODY);
        assert_eq!(faults.take("+1"), None);
    }

    #[test]
    fn an_order_out_of_range_is_refused() {
        for json in [
            r#"{"fault":"slow","seconds":-1}"#,
            r#"{"fault":"slow","seconds":301}"#,
            r#"{"fault":"status","status":200}"#,
            r#"{"fault":"status","status":503,"retry_after":"6\n7"}"#,
            r#"{"fault":"lose","times":0}"#,
        ] {
            assert!(order(json).check().is_err(), "{json}");
        }
        assert!(order(r#"{"fault":"slow","seconds":0.5}"#).check().is_ok());
    }
}
