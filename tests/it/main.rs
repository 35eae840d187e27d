//! One test binary: architecture, the broker floor, and the whole product as processes.

#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and takes its settings from the environment"
)]

mod amqp;
mod app;
mod apps;
mod architecture;
mod broker;
mod canary;
mod clock;
mod contracts;
mod emptied;
mod examples;
mod factor;
#[cfg(feature = "faults")]
mod faults;
mod flows;
mod frozen;
mod hostile;
mod lifecycle;
mod mail;
mod missing;
mod operate;
mod rules_named;
mod runtime;
mod schemas;
mod services;
mod store;
mod support;
mod team;
mod tls;
