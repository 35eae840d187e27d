//! Statements of the area `setting`.

pub(super) mod approvals;
