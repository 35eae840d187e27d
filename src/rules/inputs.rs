//! The inputs of a rule besides its facts.

use std::sync::Arc;

use crate::domain::keys::Keyring;
use crate::domain::policy::Policy;
use crate::rules::text::Texts;

/// The inputs of a rule besides its facts.
#[derive(Clone)]
pub struct RuleInputs {
    /// The keys.
    pub keys: Arc<Keyring>,
    /// The limits.
    pub policy: Arc<Policy>,
    /// The texts.
    pub texts: Arc<Texts>,
}
