//! Statements of the area `factor`.

pub(super) mod email_proofs;
pub(super) mod pending;
