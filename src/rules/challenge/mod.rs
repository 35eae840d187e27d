//! The life of a challenge: issue, resend, cancel, verification, end.

pub mod decide;
mod draw;
pub mod events;
pub mod facts;
pub mod issue;
pub mod resend;
pub mod spec;
pub mod verified;
pub mod verify;
pub mod void;
