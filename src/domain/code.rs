//! The code a person types, and the digest we keep of it.

use hmac::{Hmac, Mac};
use rand::RngExt;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::id::{AccountId, ChallengeId, MemberId};
use super::keys::{KeyId, Keyring};

/// The shortest and longest code, in digits. Six is the floor of NIST SP 800-63B-4 §3.1.3.2.
pub const CODE_DIGITS: std::ops::RangeInclusive<u8> = 6..=10;

/// A code in clear. It has no `Debug`, `Display` or `Serialize`, and is wiped when dropped.
pub struct Code(Zeroizing<String>);

impl Code {
    /// Draws a code uniformly from all of `digits` decimal digits.
    pub fn draw(digits: u8, rng: &mut dyn super::Chance) -> Self {
        let below = 10_u64.pow(u32::from(digits));
        let number = rng.random_range(0..below);
        Self(Zeroizing::new(format!("{number:0width$}", width = usize::from(digits))))
    }

    /// What a person typed, without the spaces and hyphens people add. It need not look like a
    /// code: then it simply is a wrong one.
    pub fn typed(text: &str) -> Self {
        let mut typed = Zeroizing::new(String::with_capacity(text.len()));
        typed.extend(text.chars().filter(|c| !c.is_whitespace() && *c != '-'));
        Self(typed)
    }

    /// The digits, for the message text and for nothing else.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The keyed digest that is stored in place of the code.
    pub fn digest(&self, keys: &Keyring, binding: &Binding<'_>) -> CodeDigest {
        let (kid, pepper) = keys.active_pepper();
        CodeDigest { kid: kid.clone(), mac: self.mac(pepper, binding) }
    }

    /// Whether this is the code of `digest`, in constant time. A pepper we no longer hold matches
    /// nothing.
    pub fn matches(&self, digest: &CodeDigest, keys: &Keyring, binding: &Binding<'_>) -> bool {
        let (pepper, known) = match keys.pepper(&digest.kid) {
            Some(pepper) => (pepper, true),
            None => (keys.active_pepper().1, false),
        };
        let same = self.mac(pepper, binding).ct_eq(&digest.mac);
        bool::from(same) & known
    }

    fn mac(&self, pepper: &[u8; 32], binding: &Binding<'_>) -> [u8; 32] {
        let mut mac = keyed(pepper, "stepup/code/v1");
        field(&mut mac, binding.account.as_str().as_bytes());
        field(&mut mac, binding.member.as_str().as_bytes());
        field(&mut mac, binding.challenge.0.as_bytes());
        field(&mut mac, binding.purpose.as_bytes());
        field(&mut mac, binding.operation);
        field(&mut mac, self.0.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// What a code is good for, and for nothing else.
pub struct Binding<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The member.
    pub member: &'a MemberId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// What it proves, in a word.
    pub purpose: &'a str,
    /// Digest of the exact change that is approved; empty where the purpose says it all.
    pub operation: &'a [u8],
}

/// The digest of a code, and the key it was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeDigest {
    /// Which pepper.
    pub kid: KeyId,
    /// HMAC-SHA-256.
    pub mac: [u8; 32],
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn binding<'a>(account: &'a AccountId, member: &'a MemberId, id: u128) -> Binding<'a> {
        let challenge = ChallengeId(uuid::Uuid::from_u128(id));
        Binding { account, member, challenge, purpose: "login", operation: b"" }
    }

    #[test]
    fn every_position_is_uniform_and_padding_is_kept() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut counts, draws) = ([[0_u32; 10]; 6], 200_000_u32);
        for _ in 0..draws {
            let code = Code::draw(6, &mut rng);
            assert_eq!(code.digits().len(), 6);
            for (position, digit) in code.digits().bytes().enumerate() {
                counts[position][usize::from(digit - b'0')] += 1;
            }
        }
        // Chi-square with 9 degrees of freedom: 27.9 is the 0.1 % point.
        let expected = f64::from(draws) / 10.0;
        for position in counts {
            let chi: f64 =
                position.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
            assert!(chi < 27.9, "{chi}");
        }
    }

    #[test]
    fn the_whole_range_can_be_drawn() {
        // A generator that answers with its highest and lowest words reaches both ends.
        struct Fixed(u8);
        impl rand::rand_core::TryRng for Fixed {
            type Error = std::convert::Infallible;
            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                Ok(u32::from_ne_bytes([self.0; 4]))
            }
            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                Ok(u64::from_ne_bytes([self.0; 8]))
            }
            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
                bytes.fill(self.0);
                Ok(())
            }
        }
        impl rand::rand_core::TryCryptoRng for Fixed {}
        assert_eq!(Code::draw(6, &mut Fixed(0)).digits(), "000000");
        assert_eq!(Code::draw(6, &mut Fixed(0xff)).digits(), "999999");
    }

    proptest! {
        #[test]
        fn r23_a_code_matches_its_own_digest_and_no_other_binding(
            seed: u64, id: u128, other: u128, account in "[a-z]{1,8}", member in "[a-z]{1,8}",
        ) {
            prop_assume!(id != other && account != member);
            let keys = Keyring::for_tests();
            let (a, m) = (AccountId::parse(&account).unwrap(), MemberId::parse(&member).unwrap());
            let (a2, m2) = (AccountId::parse(&member).unwrap(), MemberId::parse(&account).unwrap());
            let code = Code::draw(6, &mut StdRng::seed_from_u64(seed));
            let digest = code.digest(&keys, &binding(&a, &m, id));
            prop_assert!(code.matches(&digest, &keys, &binding(&a, &m, id)));
            prop_assert!(!code.matches(&digest, &keys, &binding(&a, &m, other)));
            prop_assert!(!code.matches(&digest, &keys, &binding(&a2, &m2, id)));
            let change = Binding { operation: b"change", ..binding(&a, &m, id) };
            prop_assert!(!code.matches(&digest, &keys, &change));
        }

        #[test]
        fn spaces_and_hyphens_do_not_matter(seed: u64) {
            let code = Code::draw(6, &mut StdRng::seed_from_u64(seed));
            let spaced = format!(" {}-{} ", &code.digits()[..3], &code.digits()[3..]);
            let typed = Code::typed(&spaced);
            prop_assert_eq!(typed.digits(), code.digits());
        }
    }

    #[test]
    fn a_digest_under_a_lost_pepper_matches_nothing() {
        let keys = Keyring::for_tests();
        let (a, m) = (AccountId::parse("a").unwrap(), MemberId::parse("m").unwrap());
        let code = Code::typed("123456");
        let mut digest = code.digest(&keys, &binding(&a, &m, 1));
        digest.kid = KeyId::parse("gone").unwrap();
        assert!(!code.matches(&digest, &keys, &binding(&a, &m, 1)));
    }
}
