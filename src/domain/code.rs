//! The code a person types, and the digest we keep of it.

use hmac::Mac;
use rand::RngExt;
use subtle::ConstantTimeEq;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use zeroize::Zeroizing;

use super::id::{AccountId, ChallengeId, MemberId};
use super::keys::{KeyId, Keyring};
use super::mac::{field, keyed};
use super::typed;

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

    /// What a person typed, read as a code of `digits` digits: digits of any script, without the
    /// spaces, dashes and invisible marks that come along. `None` if it cannot be such a code.
    pub fn typed(text: &str, digits: usize) -> Option<Self> {
        let plain = typed::plain(text);
        let added = |c: &char| {
            matches!(c, ' ' | '-') || c.general_category_group() == GeneralCategoryGroup::Mark
        };
        // No character grows, so the buffer is never moved and leaves no copy in memory.
        let mut code = Zeroizing::new(String::with_capacity(plain.len()));
        code.extend(plain.chars().filter(|c| !added(c)));
        let fits = code.len() == digits && code.bytes().all(|b| b.is_ascii_digit());
        fits.then_some(Self(code))
    }

    /// The code with these digits, as [`Self::digits`] gave them for the deliverable copy.
    pub fn of(digits: &str) -> Self {
        Self(Zeroizing::new(digits.to_owned()))
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
        fn a_code_is_read_in_any_digits_and_with_whatever_people_put_between(
            seed: u64, digits in CODE_DIGITS, zero in proptest::sample::select(ZEROS),
            between in proptest::collection::vec(proptest::sample::select(BETWEEN), 11),
        ) {
            let code = Code::draw(digits, &mut StdRng::seed_from_u64(seed));
            let mut text = between[10].to_owned();
            for (digit, mark) in code.digits().bytes().zip(&between) {
                text.push(char::from_u32(zero as u32 + u32::from(digit - b'0')).unwrap());
                text.push_str(mark);
            }
            let typed = Code::typed(&text, usize::from(digits)).unwrap();
            prop_assert_eq!(typed.digits(), code.digits(), "{:?}", text);
            prop_assert!(Code::typed(&text, usize::from(digits) + 1).is_none());
            prop_assert!(Code::typed(&text, usize::from(digits) - 1).is_none());
        }
    }

    /// Zeros of ten scripts; the other digits follow each.
    const ZEROS: &[char] = &[
        '0',
        '\u{660}',
        '\u{6F0}',
        '\u{966}',
        '\u{9E6}',
        '\u{E50}',
        '\u{FF10}',
        '\u{1040}',
        '\u{17E0}',
        '\u{1D7CE}',
    ];
    const BETWEEN: &[&str] = &[
        "",
        " ",
        "-",
        "\u{A0}",
        "\u{200B}",
        "\u{200E}",
        "\u{2011}",
        "\u{2013}",
        "\u{2212}",
        "\u{202F}",
        "\u{2066}",
        "\u{2069}",
        "\u{FEFF}",
        "\u{301}",
        "\u{FE0F}\u{20E3}",
        "\n",
    ];

    #[test]
    fn what_has_not_exactly_the_digits_of_the_code_is_no_guess() {
        for text in [
            "",
            " ",
            "12345",
            "1234567",
            "12345O",
            "123456.",
            "+123456",
            "12345\u{B2}",
            "x",
            "\u{2460}23456",
            "123456\0",
            "123,456",
            "code 123456",
            "\u{202E}12345",
        ] {
            assert!(Code::typed(text, 6).is_none(), "{text:?}");
        }
        assert_eq!(Code::typed("012345", 6).unwrap().digits(), "012345");
    }

    #[test]
    fn a_digest_under_a_lost_pepper_matches_nothing() {
        let keys = Keyring::for_tests();
        let (a, m) = (AccountId::parse("a").unwrap(), MemberId::parse("m").unwrap());
        let code = Code::of("123456");
        let mut digest = code.digest(&keys, &binding(&a, &m, 1));
        digest.kid = KeyId::parse("gone").unwrap();
        assert!(!code.matches(&digest, &keys, &binding(&a, &m, 1)));
    }
}
