//! FLOOR 2. The functional core: facts in, verdict out. Nothing here awaits, reads a clock, draws
//! chance or knows a database. One folder for each area, and what they share.

pub mod activity;
pub mod audit;
pub mod challenge;
pub mod claimed;
pub mod delivery;
pub mod directory;
pub mod factor;
mod inputs;
pub mod limits;
pub mod setting;
pub mod support;
pub mod team;
pub mod text;
mod verdict;

pub use inputs::RuleInputs;
pub use verdict::{Decided, DecisionContext, Verdict, seconds_until};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;
