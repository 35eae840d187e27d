//! The signature of Standard Webhooks (`v1`, symmetric): HMAC-SHA-256 over `id.timestamp.body`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// How far a call's timestamp may be from our clock, in seconds, either way.
const TOLERANCE_SECONDS: u64 = 300;

/// The key that both sides share.
pub(super) struct Secret(Vec<u8>);

impl Secret {
    /// Reads `whsec_<base64>`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let key = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (!key.is_empty()).then_some(Self(key))
    }

    /// Whether one of `signatures` (separated by spaces) is ours for this call and `timestamp`
    /// (Unix seconds) is near `now`. The comparison takes constant time.
    pub fn verifies(&self, call: &SignedCall<'_>, now: i64) -> bool {
        let fresh = call
            .timestamp
            .parse::<i64>()
            .is_ok_and(|timestamp| timestamp.abs_diff(now) <= TOLERANCE_SECONDS);
        fresh && call.signatures.split(' ').any(|signature| self.made(signature, call))
    }

    fn made(&self, signature: &str, call: &SignedCall<'_>) -> bool {
        let Some(encoded) = signature.strip_prefix("v1,") else { return false };
        let Ok(claimed) = STANDARD.decode(encoded) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return false };
        for part in [call.id.as_bytes(), b".", call.timestamp.as_bytes(), b".", call.body] {
            mac.update(part);
        }
        mac.verify_slice(&claimed).is_ok()
    }
}

/// What is signed, and the signatures that came with it.
pub(super) struct SignedCall<'a> {
    /// Header `webhook-id`.
    pub id: &'a str,
    /// Header `webhook-timestamp`, as sent.
    pub timestamp: &'a str,
    /// Header `webhook-signature`.
    pub signatures: &'a str,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

#[cfg(test)]
mod tests {
    use super::{Secret, SignedCall};

    // Made with the reference library for Python, `standardwebhooks` 1.1.0.
    const SECRET: &str = "whsec_BwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSY=";
    const TIMESTAMP: i64 = 1_790_000_000;
    const SIGNATURE: &str = "v1,2IdXCzw9m9mM+BlAg5AW2fkiqx85x190PBLkorrtog4=";
    const CALL: SignedCall<'_> = SignedCall {
        id: "0198d7a0-0000-7000-8000-000000000001",
        timestamp: "1790000000",
        signatures: SIGNATURE,
        body: "{\"to\":\"+12025550123\",\"text\":\"Ihr Code für ‹shop› ist 123456.\"}".as_bytes(),
    };

    fn secret() -> Secret {
        Secret::parse(SECRET).unwrap()
    }

    #[test]
    fn a_signature_of_the_reference_library_verifies() {
        assert!(secret().verifies(&CALL, TIMESTAMP));
    }

    #[test]
    fn one_good_signature_among_several_is_enough() {
        let signatures = format!("v1a,AAAA v1,AAAA {SIGNATURE}");
        assert!(secret().verifies(&SignedCall { signatures: &signatures, ..CALL }, TIMESTAMP));
    }

    #[test]
    fn another_id_time_body_key_or_scheme_does_not_verify() {
        let other = Secret::parse("whsec_c2VjcmV0").unwrap();
        assert!(!other.verifies(&CALL, TIMESTAMP));
        let asymmetric = SIGNATURE.replace("v1,", "v1a,");
        for call in [
            SignedCall { id: "other", ..CALL },
            SignedCall { timestamp: "1790000001", ..CALL },
            SignedCall { timestamp: "soon", ..CALL },
            SignedCall { body: b"{}", ..CALL },
            SignedCall { signatures: "", ..CALL },
            SignedCall { signatures: &asymmetric, ..CALL },
        ] {
            assert!(!secret().verifies(&call, TIMESTAMP));
        }
    }

    #[test]
    fn a_timestamp_more_than_five_minutes_away_does_not_verify() {
        for (distance, verifies) in [(300, true), (301, false), (-300, true), (-301, false)] {
            assert_eq!(secret().verifies(&CALL, TIMESTAMP + distance), verifies, "{distance}");
        }
    }

    #[test]
    fn a_secret_without_prefix_bytes_or_valid_base64_is_refused() {
        for text in ["c2VjcmV0", "whsec_", "whsec_*", ""] {
            assert!(Secret::parse(text).is_none(), "{text}");
        }
    }
}
