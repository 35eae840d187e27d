//! The key of a Standard Webhooks signature (<https://www.standardwebhooks.com>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::SettingsError;

/// The shortest secret that is accepted, in bytes, as the standard recommends.
const SECRET_BYTES_MIN: usize = 24;

/// A shared secret. It has no `Debug` and cannot be read back.
#[derive(Clone)]
pub struct WebhookKey(Hmac<Sha256>);

impl WebhookKey {
    /// Reads a secret: `whsec_` followed by base64, or else any other text, whose bytes are the
    /// key as they stand.
    ///
    /// # Errors
    ///
    /// What follows `whsec_` is not base64, or the key is shorter than 24 bytes.
    pub fn parse(secret: &str) -> Result<Self, SettingsError> {
        let key = match secret.strip_prefix("whsec_") {
            Some(encoded) => STANDARD
                .decode(encoded)
                .map_err(|_| SettingsError::new("secret: what follows `whsec_` is not base64"))?,
            None => secret.as_bytes().to_vec(),
        };
        let key = Zeroizing::new(key);
        if key.len() < SECRET_BYTES_MIN {
            let bytes = key.len();
            return Err(SettingsError::new(format!(
                "secret: {bytes} bytes, needs at least {SECRET_BYTES_MIN}"
            )));
        }
        Hmac::new_from_slice(&key)
            .map(Self)
            .map_err(|_| SettingsError::new("secret: not usable as a key"))
    }

    /// The value of the `webhook-signature` header: over id, Unix time in seconds and body.
    pub fn sign(&self, id: &str, timestamp_seconds: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp_seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
    const BODY: &[u8] = br#"{"to":"+15005550006","text":"Code 123456","reference":"01890a5d-ac96-774b-bcce-b302099a8057"}"#;

    // Both expected values were computed with `standardwebhooks` from PyPI.
    #[test]
    fn signatures_are_those_of_the_reference_implementation() {
        let key = WebhookKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = key.sign(ID, 1_700_000_000, BODY);
        assert_eq!(signature, "v1,dRazySfJKiOY4DBRKnbMcOoYZDPKYnp9Y+XLFm4JBOw=");
        let raw = WebhookKey::parse("a raw secret of enough length").unwrap();
        let signature = raw.sign(ID, 1_700_000_000, BODY);
        assert_eq!(signature, "v1,htmF5mf5Sz/AosR+sXTd37rtVk5N+Jidrc2K+1Z81sw=");
    }

    #[test]
    fn a_bad_secret_is_refused_without_being_repeated() {
        for secret in ["whsec_%%%", "whsec_c2hvcnQ=", "hunter2"] {
            let error = WebhookKey::parse(secret).err().unwrap().to_string();
            assert!(error.starts_with("secret: "), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("c2hvcnQ"), "{error}");
        }
    }
}
