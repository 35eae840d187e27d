//! The keys: peppers for digests, keys for sealing at rest, key pairs for what travels.
//!
//! Everything made with a key carries the key's id, so that keys rotate: the newest set makes, all
//! sets open. Only the index key stays, since equality needs it to.

use std::collections::BTreeMap;
use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_dalek::{Signer, SigningKey};
use hmac::Mac;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::mac::{field, keyed};

/// The name of a key set: up to 16 of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(String);

impl KeyId {
    /// Checks the alphabet and the length.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=16).contains(&text.len());
        let clean = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        (fits && clean).then(|| Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One generation of keys.
struct KeySet {
    pepper: Zeroizing<[u8; 32]>,
    seal: Zeroizing<[u8; 32]>,
    opener: crypto_box::SecretKey,
    signer: SigningKey,
}

/// The key that approvals are signed with. Derived, so that a key file needs no further key.
fn signer(opener: &[u8; 32]) -> SigningKey {
    let seed = Zeroizing::new(<[u8; 32]>::from(
        keyed(opener, "stepup/approval-key/v1").finalize().into_bytes(),
    ));
    SigningKey::from_bytes(&seed)
}

/// All keys a worker holds. No `Debug`; the memory is wiped when dropped.
pub struct Keyring {
    active: KeyId,
    sets: BTreeMap<KeyId, KeySet>,
    index: Zeroizing<[u8; 32]>,
}

/// The key file as it stands on disk: what `stepup keys create` writes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The set that makes new digests and seals.
    pub active: String,
    /// Base64 of 32 bytes: the key of the blind indexes. It cannot be rotated by itself.
    pub index: Zeroizing<String>,
    /// Every set that can still open what it made, by key id.
    pub sets: BTreeMap<String, KeyFileSet>,
}

/// One set of a [`KeyFile`]; each field is base64 of 32 bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFileSet {
    /// For the digests of codes.
    pub pepper: Zeroizing<String>,
    /// For what is sealed at rest.
    pub seal: Zeroizing<String>,
    /// The secret half of the key pair that requests are sealed to.
    pub opener: Zeroizing<String>,
}

impl KeyFileSet {
    /// A fresh set.
    pub fn draw(rng: &mut dyn super::Chance) -> Self {
        let mut key = || draw_key(rng);
        Self { pepper: key(), seal: key(), opener: key() }
    }
}

impl KeyFile {
    /// A key file with one set.
    pub fn draw(active: &KeyId, rng: &mut dyn super::Chance) -> Self {
        let index = draw_key(rng);
        let sets = BTreeMap::from([(active.to_string(), KeyFileSet::draw(rng))]);
        Self { active: active.to_string(), index, sets }
    }
}

fn draw_key(rng: &mut dyn super::Chance) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rng.fill_bytes(bytes.as_mut());
    Zeroizing::new(base64::encode(bytes.as_ref()))
}

/// Base64 as the rest of the world reads it (RFC 4648 §4).
pub mod base64 {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    /// Encodes.
    pub fn encode(bytes: &[u8]) -> String {
        STANDARD.encode(bytes)
    }

    /// Encodes for URLs and JWTs (RFC 4648 §5), without padding.
    pub fn encode_url(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Decodes what [`encode_url`] makes.
    pub fn decode_url(text: &str) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(text).ok()
    }

    /// Decodes; `None` for what is no base64.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        STANDARD.decode(text).ok()
    }
}

fn key_bytes(text: &str, name: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let bytes = Zeroizing::new(base64::decode(text.trim()).unwrap_or_default());
    let mut key = Zeroizing::new([0_u8; 32]);
    if bytes.len() != 32 {
        return Err(format!("the key `{name}` is not base64 of 32 bytes"));
    }
    key.copy_from_slice(&bytes);
    Ok(key)
}

