//! Statements of the area `directory`.

pub(super) mod accounts;
pub(super) mod facts;
pub(super) mod members;
pub(super) mod numbers;
pub(super) mod owned_numbers;
