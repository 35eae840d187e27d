//! Phone numbers: normalised to E.164 before every comparison, told apart by numbering metadata.

use std::fmt;

use phonenumber::metadata::DATABASE;
use phonenumber::{Mode, Type, country::Source};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A country as ISO 3166-1 alpha-2: `US`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters that name a country with a numbering plan.
    pub fn parse(text: &str) -> Option<Self> {
        let id: phonenumber::country::Id = text.parse().ok()?;
        let name: [u8; 2] = id.as_ref().as_bytes().try_into().ok()?;
        Some(Self(name))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| {
            let unknown = serde::de::Unexpected::Other("another text");
            serde::de::Error::invalid_value(unknown, &"a country as ISO 3166-1 alpha-2: `US`")
        })
    }
}

/// A number in clear. No `Debug`, `Display` or `Serialize`; wiped when dropped.
#[derive(PartialEq, Eq)]
pub struct PhoneNumber {
    e164: Zeroizing<String>,
    country: Country,
    textable: bool,
}

impl PhoneNumber {
    /// Reads a number as people write it: international, with `00`, or national as in `home`.
    /// `None` for what is no number. Warms the metadata on first use (some 100 ms).
    pub fn parse(text: &str, home: Country) -> Option<Self> {
        let trimmed = text.trim();
        // `00` is what most of the world dials for `+`; the metadata only knows it per country.
        let international =
            trimmed.strip_prefix("00").map(|rest| Zeroizing::new(format!("+{rest}")));
        let written = international.as_ref().map_or(trimmed, |text| text.as_str());
        // Longer texts are no numbers, and need not be given to a parser.
        if written.len() > 40 {
            return None;
        }
        let home_id = home.as_str().parse().ok()?;
        let number = phonenumber::parse(Some(home_id), written).ok()?;
        let number = match number.country().source() {
            // Read again by the rules of its own country: by those of `home` the parser cuts off
            // what looks like a trunk prefix there, and makes somebody else's number of it.
            Source::Plus => phonenumber::parse(None, written).ok()?,
            // The same would have to be done here, but where `home`'s own prefix ends is not told.
            Source::Idd => return None,
            Source::Number | Source::Default => number,
        };
        let e164 = Zeroizing::new(number.format().mode(Mode::E164).to_string());
        // E.164: at most 15 digits; fewer than 7 reach nobody.
        if !(8..=16).contains(&e164.len()) {
            return None;
        }
        let country = country(&number)?;
        Some(Self { e164, country, textable: textable(&number) })
    }

    /// The number as E.164: `+12025550123`. For the provider and for blind indexes only.
    pub fn e164(&self) -> &str {
        &self.e164
    }

    /// The number without its last four digits: what a block of numbers shares.
    pub fn prefix(&self) -> &str {
        &self.e164[..self.e164.len() - 4]
    }

    /// The country of the numbering plan.
    pub fn country(&self) -> Country {
        self.country
    }

    /// False where the metadata can tell that it takes no SMS, or costs a premium.
    pub fn textable(&self) -> bool {
        self.textable
    }

    /// What may be shown of it: the last two digits.
    pub fn mask(&self) -> String {
        mask(&self.e164)
    }
}

/// What may be shown of an E.164 number: the last two digits.
pub fn mask(e164: &str) -> String {
    format!("•••{}", e164.get(e164.len().saturating_sub(2)..).unwrap_or_default())
}

/// Where a number is registered. Where the metadata cannot tell, it is the main country of its
/// calling code: never the reader's, or a foreign number would pass for one at home.
fn country(number: &phonenumber::PhoneNumber) -> Option<Country> {
    let exact = number.country().id().map(|id| id.as_ref().to_owned());
    let main = || {
        let of_code = DATABASE.by_code(&number.country().code())?;
        of_code.first().map(|metadata| metadata.id().to_owned())
    };
    Country::parse(&exact.or_else(main)?)
}

