//! Countries with a numbering plan.

use std::fmt;

use rlibphonenumber::Region;
use serde::{Deserialize, Serialize};

/// Every country of the numbering metadata, sorted. A process that reads no number need not load
/// the metadata to read a country.
const COUNTRIES: &str = "\
    AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO \
    BQ BR BS BT BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK \
    DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ \
    GR GT GU GW GY HK HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM \
    KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH \
    PK PL PM PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR \
    SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA VC \
    VE VG VI VN VU WF WS XK YE YT ZA ZM ZW";

/// A country as ISO 3166-1 alpha-2: `US`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters that name a country with a numbering plan.
    pub fn parse(text: &str) -> Option<Self> {
        COUNTRIES.split(' ').find(|name| *name == text)?;
        Some(Self(text.as_bytes().try_into().ok()?))
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(super) fn region(self) -> Option<Region> {
        Region::from_code(self.as_str()).ok()
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

#[cfg(test)]
mod tests {
    use rlibphonenumber::PHONE_NUMBER_UTIL;

    use super::*;

    #[test]
    fn the_list_names_every_country_of_the_metadata() {
        let mut known: Vec<String> =
            PHONE_NUMBER_UTIL.get_supported_regions().map(|region| region.to_string()).collect();
        known.sort();
        assert_eq!(COUNTRIES.split(' ').collect::<Vec<_>>(), known);
    }

    #[test]
    fn only_two_capital_letters_of_a_known_country_are_a_country() {
        assert_eq!(Country::parse("US").unwrap().as_str(), "US");
        for text in ["XX", "usa", "us", "Us", "U", "", " ", "S A", "001", "US "] {
            assert!(Country::parse(text).is_none(), "{text}");
        }
    }
}
