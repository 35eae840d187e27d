//! Statements of the area `team`.

pub(super) mod facts;
pub(super) mod mandates;
pub(super) mod review_view;
pub(super) mod reviews;
