//! Sensitive settings: a code for exactly one change.

pub mod approval;
pub mod decide;
