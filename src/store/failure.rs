//! The one classification of PostgreSQL's errors.

use tokio_postgres::error::{DbError, SqlState};

use crate::fault::{Dependency, Fault};

/// An error before there is a connection: the server is away, or does not let us in. Either way the
/// message is not to blame.
pub(super) fn connect_fault(error: &tokio_postgres::Error) -> Fault {
    let why = error.as_db_error().map_or_else(
        // Said without its cause: "error performing TLS handshake".
        || with_causes(error),
        |db| db.message().to_owned(),
    );
    Fault::Down(Dependency::Database, why)
}

/// An error of a statement. The text is the server's message without its
/// detail, which can quote a row.
pub(super) fn fault(error: &tokio_postgres::Error) -> Fault {
    let Some(db) = error.as_db_error() else {
        if error.is_closed()
            || std::error::Error::source(error).is_some_and(|e| e.is::<std::io::Error>())
        {
            return Fault::Down(Dependency::Database, "the connection is gone".to_owned());
        }
        return Fault::Permanent(error.to_string());
    };
    let why = format!("{} ({})", db.message(), db.code().code());
    match *db.code() {
        SqlState::UNIQUE_VIOLATION => Fault::Transient(why),
        // `lock_timeout` is shorter than `statement_timeout`: what waits for a lock ends by the first.
        SqlState::LOCK_NOT_AVAILABLE
        | SqlState::T_R_DEADLOCK_DETECTED
        | SqlState::T_R_SERIALIZATION_FAILURE => Fault::Held(why),
        SqlState::QUERY_CANCELED => Fault::Slow(why),
        // The tables are not there yet, or not ours to write: an operator's matter.
        SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_FUNCTION => {
            Fault::Down(Dependency::Database, format!("{why}: run `stepup migrate`"))
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            Fault::Down(Dependency::Database, format!("{why}: the database user lacks a right"))
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            Fault::Down(Dependency::Database, format!("{why}: is this server a standby?"))
        }
        // Classes 08, 53, 57, 58: connection, resources, operator intervention, system.
        _ if ["08", "53", "57", "58", "XX", "25"]
            .iter()
            .any(|c| db.code().code().starts_with(c)) =>
        {
            Fault::Down(Dependency::Database, why)
        }
        _ => Fault::Permanent(why),
    }
}

/// An error and all that caused it, of which each names only itself: "db error". The server's message is
/// without its detail, which can quote a row.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = match cause.downcast_ref::<DbError>() {
            Some(db) => format!("{} ({})", db.message(), db.code().code()),
            None => cause.to_string(),
        };
        // Some say their cause themselves.
        if !why.contains(&said) {
            why = format!("{why}: {said}");
        }
        next = cause.source();
    }
    why
}

/// Whether a statement only says that an earlier one of its transaction has failed.
pub(super) fn follows_another(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION)
}
