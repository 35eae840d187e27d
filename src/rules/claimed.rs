//! A call to a provider is made only of what was claimed, and only what was called is settled as such.

use std::ops::Deref;

use crate::message::RetryDelay;

/// What is decided for a message before its provider is called.
pub enum Decision<C, S> {
    /// Claim it, then call the provider.
    Call(C),
    /// There is nothing to call.
    Settle(S),
    /// Decide again after this delay, which counts as no attempt.
    Wait {
        /// How long.
        delay: RetryDelay,
        /// The label of the metric.
        label: &'static str,
    },
}

/// A call whose claim is committed. Only the runtime makes one.
///
/// What is sent can be read from it and from nothing else, so a call without a claim does not compile:
///
/// ```compile_fail
/// fn text(call: &stepup::rules::delivery::DeliveryCall) -> &str {
///     &call.message().text
/// }
/// ```
///
/// Neither does an answer to a call that was not made:
///
/// ```compile_fail
/// use stepup::rules::delivery::{Answer, DeliveryCall};
/// fn settle(call: DeliveryCall, policy: &stepup::domain::policy::Policy) {
///     call.answered(Answer::Unknown { code: "timeout".into() }, policy);
/// }
/// ```
pub struct Claimed<C>(C);

impl<C> Claimed<C> {
    pub(crate) const fn after_commit(call: C) -> Self {
        Self(call)
    }

    pub(in crate::rules) fn into_call(self) -> C {
        self.0
    }
}

impl<C> Deref for Claimed<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.0
    }
}