/// What is sealed at rest is bound to where it belongs, so that a row cannot be moved.
pub enum Place<'a> {
    /// The deliverable copy of a challenge's code: challenge, expiry in Unix seconds.
    Code(&'a [u8; 16], i64),
    /// The detail of a challenge: the number it binds, or the summary of what it approves.
    Detail(&'a [u8; 16]),
    /// A contact: account, member, `phone` or `email`.
    Contact(&'a str, &'a str, &'a str),
}

impl Place<'_> {
    fn associated(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        let mut add = |bytes: &[u8]| {
            out.extend((bytes.len() as u64).to_be_bytes());
            out.extend(bytes);
        };
        match self {
            Self::Code(challenge, expires) => {
                add(b"stepup/code");
                add(*challenge);
                add(&expires.to_be_bytes());
            }
            Self::Detail(challenge) => {
                add(b"stepup/detail");
                add(*challenge);
            }
            Self::Contact(account, member, kind) => {
                add(b"stepup/contact");
                add(account.as_bytes());
                add(member.as_bytes());
                add(kind.as_bytes());
            }
        }
        out
    }
}

impl Keyring {
    /// Reads a key file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: KeyFile = serde_json::from_str(text)
            .map_err(|_| "the key file is not what `stepup keys create` writes".to_owned())?;
        let mut sets = BTreeMap::new();
        for (name, set) in &file.sets {
            let kid = KeyId::parse(name).ok_or_else(|| format!("`{name}` is no key id"))?;
            let opener = key_bytes(&set.opener, "opener")?;
            let set = KeySet {
                pepper: key_bytes(&set.pepper, "pepper")?,
                seal: key_bytes(&set.seal, "seal")?,
                signer: signer(&opener),
                opener: crypto_box::SecretKey::from(*opener),
            };
            sets.insert(kid, set);
        }
        let active = KeyId::parse(&file.active).filter(|kid| sets.contains_key(kid));
        let active = active.ok_or("`active` names no set of the key file")?;
        Ok(Self { active, sets, index: key_bytes(&file.index, "index")? })
    }

    /// The ids of all sets, and whether each is the active one.
    pub fn ids(&self) -> impl Iterator<Item = (&KeyId, bool)> {
        self.sets.keys().map(|kid| (kid, *kid == self.active))
    }

    fn active_set(&self) -> &KeySet {
        // `parse` has checked that the active set is there.
        &self.sets[&self.active]
    }

    pub(super) fn active_pepper(&self) -> (&KeyId, &[u8; 32]) {
        (&self.active, &self.active_set().pepper)
    }

    pub(super) fn pepper(&self, kid: &KeyId) -> Option<&[u8; 32]> {
        self.sets.get(kid).map(|set| &*set.pepper)
    }

    /// The public half that apps and the ingress seal to.
    pub fn public(&self) -> PublicKey {
        PublicKey { kid: self.active.clone(), key: self.active_set().opener.public_key() }
    }

    /// Opens what was sealed to us: `<key id>.<base64 of a libsodium sealed box>`.
    pub fn open_request(&self, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (kid, bytes) = sealed.split_once('.').ok_or(SealError::Form)?;
        let kid = KeyId::parse(kid).ok_or(SealError::Form)?;
        let set = self.sets.get(&kid).ok_or(SealError::UnknownKey)?;
        let bytes = base64::decode(bytes).ok_or(SealError::Form)?;
        set.opener.unseal(&bytes).map(Zeroizing::new).map_err(|_| SealError::Broken)
    }

    /// Seals for the database: `1 | len(kid) | kid | nonce | ciphertext`.
    pub fn seal(&self, place: &Place<'_>, clear: &[u8], rng: &mut dyn super::Chance) -> Vec<u8> {
        let mut nonce = [0_u8; 24];
        rng.fill_bytes(&mut nonce);
        let kid = self.active.as_str().as_bytes();
        let mut out = Vec::with_capacity(2 + kid.len() + 24 + clear.len() + 16);
        out.extend([1, kid.len() as u8]);
        out.extend(kid);
        out.extend(nonce);
        let aad = place.associated();
        let cipher = XChaCha20Poly1305::new((&*self.active_set().seal).into());
        // Encryption fails only beyond 256 GiB.
        let sealed = cipher.encrypt(XNonce::from_slice(&nonce), Payload { msg: clear, aad: &aad });
        out.extend(sealed.unwrap_or_default());
        out
    }

    /// Opens what [`Self::seal`] made for the same place.
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let [1, length, rest @ ..] = sealed else { return Err(SealError::Form) };
        let (kid, rest) = rest.split_at_checked(usize::from(*length)).ok_or(SealError::Form)?;
        let (nonce, body) = rest.split_at_checked(24).ok_or(SealError::Form)?;
        let kid = std::str::from_utf8(kid).ok().and_then(KeyId::parse).ok_or(SealError::Form)?;
        let set = self.sets.get(&kid).ok_or(SealError::UnknownKey)?;
        let cipher = XChaCha20Poly1305::new((&*set.seal).into());
        let aad = place.associated();
        cipher
            .decrypt(XNonce::from_slice(nonce), Payload { msg: body, aad: &aad })
            .map(Zeroizing::new)
            .map_err(|_| SealError::Broken)
    }

    /// How many bytes [`Self::seal`] was given, which needs no key. `None` if it has not made this.
    pub fn clear_length(sealed: &[u8]) -> Option<usize> {
        let [1, length, rest @ ..] = sealed else { return None };
        rest.len().checked_sub(usize::from(*length) + 24 + 16)
    }

    /// A JWT of these claims, signed with Ed25519 under the active set's key.
    pub fn sign(&self, claims: &serde_json::Value) -> String {
        let header = serde_json::json!({
            "alg": "EdDSA", "typ": "JWT", "kid": self.active.as_str(),
        });
        let part = |value: &serde_json::Value| base64::encode_url(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(claims));
        let signature = self.active_set().signer.sign(signed.as_bytes());
        format!("{signed}.{}", base64::encode_url(&signature.to_bytes()))
    }

    /// The public keys that what [`Self::sign`] makes is verified with, as a JWK set (RFC 7517).
    pub fn approval_keys(&self) -> serde_json::Value {
        let key = |(kid, set): (&KeyId, &KeySet)| {
            serde_json::json!({
                "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                "kid": kid.as_str(),
                "x": base64::encode_url(set.signer.verifying_key().as_bytes()),
            })
        };
        serde_json::json!({ "keys": self.sets.iter().map(key).collect::<Vec<_>>() })
    }

    /// The blind index of a contact: equal for equal contacts, and says nothing without the key.
    pub fn blind(&self, kind: &str, contact: &str) -> [u8; 32] {
        self.fingerprint("stepup/index/v1", &[kind.as_bytes(), contact.as_bytes()])
    }

    /// A keyed digest of `fields` for one purpose. Not reversible by trying all codes or numbers,
    /// as an unkeyed digest would be.
    pub fn fingerprint(&self, purpose: &str, fields: &[&[u8]]) -> [u8; 32] {
        let mut mac = keyed(&self.index, purpose);
        for bytes in fields {
            field(&mut mac, bytes);
        }
        mac.finalize().into_bytes().into()
    }

    /// A fixed keyring for tests.
    #[doc(hidden)]
    pub fn for_tests() -> Self {
        let text = base64::encode(&[7; 32]);
        let json = format!(
            r#"{{"active":"t1","index":"{text}","sets":{{"t1":{{"pepper":"{text}","seal":"{text}","opener":"{text}"}}}}}}"#
        );
        match Self::parse(&json) {
            Ok(keys) => keys,
            Err(why) => unreachable!("{why}"),
        }
    }
}

