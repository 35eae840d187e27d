//! A table of cases: what people write, and how it is read.

use super::super::{Country, PhoneError, PhoneNumber};
use super::read;
use PhoneError::{
    Ambiguous, AreaCodeMissing, CallingCodeLost, Extension, Letters, NoCountry, Several, TooLong,
    TooShort, UnknownCallingCode, Unreadable, WrongLength,
};

/// What is written, the account's country, and the number as E.164.
const READ: &[(&str, &str, &str)] = &[
    // National numbers that begin with their own calling code.
    ("392 123 4567", "IT", "+393921234567"),
    ("390 123 4567", "IT", "+393901234567"),
    ("47 14 47 52", "NO", "+4747144752"),
    ("45 12 34 56", "DK", "+4545123456"),
    ("91234 56789", "IN", "+919123456789"),
    // The calling code without a plus, where nothing else can be meant.
    ("39 392 123 4567", "IT", "+393921234567"),
    ("7 912 345 67 89", "RU", "+79123456789"),
    ("44 7400 123456", "GB", "+447400123456"),
    // Trunk prefixes, also where there is none.
    ("0151 23456789", "DE", "+4915123456789"),
    ("+49 (0)151 23456789", "US", "+4915123456789"),
    ("0049 (0) 151 23456789", "US", "+4915123456789"),
    ("(0)151 23456789", "DE", "+4915123456789"),
    ("+44 07400 123456", "US", "+447400123456"),
    ("+34 (0)612 345 678", "US", "+34612345678"),
    ("+372 (0)5123 4567", "US", "+37251234567"),
    ("06 20 123 4567", "HU", "+36201234567"),
    ("+36 06 20 123 4567", "US", "+36201234567"),
    ("8 (912) 345-67-89", "RU", "+79123456789"),
    ("8 701 234 5678", "KZ", "+77012345678"),
    ("8 612 34567", "LT", "+37061234567"),
    // An Italian zero belongs to the number.
    ("+39 (0)6 1234567", "US", "+39061234567"),
    // International prefixes: `00` everywhere, and the home's own.
    ("00 49 151 23456789", "JP", "+4915123456789"),
    ("00 49 151 23456789", "KR", "+4915123456789"),
    ("011 49 151 23456789", "US", "+4915123456789"),
    ("010 49 151 23456789", "JP", "+4915123456789"),
    ("0011 49 151 23456789", "AU", "+4915123456789"),
    ("8 10 49 151 23456789", "RU", "+4915123456789"),
    ("002 1 202 555 0123", "KR", "+12025550123"),
    ("001 1 202 555 0190", "SG", "+12025550190"),
    // North America from the Caribbean, and the other way.
    ("359 1234", "BS", "+12423591234"),
    ("(242) 359-1234", "BS", "+12423591234"),
    ("+1 202 555 0190", "JM", "+12025550190"),
    ("+1 242 359 1234", "US", "+12423591234"),
    // A carrier that is dialled in front.
    ("0 15 11 91234-5678", "BR", "+5511912345678"),
    // Old forms of a plan.
    ("+52 1 55 1234 5699", "US", "+525512345699"),
    ("0052 1 55 1234 5699", "MX", "+525512345699"),
    ("1 55 1234 5699", "MX", "+525512345699"),
    ("+55 11 9123-4567", "US", "+5511991234567"),
    ("(11) 9123-4567", "BR", "+5511991234567"),
    ("(11) 3123-4567", "BR", "+551131234567"),
    ("+54 11 15 2345 6789", "US", "+5491123456789"),
    ("011 15 2345-6789", "AR", "+5491123456789"),
    // Punctuation, links, brackets.
    ("(+49) 151-23456789", "US", "+4915123456789"),
    ("tel:+1-202-555-0190", "DE", "+12025550190"),
    ("[202] 555.0190.", "US", "+12025550190"),
    ("0151/23456789", "DE", "+4915123456789"),
    ("0475/12/34/56", "BE", "+32475123456"),
    ("0032 475/12 34 56", "BE", "+32475123456"),
    // Other digits, full-width signs, invisible marks.
    ("+٩٦٦٥٠١٢٣٤٥٦٧", "US", "+966501234567"),
    ("٠٥٠١٢٣٤٥٦٧", "SA", "+966501234567"),
    ("+۹۸۹۱۲۳۴۵۶۷۸۹", "US", "+989123456789"),
    ("+९१९१२३४५६७८९", "US", "+919123456789"),
    ("\u{FF0B}\u{FF14}\u{FF19}\u{FF08}\u{FF10}\u{FF09}151 23456789", "US", "+4915123456789"),
    ("090\u{30FC}1234\u{FF0D}5678", "JP", "+819012345678"),
    ("\u{202A}+1\u{A0}202\u{2011}555\u{2011}0190\u{202C}\u{200E}", "US", "+12025550190"),
];