/// Where the metadata cannot tell, only the code's round trip proves it: such a number passes.
fn textable(number: &phonenumber::PhoneNumber) -> bool {
    !matches!(
        number.number_type(&DATABASE),
        Type::FixedLine
            | Type::TollFree
            | Type::PremiumRate
            | Type::SharedCost
            | Type::PersonalNumber
            | Type::Pager
            | Type::Uan
            | Type::Emergency
            | Type::Voicemail
            | Type::ShortCode
            | Type::StandardRate
            | Type::Carrier
            | Type::NoInternational
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn us() -> Country {
        Country::parse("US").unwrap()
    }

    #[test]
    fn one_number_has_one_form_however_it_is_written() {
        for written in
            ["+12025550123", "+1 (202) 555-0123", "0012025550123", "202-555-0123", " 2025550123 "]
        {
            let number = PhoneNumber::parse(written, us()).unwrap();
            assert_eq!(number.e164(), "+12025550123", "{written}");
            assert_eq!(number.country(), us());
            assert_eq!(number.prefix(), "+1202555");
            assert_eq!(number.mask(), "•••23");
            assert!(number.textable());
        }
    }

    #[test]
    fn r5_a_number_with_its_country_is_read_the_same_wherever_it_is_read() {
        for (written, e164, country) in [
            ("+49 151 23456789", "+4915123456789", "DE"),
            ("0049 171 2345678", "+491712345678", "DE"),
            ("+86 131 2345 6789", "+8613123456789", "CN"),
            ("+39 06 698 1234", "+39066981234", "IT"),
            ("+44 7400 123456", "+447400123456", "GB"),
        ] {
            for home in ["US", "DE", "IT", "CN"] {
                let number = PhoneNumber::parse(written, Country::parse(home).unwrap()).unwrap();
                assert_eq!((number.e164(), number.country().as_str()), (e164, country), "{home}");
            }
        }
    }

    #[test]
    fn an_international_number_is_the_same_wherever_the_account_is_at_home() {
        let numbers = [
            "+4915123456789",
            "+8613812345678",
            "+12025550123",
            "+447911123456",
            "+390612345678",
            "+79161234567",
            "+819012345678",
            "+61412345678",
        ];
        for home in ["US", "DE", "GB", "IT", "RU", "CN", "JP", "AU", "HU", "MX"] {
            let home = Country::parse(home).unwrap();
            for number in numbers {
                let with_zeros = number.replace('+', "00");
                for written in [number, with_zeros.as_str()] {
                    let read = PhoneNumber::parse(written, home).unwrap();
                    assert_eq!(read.e164(), number, "{written} at {}", home.as_str());
                }
            }
        }
        let germany = Country::parse("DE").unwrap();
        let trunk = PhoneNumber::parse("+49 (0)151 23456789", us()).unwrap();
        assert_eq!((trunk.e164(), trunk.country()), ("+4915123456789", germany));
        assert!(PhoneNumber::parse("011 49 151 23456789", us()).is_none());
    }

    #[test]
    fn a_landline_is_told_where_metadata_can_tell() {
        let germany = Country::parse("DE").unwrap();
        assert!(!PhoneNumber::parse("+49 30 123456", germany).unwrap().textable());
        assert!(PhoneNumber::parse("+49 151 23456789", germany).unwrap().textable());
        assert!(!PhoneNumber::parse("+1 800 555 0123", us()).unwrap().textable());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "abc", "+1", "+1202555012345678901234567890", "ada@example.com"] {
            assert!(PhoneNumber::parse(text, us()).is_none(), "{text}");
        }
        assert!(Country::parse("XX").is_none());
        assert!(Country::parse("usa").is_none());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            if let Some(number) = PhoneNumber::parse(&text, us()) {
                prop_assert!(number.e164().starts_with('+'));
                prop_assert!(number.e164()[1..].bytes().all(|b| b.is_ascii_digit()));
            }
        }
    }
}
