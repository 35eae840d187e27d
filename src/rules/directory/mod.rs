//! What the directory's upserts change: the highest version wins.

mod account;
pub mod decide;
pub mod facts;
mod member;
mod owned_numbers;
