mod plans;
mod table;

use proptest::prelude::*;

use super::*;

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
        ("+39 06 1234567", "+39061234567", "IT"),
        // 06 698 is the Vatican.
        ("+39 06 698 1234", "+39066981234", "VA"),
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
    assert_eq!(read("011 49 151 23456789", "US").as_deref(), Ok("+4915123456789"));
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
        assert!(PhoneNumber::parse(text, us()).is_err(), "{text}");
    }
    assert!(Country::parse("XX").is_none());
    assert!(Country::parse("usa").is_none());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        if let Ok(number) = PhoneNumber::parse(&text, us()) {
            prop_assert!(number.e164().starts_with('+'));
            prop_assert!(number.e164()[1..].bytes().all(|b| b.is_ascii_digit()));
        }
    }
}

/// How a number is read, with `home` as the account's country.
fn read(written: &str, home: &str) -> Result<String, PhoneError> {
    let number = PhoneNumber::parse(written, Country::parse(home).unwrap())?;
    Ok(number.e164().to_owned())
}
