//! A member's own factor: enrolment, number, email.

pub mod change;
pub mod email_backup;
pub mod email_proof;
pub mod enrolment;
pub mod facts;
pub mod message;
