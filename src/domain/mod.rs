//! GROUND. The types of the field and what is always true of them. No I/O, no clock, no chance of
//! their own: both are arguments.

pub mod account;
pub mod activity;
pub mod approval;
pub mod challenge;
pub mod checkpoint;
pub mod code;
pub mod email;
pub mod email_proof;
pub mod id;
pub mod keys;
pub mod member;
pub mod phone;
pub mod policy;
pub mod schema;

/// A moment. Decisions take it from the database's clock, never from a worker's.
pub type Timestamp = time::OffsetDateTime;

/// Where rules take chance from. In production the operating system's generator.
pub trait Chance: rand::CryptoRng + Send {}
impl<T: rand::CryptoRng + Send> Chance for T {}
