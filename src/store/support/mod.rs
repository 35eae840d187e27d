//! Statements of the area `support`.

pub(super) mod resets;
