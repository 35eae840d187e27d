//! What a setting may hold besides texts and numbers.

use crate::domain::id::AppName;

/// An application that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// The user it logs in to the broker with.
    pub broker_user: String,
    /// SHA-256 of each of its API keys as text: one, or two while they change.
    pub api_keys_sha256: Vec<[u8; 32]>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
