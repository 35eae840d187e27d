//! Statements of the area `delivery`.

pub(super) mod attempts;
pub(super) mod notice_rows;
pub(super) mod notices;
pub(super) mod numbers;
pub(super) mod sends;
pub(super) mod settlement;
