//! The roster: one file per worker. Workers do not import workers; they meet only in messages.

pub mod audit;
pub mod chain;
pub mod cli;
pub mod code_generation;
pub mod directory;
pub mod email_fallback;
pub mod janitor;
pub mod notice_delivery;
pub mod notification;
pub mod roles;
pub mod settings;
pub mod sms_delivery;
pub mod support;
pub mod team;
pub mod team_batch;
pub mod timers;
pub mod unroutable;
pub mod verification;
