//! Statements of the area `challenge`.

pub(super) mod facts;
pub(super) mod guesses;
pub(super) mod rows;
pub(super) mod view;
pub(super) mod wrong_guesses;
