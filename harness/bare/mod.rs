//! Broker and database without the product: what the product's figures are compared with.

pub mod broker;
pub mod database;
