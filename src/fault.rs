//! Why something did not work, and what follows from it.
//!
//! Each dependency classifies its own errors once, where they arise (`store`, `broker`, `gateway`);
//! everybody else only reads the class.

use std::fmt;

/// A part of the outside world that can be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// PostgreSQL.
    Database,
    /// RabbitMQ.
    Broker,
}

impl Dependency {
    /// Every dependency, for metrics that are registered at zero.
    pub const ALL: [Self; 2] = [Self::Database, Self::Broker];

    /// The label on metrics and in `/readyz`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Broker => "broker",
        }
    }
}

/// A failure and its class. The text never holds a message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A fault of this message now; the same message may well succeed later.
    Transient(String),
    /// A fault of this message for ever; trying again cannot help.
    Permanent(String),
    /// Another session of the database holds what the message needs. Never a fault of the message.
    Held(String),
    /// The database did not do it in time. Whether that is a fault of the message shows in what else
    /// the database does meanwhile.
    Slow(String),
    /// Not a fault of the message: a dependency is away. Wait, count no attempt.
    Down(Dependency, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient(why) => write!(f, "transient: {why}"),
            Self::Permanent(why) => write!(f, "permanent: {why}"),
            Self::Held(why) => write!(f, "held by another session: {why}"),
            Self::Slow(why) => write!(f, "not done in time: {why}"),
            Self::Down(dependency, why) => write!(f, "{} is down: {why}", dependency.label()),
        }
    }
}

impl std::error::Error for Fault {}
