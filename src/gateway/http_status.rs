//! What an HTTP status says about a request to send an SMS.
//!
//! The question is whether the request was handled, because only what was certainly not handled
//! may be sent again. The receiver itself knows. A gateway or proxy in front of it often does not.

use crate::domain::provider::Scope;

/// What a status says, without the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The receiver took the SMS over.
    Accepted,
    /// Not handled: too many requests.
    Throttled,
    /// Not handled; the same request may succeed later.
    Transient,
    /// Not handled; the same request can never succeed.
    Refused(Scope),
    /// It may have been handled.
    Unknown,
}

/// The meaning of a final status.
///
/// - 303 points to the result of a request that was handled. The other redirects point elsewhere
///   with a request that was not.
/// - 409 says that a request with the same id is being handled, 499 that one was broken off.
/// - 408, 421 and 425 are refusals to begin (RFC 9110 §15.5.9 and §15.5.20, RFC 8470).
/// - 500 and 503 are the receiver's own word that it did not do what was asked. 501 and 505 are as
///   well, but no repetition helps.
/// - 502 and 504 come from a gateway that forwarded the request and got no usable answer. So do
///   520, 522, 524 and 527 (Cloudflare), and 598 and 599 (proxies without a standard).
pub(super) const fn meaning(status: u16) -> Meaning {
    match status {
        200..=299 => Meaning::Accepted,
        303 => Meaning::Unknown,
        300..=399 => Meaning::Refused(Scope::Account),
        401 | 402 | 403 | 405 | 407 | 426 => Meaning::Refused(Scope::Account),
        404 | 410 | 422 => Meaning::Refused(Scope::Recipient),
        408 | 421 | 425 => Meaning::Transient,
        409 | 499 => Meaning::Unknown,
        429 => Meaning::Throttled,
        400..=499 => Meaning::Refused(Scope::Message),
        501 | 505 => Meaning::Refused(Scope::Account),
        502 | 504 | 520 | 522 | 524 | 527 | 598 | 599 => Meaning::Unknown,
        500..=599 => Meaning::Transient,
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every status that does not mean what the rest of its class means.
    const TABLE: [(&[u16], Meaning); 9] = [
        (&[303, 409, 499], Meaning::Unknown),
        (&[502, 504, 520, 522, 524, 527, 598, 599], Meaning::Unknown),
        (&[401, 402, 403, 405, 407, 426], Meaning::Refused(Scope::Account)),
        (&[404, 410, 422], Meaning::Refused(Scope::Recipient)),
        (&[408, 421, 425], Meaning::Transient),
        (&[429], Meaning::Throttled),
        (&[501, 505], Meaning::Refused(Scope::Account)),
        (&[600, 999], Meaning::Unknown),
        (&[100, 101, 102, 103, 199], Meaning::Unknown),
    ];

    #[test]
    fn every_status_has_one_meaning() {
        for status in 100..=599 {
            let class = match status {
                100..=199 => Meaning::Unknown,
                200..=299 => Meaning::Accepted,
                300..=399 => Meaning::Refused(Scope::Account),
                400..=499 => Meaning::Refused(Scope::Message),
                _ => Meaning::Transient,
            };
            let own = TABLE.iter().find(|(statuses, _)| statuses.contains(&status));
            assert_eq!(meaning(status), own.map_or(class, |(_, own)| *own), "{status}");
        }
        assert_eq!(meaning(600), Meaning::Unknown);
        assert_eq!(meaning(999), Meaning::Unknown);
    }

    #[test]
    fn the_operators_manual_lists_every_status_that_differs_from_its_class() {
        let manual = include_str!("../../docs/operations.md");
        let section = manual.split("### SMS webhook").nth(1).unwrap();
        let section = section.split("### Mail server").next().unwrap();
        for status in TABLE.iter().flat_map(|(statuses, _)| *statuses) {
            let listed = !(300..600).contains(status) || section.contains(&status.to_string());
            assert!(listed, "{status}");
        }
    }
}
