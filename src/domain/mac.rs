//! Keyed digests that say what they are for.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// An HMAC under `key`, begun with its purpose so that no two uses of a key can meet.
pub(super) fn keyed(key: &[u8; 32], purpose: &str) -> Hmac<Sha256> {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else {
        unreachable!("HMAC takes a key of any length")
    };
    field(&mut mac, purpose.as_bytes());
    mac
}

/// Adds one field with its length in front, so that no two lists of fields look alike.
pub(super) fn field(mac: &mut Hmac<Sha256>, bytes: &[u8]) {
    mac.update(&(bytes.len() as u64).to_be_bytes());
    mac.update(bytes);
}
