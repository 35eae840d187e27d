//! The reader against the metadata: an example of every country, in every form and from every home.

use rlibphonenumber::{PHONE_NUMBER_UTIL as PLANS, PhoneNumberFormat, PhoneNumberType, Region};

use super::super::{Country, PhoneError, PhoneNumber};
use proptest::prelude::*;

/// A country's example of a mobile number.
struct Example {
    country: String,
    region: Region,
    e164: String,
    national: String,
    international: String,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = PLANS
        .get_supported_regions()
        .filter_map(|region| {
            let of_kind = PhoneNumberType::Mobile;
            let number = PLANS.get_example_number_for_type_and_region(region, of_kind).ok()?;
            let format = |format| PLANS.format(&number, format).into_owned();
            Some(Example {
                country: region.to_string(),
                region,
                e164: format(PhoneNumberFormat::E164),
                national: format(PhoneNumberFormat::National),
                international: format(PhoneNumberFormat::International),
            })
        })
        .collect();
    examples.sort_by(|one, other| one.country.cmp(&other.country));
    examples
}

fn read(written: &str, home: &str) -> Result<String, PhoneError> {
    super::read(written, home)
}

#[test]
fn the_example_of_every_country_reads_as_itself_in_every_form() {
    let examples = examples();
    // All but Tristan da Cunha, which has no mobile network.
    assert_eq!(examples.len(), 244);
    let mut others = Vec::new();
    for Example { country, region, e164, national, international } in &examples {
        let code = PLANS.get_country_code_for_region(*region).unwrap();
        let significant = &e164[1 + code.to_string().len()..];
        let zeros = e164.replacen('+', "00", 1);
        // Where the zero belongs to the number, none is written in front of it.
        let trunk = if significant.starts_with('0') { "" } else { "(0)" };
        for written in [
            e164.clone(),
            international.clone(),
            zeros,
            national.clone(),
            significant.to_owned(),
            format!("+{code} {trunk}{significant}"),
            format!("00{code} {trunk} {significant}"),
        ] {
            match read(&written, country) {
                Ok(read) if read == *e164 => {}
                read => others.push((written, read)),
            }
        }
        assert!(PhoneNumber::stored(e164).is_ok_and(|number| number.textable()), "{e164}");
    }
    let exceptions = [
        // In Ascension a number may begin with a zero, so that `(0)` is a digit of it.
        ("+247 (0)40123", Ok("+247040123")),
        ("00247 (0) 40123", Ok("+247040123")),
        // In Italy and the Vatican the zero belongs to a landline: that is what this is with it.
        ("+39 (0)3123456789", Ok("+3903123456789")),
        ("0039 (0) 3123456789", Ok("+3903123456789")),
        // In Korea `008` is a carrier's prefix: with it this is a mobile number in Egypt.
        ("0082 (0) 1020000000", Err(PhoneError::Ambiguous)),
        ("+39 (0)3123456789", Ok("+3903123456789")),
        ("0039 (0) 3123456789", Ok("+3903123456789")),
    ];
    let exceptions =
        exceptions.map(|(written, read)| (written.to_owned(), read.map(str::to_owned)));
    assert_eq!(others, exceptions);
}

#[test]
fn no_home_makes_another_number_of_an_international_one() {
    let examples = examples();
    for home in ["US", "DE", "GB", "IT", "HU", "MX", "RU", "KZ", "FI", "IL"] {
        for Example { e164, .. } in &examples {
            for written in [e164.clone(), e164.replacen('+', "00", 1)] {
                assert_eq!(read(&written, home).as_ref(), Ok(e164), "{written} in {home}");
            }
        }
    }
    // Homes where a prefix that begins with `00` names the carrier, or is not `00` alone.
    let mut ambiguous = 0;
    for home in ["AU", "BO", "BR", "BY", "CO", "GY", "HK", "ID", "JP", "KR", "SG", "TH", "TW"] {
        for Example { e164, .. } in &examples {
            assert_eq!(read(e164, home).as_ref(), Ok(e164), "in {home}");
            let zeros = e164.replacen('+', "00", 1);
            match read(&zeros, home) {
                Err(PhoneError::Ambiguous) => ambiguous += 1,
                other => assert_eq!(other.as_ref(), Ok(e164), "{zeros} in {home}"),
            }
        }
    }
    assert!((1..250).contains(&ambiguous), "{ambiguous}");
}

proptest! {
    #[test]
    fn whatever_is_read_reads_as_itself(digits in "(\\+|00|0)?[0-9]{4,16}", home in 0..245_usize) {
        let homes: Vec<String> =
            PLANS.get_supported_regions().map(|region| region.to_string()).collect();
        let home = Country::parse(&homes[home]).unwrap();
        if let Ok(number) = PhoneNumber::parse(&digits, home) {
            let same = PhoneNumber::stored(number.e164()).is_ok_and(|same| same == number);
            prop_assert!(same, "{digits} in {home}");
        }
    }
}
