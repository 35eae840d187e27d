//! The names of everything we declare, under one prefix, so that tests and tenants can share a
//! broker.

use crate::message::{Exchange, RetryDelay};

/// Makes the full names from short ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Names under `prefix`, which comes without a dot at its end: `stepup`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into() }
    }

    /// `stepup.requests`.
    pub fn exchange(&self, exchange: Exchange) -> String {
        self.full(exchange.label())
    }

    /// `stepup.sms_delivery.login` for `sms_delivery.login`.
    pub fn queue(&self, queue: &str) -> String {
        self.full(queue)
    }

    /// `sms_delivery.login` for `stepup.sms_delivery.login`; a name of somebody else unchanged.
    pub fn short<'a>(&self, full: &'a str) -> &'a str {
        full.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.')).unwrap_or(full)
    }

    /// The fanout exchange in front of a delay queue: `stepup.retry.5s`.
    pub fn retry_exchange(&self, delay: RetryDelay) -> String {
        self.full(&format!("retry.{}s", delay.seconds()))
    }

    /// The delay queue: `stepup.retry.5s`.
    pub fn retry_queue(&self, delay: RetryDelay) -> String {
        self.retry_exchange(delay)
    }

    /// The direct exchange through which a delayed or replayed message returns to its queue. The
    /// routing key is the queue's full name.
    pub fn return_exchange(&self) -> String {
        self.full("home")
    }

    /// The exchange and the queue of dead letters.
    pub fn dead(&self) -> String {
        self.full("dead")
    }

    /// The exchange that takes the requests no queue is bound for.
    pub fn unroutable(&self) -> String {
        self.full("unroutable")
    }

    /// The queue that tells a broker which was emptied from one that was only restarted.
    pub fn marker(&self) -> String {
        self.full("filled")
    }

    fn full(&self, short: &str) -> String {
        format!("{}.{short}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_prefix_once() {
        let names = Names::new("stepup");
        assert_eq!(names.exchange(Exchange::Requests), "stepup.requests");
        assert_eq!(names.queue("sms_delivery.login"), "stepup.sms_delivery.login");
        assert_eq!(names.retry_queue(RetryDelay::Second120), "stepup.retry.120s");
        assert_eq!(names.return_exchange(), "stepup.home");
        assert_eq!(names.dead(), "stepup.dead");
    }

    #[test]
    fn a_short_name_is_a_full_one_without_the_prefix() {
        let names = Names::new("stepup");
        assert_eq!(names.short("stepup.audit.bulk"), "audit.bulk");
        assert_eq!(names.short("stepupper.audit.bulk"), "stepupper.audit.bulk");
        assert_eq!(names.short("other"), "other");
    }
}
