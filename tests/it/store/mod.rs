//! The store ring: what only PostgreSQL can prove. Each test has a database of its own.

mod activity;
mod chain;
mod constraints;
mod fixture;
mod migrate;
mod numbers;
mod plans;
mod races;
mod setup;
