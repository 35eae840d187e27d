//! The runtime ring: the generic runtime with a worker that does as it is told, against a real
//! broker and a real database. Each test has a topology and a database of its own.

mod batches;
mod dependencies;
mod failures;
mod fake;
mod fixture;
mod held;
mod repeats;
