//! GROUND. The types of the field and what is always true of them. No I/O, no clock, no chance of
//! their own: both are arguments.

pub mod account;
pub mod activity;
pub mod approval;
pub mod challenge;
pub mod checkpoint;
pub mod code;
pub mod email;
pub mod email_proof;
pub mod id;
pub mod keys;
mod mac;
pub mod member;
pub mod notice;
pub mod phone;
pub mod policy;
pub mod provider;
pub mod reset;
pub mod schema;
pub mod shown;
pub(crate) mod string_enum;
pub mod typed;

/// A moment. Decisions take it from the database's clock, never from a worker's.
pub type Timestamp = time::OffsetDateTime;

/// A moment as RFC 3339 writes it, in one of the years that the database and every reader know: 1970 to
/// 9999, in UTC.
pub fn moment(text: &str) -> Option<Timestamp> {
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let at = Timestamp::parse(text, rfc3339).ok()?.checked_to_offset(time::UtcOffset::UTC)?;
    (1970..=9999).contains(&at.year()).then_some(at)
}

/// Where rules take chance from. In production the operating system's generator.
pub trait Chance: rand::CryptoRng + Send {}
impl<T: rand::CryptoRng + Send> Chance for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_of_a_year_that_everybody_knows_in_utc_too() {
        assert!(moment("2026-01-02T03:04:05+02:00").is_some());
        for wrong in ["", "tomorrow", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00"] {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }
}
