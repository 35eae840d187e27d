//! The operator's commands.

pub mod audit;
pub mod command;
pub mod config;
pub mod connect;
pub mod dead_letters;
pub mod healthcheck;
pub mod keys;
pub mod migrate;
pub mod numbers;
pub mod output;
pub mod run;
pub mod schemas;
pub mod topology;
