//! `stepup`: self-hosted two-factor authentication as queue-driven workers.
//!
//! The floors, lowest first; each may use only what is listed (kept by `tests/it/architecture.rs`):
//!
//! | floor | module      | may use                                              |
//! |-------|-------------|------------------------------------------------------|
//! | 0     | [`domain`]  | nothing of ours                                      |
//! | 0     | [`fault`]   | nothing of ours                                      |
//! | 0     | [`observe`] | `fault`                                              |
//! | 1     | [`message`] | `domain`                                             |
//! | 2     | [`rules`]   | `domain`, `message`; nothing from here down awaits   |
//! | 3     | [`store`]   | `domain`, `fault`, `message`, `observe`, `rules`     |
//! | 3     | [`broker`]  | `fault`, `message`, `observe`                        |
//! | 3     | [`gateway`] | nothing of ours                                      |
//! | 4     | [`runtime`] | all of the above but `gateway`                       |
//! | 5     | [`ingress`] | `broker`, `domain`, `fault`, `message`, `observe`    |
//!
//! [`config`] reads the environment for all of them; [`failpoint`], empty but for the fault tests, is
//! used where they crash a process. The workers live in a package of their own, `workers/`, which this
//! one cannot import.

pub mod broker;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod fault;
pub mod gateway;
pub mod ingress;
pub mod message;
pub mod observe;
pub mod rules;
pub mod runtime;
pub mod store;
