//! Checkpoints of the Activity report's chain: signed, so that whoever can write to the database
//! cannot make one, and public to verify, so that an auditor needs no secret.

use std::collections::BTreeMap;
use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::Mac;
use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::activity::{ChainHash, Head};
use super::keys::{KeyId, Keyring, base64};
use super::mac::keyed;

/// What the signing keys are derived for, and what is signed begins with.
const PURPOSE: &str = "stepup/checkpoint/v1";

/// A checkpoint as a line of JSON: the chain of `account` had the hash `head` at `position`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The account.
    pub account: String,
    /// How many rows its chain had.
    pub position: i64,
    /// The hash of the last of them, in base64.
    pub head: String,
    /// When it was signed.
    #[serde(with = "time::serde::rfc3339")]
    pub at: Timestamp,
    /// The key that signed it.
    pub kid: String,
    /// Ed25519, in base64.
    pub signature: String,
}

/// Why a checkpoint attests nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverified {
    /// Not of the form we write: perhaps torn by a crash.
    Form,
    /// Signed with a key we do not know.
    UnknownKey,
    /// Not signed by the key it names, or changed since.
    Forged,
}

impl fmt::Display for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "is no checkpoint, or a torn one",
            Self::UnknownKey => "is signed with a key that is not known here",
            Self::Forged => "is forged: the signature does not verify",
        })
    }
}

impl Checkpoint {
    /// Signs `head` with the active key.
    pub fn sign(head: &Head, at: Timestamp, keys: &Keyring) -> Self {
        let (kid, pepper) = keys.active_pepper();
        let mut checkpoint = Self {
            account: head.account.clone(),
            position: head.position,
            head: base64::encode(&head.hash),
            // To the second: what is signed is what stands in the line.
            at: at.replace_nanosecond(0).unwrap_or(at),
            kid: kid.to_string(),
            signature: String::new(),
        };
        let signature = signing_key(pepper).sign(&checkpoint.signed());
        checkpoint.signature = base64::encode(&signature.to_bytes());
        checkpoint
    }

    /// The line, without its end.
    pub fn line(&self) -> String {
        // A struct of texts and numbers always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a line and verifies it; the hash that it attests, too.
    ///
    /// # Errors
    /// Why it attests nothing.
    pub fn verify(line: &str, keys: &CheckpointKeys) -> Result<(Self, ChainHash), Unverified> {
        let checkpoint: Self = serde_json::from_str(line).map_err(|_| Unverified::Form)?;
        let decoded = base64::decode(&checkpoint.head).and_then(|head| head.try_into().ok());
        let head: ChainHash = decoded.ok_or(Unverified::Form)?;
        let signature = base64::decode(&checkpoint.signature).ok_or(Unverified::Form)?;
        let signature = Signature::from_slice(&signature).map_err(|_| Unverified::Form)?;
        let kid = KeyId::parse(&checkpoint.kid).ok_or(Unverified::Form)?;
        let key = keys.0.get(&kid).ok_or(Unverified::UnknownKey)?;
        match key.verify_strict(&checkpoint.signed(), &signature) {
            Ok(()) => Ok((checkpoint, head)),
            Err(_) => Err(Unverified::Forged),
        }
    }

    /// What is signed: every member but the signature, each with its length in front.
    fn signed(&self) -> Vec<u8> {
        let (position, at) = (self.position.to_be_bytes(), self.at.unix_timestamp().to_be_bytes());
        let mut out = Vec::with_capacity(192);
        for bytes in [
            PURPOSE.as_bytes(),
            self.account.as_bytes(),
            &position,
            self.head.as_bytes(),
            &at,
            self.kid.as_bytes(),
        ] {
            out.extend((bytes.len() as u64).to_be_bytes());
            out.extend(bytes);
        }
        out
    }
}

/// The signing key of a key set is derived from its pepper, so that a key file needs no further
/// key, and it rotates with the set.
fn signing_key(pepper: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(&keyed(pepper, PURPOSE).finalize().into_bytes().into())
}

/// The public halves of the keys that sign checkpoints. A text of lines `<key id>.<base64>`.
pub struct CheckpointKeys(BTreeMap<KeyId, VerifyingKey>);

impl CheckpointKeys {
    /// Those of a keyring, older sets included.
    pub fn of(keys: &Keyring) -> Self {
        let key = |kid: &KeyId| {
            keys.pepper(kid).map(|pepper| (kid.clone(), signing_key(pepper).verifying_key()))
        };
        Self(keys.ids().filter_map(|(kid, _)| key(kid)).collect())
    }

    /// Reads what `Display` writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let key = |line: &str| {
            let (kid, key) = line.trim().split_once('.')?;
            let key = base64::decode(key)?.try_into().ok()?;
            Some((KeyId::parse(kid)?, VerifyingKey::from_bytes(&key).ok()?))
        };
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(key)
            .collect::<Option<_>>()
            .map(Self)
    }
}

impl fmt::Display for CheckpointKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (kid, key)) in self.0.iter().enumerate() {
            let end_of_line = if place == 0 { "" } else { "\n" };
            write!(f, "{end_of_line}{kid}.{}", base64::encode(key.as_bytes()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::keys::KeyFile;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use time::macros::datetime;

    const AT: Timestamp = datetime!(2026-01-02 03:04:05.678 UTC);

    fn head() -> Head {
        Head { account: "acme".into(), position: 7, hash: [9; 32] }
    }

    #[test]
    fn a_checkpoint_is_verified_with_the_public_keys_alone() {
        let keys = Keyring::for_tests();
        let line = Checkpoint::sign(&head(), AT, &keys).line();
        let public = CheckpointKeys::parse(&CheckpointKeys::of(&keys).to_string()).unwrap();
        let (checkpoint, hash) = Checkpoint::verify(&line, &public).unwrap();
        assert_eq!((checkpoint.account.as_str(), checkpoint.position, hash), ("acme", 7, [9; 32]));
    }

    #[test]
    fn no_changed_byte_of_a_line_goes_unnoticed() {
        let keys = Keyring::for_tests();
        let line = Checkpoint::sign(&head(), AT, &keys).line();
        let public = CheckpointKeys::of(&keys);
        let known = Checkpoint::verify(&line, &public).unwrap();
        for at in 0..line.len() {
            for byte in [b'1', b'A', b'"', b' '] {
                let mut changed = line.clone().into_bytes();
                if changed[at] == byte {
                    continue;
                }
                changed[at] = byte;
                let changed = String::from_utf8(changed).unwrap();
                // Where a line still verifies, it says the same.
                if let Ok(verified) = Checkpoint::verify(&changed, &public) {
                    assert_eq!(verified, known, "{changed}");
                }
            }
            assert!(Checkpoint::verify(&line[..at], &public).is_err(), "torn at {at}");
        }
    }

    #[test]
    fn another_key_under_the_same_name_is_no_signature() {
        let name = KeyId::parse("t1").unwrap();
        let file = KeyFile::draw(&name, &mut StdRng::seed_from_u64(3));
        let other = Keyring::parse(&serde_json::to_string(&file).unwrap()).unwrap();
        let line = Checkpoint::sign(&head(), AT, &other).line();
        let ours = CheckpointKeys::of(&Keyring::for_tests());
        assert_eq!(Checkpoint::verify(&line, &ours), Err(Unverified::Forged));
        let strange = line.replace("\"t1\"", "\"t2\"");
        assert_eq!(Checkpoint::verify(&strange, &ours), Err(Unverified::UnknownKey));
    }
}