/// Why something sealed did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// Not of the form we make.
    Form,
    /// Sealed with a key we do not hold.
    UnknownKey,
    /// Changed, cut, or moved from its place.
    Broken,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "is not `<key id>.<base64 of a sealed box>`",
            Self::UnknownKey => "is sealed to a key we do not hold: see `stepup keys public`",
            Self::Broken => "does not open: sealed to another key, or damaged",
        })
    }
}

/// The public half of a key pair: enough to seal, not to open.
#[derive(Clone)]
pub struct PublicKey {
    kid: KeyId,
    key: crypto_box::PublicKey,
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kid, base64::encode(self.key.as_bytes()))
    }
}

impl PublicKey {
    /// Reads `<key id>.<base64 of 32 bytes>`, as `stepup keys public` prints it.
    pub fn parse(text: &str) -> Option<Self> {
        let (kid, key) = text.trim().split_once('.')?;
        let key: [u8; 32] = base64::decode(key)?.try_into().ok()?;
        Some(Self { kid: KeyId::parse(kid)?, key: crypto_box::PublicKey::from(key) })
    }

    /// Seals `clear` as a request carries it. The ephemeral key comes from the operating system.
    pub fn seal(&self, clear: &[u8]) -> String {
        let sealed = self.key.seal(&mut crypto_box::aead::OsRng, clear).unwrap_or_default();
        format!("{}.{}", self.kid, base64::encode(&sealed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn rng() -> StdRng {
        StdRng::seed_from_u64(5)
    }

    #[test]
    fn what_is_sealed_opens_at_its_own_place_only() {
        let keys = Keyring::for_tests();
        let place = Place::Contact("acme", "ada", "phone");
        let sealed = keys.seal(&place, b"+12025550123", &mut rng());
        assert_eq!(keys.open(&place, &sealed).unwrap().as_slice(), b"+12025550123");
        assert_eq!(Keyring::clear_length(&sealed), Some(12));
        assert_eq!(Keyring::clear_length(&sealed[..20]), None);
        for moved in [
            Place::Contact("acme", "bob", "phone"),
            Place::Contact("acm", "eada", "phone"),
            Place::Contact("acme", "ada", "email"),
            Place::Code(&[0; 16], 0),
        ] {
            assert_eq!(keys.open(&moved, &sealed), Err(SealError::Broken));
        }
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let keys = Keyring::for_tests();
        let place = Place::Code(&[3; 16], 99);
        let sealed = keys.seal(&place, b"123456", &mut rng());
        for bit in 0..sealed.len() * 8 {
            let mut broken = sealed.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(keys.open(&place, &broken).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(keys.open(&place, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_request_is_sealed_with_the_public_half_alone() {
        let keys = Keyring::for_tests();
        let public = PublicKey::parse(&keys.public().to_string()).unwrap();
        let sealed = public.seal(b"123456");
        assert_ne!(sealed, public.seal(b"123456"), "each seal is new");
        assert_eq!(keys.open_request(&sealed).unwrap().as_slice(), b"123456");
        assert_eq!(keys.open_request("123456"), Err(SealError::Form));
        assert_eq!(keys.open_request(&sealed.replace("t1.", "t2.")), Err(SealError::UnknownKey));
        assert_eq!(keys.open_request(&sealed.replace("t1.", "t1.AAAA")), Err(SealError::Broken));
    }

    #[test]
    fn an_older_set_still_opens_after_a_rotation() {
        let mut file = KeyFile::draw(&KeyId::parse("k1").unwrap(), &mut rng());
        let text = |file: &KeyFile| serde_json::to_string(file).unwrap();
        let before = Keyring::parse(&text(&file)).unwrap();
        let place = Place::Code(&[1; 16], 1);
        let sealed = before.seal(&place, b"000000", &mut rng());
        file.sets.insert("k2".into(), KeyFileSet::draw(&mut rng()));
        file.active = "k2".into();
        let after = Keyring::parse(&text(&file)).unwrap();
        assert_eq!(after.open(&place, &sealed).unwrap().as_slice(), b"000000");
        assert!(before.open(&place, &after.seal(&place, b"1", &mut rng())).is_err());
        assert_eq!(before.blind("phone", "x"), after.blind("phone", "x"));
    }

    #[test]
    fn a_wrong_key_file_says_what_is_wrong() {
        let refused = |text: &str| Keyring::parse(text).err().unwrap();
        assert!(refused("{}").contains("stepup keys create"));
        assert!(refused(r#"{"active":"k","index":"AA==","sets":{}}"#).contains("active"));
    }
}