const REFUSED: &[(&str, &str, PhoneError)] = &[
    ("+1 202 555 018", "US", TooShort),
    ("+1 202 555 0190 0191", "US", TooLong),
    ("+1 202 555 0191 / 0192", "US", Several),
    ("+47 144 752", "NO", WrongLength),
    ("+49 1511 234567890123", "DE", TooLong),
    ("555-0190", "US", AreaCodeMissing),
    // Letters, also those that look like digits.
    ("+1 202 555 O190", "US", Letters),
    ("+1 202 555 0l90", "US", Letters),
    ("1-800-FLOWERS", "US", Letters),
    ("Tel. 0151 23456789", "DE", Letters),
    ("0xx11 91234-5678", "BR", Letters),
    // Extensions.
    ("+1 202 555 0190 ext. 5", "US", Extension),
    ("+1 202 555 0190 x5", "US", Extension),
    ("+1 202 555 0190 Extension 123", "US", Extension),
    ("+1 202 555 0190 #5", "US", Extension),
    ("+1 202 555 0190 5#", "US", Extension),
    ("+1 202 555 0190,,5", "US", Extension),
    ("tel:+1-202-555-0190;ext=5", "US", Extension),
    ("tel:+1-202-555-0190;isub=1234", "US", Extension),
    ("+7 495 123-45-67 доб. 12", "RU", Extension),
    // Two numbers.
    ("0151 23456789 / 0151 23456790", "DE", Several),
    ("030 1234/030 1235", "DE", Several),
    ("0151 23456789, 0151 23456790", "DE", Several),
    ("0151 23456789; 0151 23456790", "DE", Several),
    ("0151 23456789 or 0151 23456790", "DE", Several),
    ("0151 23456789\n0151 23456790", "DE", Several),
    ("+49 151 23456789 +49 151 23456790", "DE", Several),
    ("+49 30 1234567/8", "DE", Several),
    // Parameters, service codes and other characters.
    ("tel:863-1234;phone-context=+1-914-555", "US", Unreadable),
    ("*#06#", "GB", Unreadable),
    ("++49 151 23456789", "DE", Unreadable),
    ("0151+23456789", "DE", Unreadable),
    ("202_555_0190", "US", Unreadable),
    ("15123456789.0", "DE", Unreadable),
    ("+491512345678.0", "DE", Unreadable),
    ("+", "US", Unreadable),
    // Emergency and short codes.
    ("911", "US", TooShort),
    ("12345", "US", TooShort),
    ("112", "DE", AreaCodeMissing),
    // Calling codes without a plan, or without a country.
    ("+999 1234567", "US", UnknownCallingCode),
    ("+210 1234567", "US", UnknownCallingCode),
    ("+0049 151 23456789", "DE", UnknownCallingCode),
    ("+800 1234 5678", "US", NoCountry),
    ("+883 5100 0000 0094", "US", NoCountry),
    ("+870 773 123 456", "US", NoCountry),
    // What an earlier reader made of `392 123 4567`.
    ("+39 2123 4567", "IT", CallingCodeLost),
    // Two right readings: `00` and Colombia's `009`; a landline and a mobile number.
    ("009 1 202 555 0190", "CO", Ambiguous),
    ("49 151 23456789", "DE", Ambiguous),
];

#[test]
fn every_way_to_write_a_number_is_read_as_decided() {
    for (written, home, e164) in READ {
        assert_eq!(read(written, home).as_deref(), Ok(*e164), "{written} in {home}");
    }
    for (written, home, why) in REFUSED {
        assert_eq!(read(written, home), Err(*why), "{written} in {home}");
    }
}

#[test]
fn every_refusal_says_what_to_do_and_quotes_nothing() {
    for (written, _, why) in REFUSED {
        let sentence = why.to_string();
        assert!(!sentence.chars().any(|c| c.is_ascii_digit()), "{sentence}");
        assert!(written.len() < 3 || !sentence.contains(written), "{written}");
    }
    assert_ne!(Letters.to_string(), Extension.to_string());
}

#[test]
fn a_stored_number_that_no_longer_reads_as_itself_is_not_taken() {
    for e164 in ["+393921234567", "+4747144752", "+12025550123", "+491234567", "+541123456789"] {
        assert_eq!(PhoneNumber::stored(e164).unwrap().e164(), e164);
    }
    let of_the_old_reader = [
        ("+3921234567", "392 123 4567 in Italy"),
        ("+47144752", "47 14 47 52 in Norway"),
        ("+45123456", "45 12 34 56 in Denmark"),
        ("+9123456789", "91234 56789 in India"),
        ("+1202555018", "a digit is missing"),
        ("+120255501910192", "two numbers"),
        ("+5215512345699", "the old form of +525512345699"),
        ("+551191234567", "the old form of +5511991234567"),
        ("12025550123", "not E.164"),
        ("+1 202 555 0123", "not E.164"),
        ("", "not E.164"),
    ];
    for (e164, why) in of_the_old_reader {
        assert!(PhoneNumber::stored(e164).is_err(), "{e164}: {why}");
    }
}

#[test]
fn an_old_form_is_the_same_number_for_whatever_is_kept_by_number() {
    let mexico = Country::parse("MX").unwrap();
    let old = PhoneNumber::parse("+5215512345699", mexico).unwrap();
    let new = PhoneNumber::parse("+525512345699", mexico).unwrap();
    assert_eq!((old.e164(), old.prefix()), (new.e164(), new.prefix()));
}
