//! Numbers as the numbering plans of the world read them.

use rlibphonenumber::{
    NumberLengthType, PHONE_NUMBER_UTIL as PLANS, ParseError, PhoneNumber as Number,
    PhoneNumberFormat, PhoneNumberType, Region, ValidationError,
};
use zeroize::Zeroizing;

use super::{Country, PhoneError};

/// Digits of a number with its calling code: E.164 allows 15, and fewer than 7 reach no phone.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// A possible number in its one form.
pub(super) struct Reading {
    pub(super) e164: Zeroizing<String>,
    number: Number,
}

/// Reads what is dialled from `home`: digits, with or without `+` in front.
pub(super) fn read(dialled: &str, home: Country) -> Result<Reading, PhoneError> {
    if dialled.starts_with('+') {
        return international(dialled);
    }
    let at_home = || {
        let number = PLANS.parse(dialled, home.region()).map_err(|why| refusal(&why))?;
        settled(number)
    };
    let Some(rest) = dialled.strip_prefix("00") else { return national(at_home()?, dialled) };
    // `00` is what most of the world dials for `+`. Some homes have a prefix of their own that
    // begins with it: in Korea `001` and `002` name the carrier.
    let usual = international(&Zeroizing::new(format!("+{rest}")));
    match (usual, at_home()) {
        (Ok(usual), Ok(own)) if usual.e164 != own.e164 => match (usual.valid(), own.valid()) {
            (true, false) => Ok(usual),
            (false, true) => Ok(own),
            _ => Err(PhoneError::Ambiguous),
        },
        (Ok(usual), _) => Ok(usual),
        (Err(_), Ok(own)) => Ok(own),
        (Err(why), Err(_)) => Err(why),
    }
}

/// A national number that begins with its own calling code is right as it is. Where that is a
/// landline and the same digits with `+` are a mobile number, as in Germany, nothing tells which.
fn national(reading: Reading, dialled: &str) -> Result<Reading, PhoneError> {
    let code = reading.number.country_code.to_string();
    if !reading.textable() && dialled.starts_with(&code) {
        let with_plus = international(&Zeroizing::new(format!("+{dialled}")));
        if with_plus.is_ok_and(|other| other.e164 != reading.e164 && other.mobile()) {
            return Err(PhoneError::Ambiguous);
        }
    }
    Ok(reading)
}

/// Reads a number that begins with `+`: the same wherever it is read.
pub(super) fn international(dialled: &str) -> Result<Reading, PhoneError> {
    settled(parse(dialled)?)
}

/// Forms that the plans have dropped, and people have not. The mobile numbers of Mexico had a `1`
/// behind the calling code until 2019. Those of Brazil have had a `9` behind the area code since
/// 2016; what begins with 2 to 5 there is a landline, and the plan still has the 7.
fn today(e164: Zeroizing<String>) -> Zeroizing<String> {
    if let Some(number) = e164.strip_prefix("+521").filter(|number| number.len() == 10) {
        return Zeroizing::new(format!("+52{number}"));
    }
    let brazil = e164.strip_prefix("+55").filter(|number| number.len() == 10);
    match brazil.and_then(|number| number.split_at_checked(2)) {
        Some((area, line)) if line.starts_with(['6', '8', '9']) => {
            Zeroizing::new(format!("+55{area}9{line}"))
        }
        _ => e164,
    }
}

fn parse(dialled: &str) -> Result<Number, PhoneError> {
    PLANS.parse(dialled, None).map(without_trunk_zero).map_err(|why| refusal(&why))
}

/// Brings a number to the form that reads as itself: an old form of a plan is the same number as the
/// new one (`+54 11 15…` in Argentina is `+54 9 11…`).
fn settled(number: Number) -> Result<Reading, PhoneError> {
    let mut e164 = today(e164(&without_trunk_zero(number)));
    // No plan takes more than two steps.
    for _ in 0..3 {
        let number = parse(&e164)?;
        let again = today(self::e164(&number));
        if again == e164 {
            let reading = Reading { e164, number };
            return reading.check().map(|()| reading);
        }
        e164 = again;
    }
    Err(PhoneError::Unreadable)
}

fn is_mobile(number: &Number) -> bool {
    let kind = PLANS.get_number_type(number);
    matches!(kind, PhoneNumberType::Mobile | PhoneNumberType::FixedLineOrMobile)
}

fn e164(number: &Number) -> Zeroizing<String> {
    Zeroizing::new(PLANS.format(number, PhoneNumberFormat::E164).into_owned())
}

/// `+44 (0)20…` is written by habit in countries without a trunk prefix too, where the plan keeps the
/// zero and has no such number.
fn without_trunk_zero(number: Number) -> Number {
    let one_zero = number.italian_leading_zero() && number.number_of_leading_zeros() == 1;
    if !one_zero || PLANS.is_valid_number(&number) {
        return number;
    }
    let without = Number {
        country_code: number.country_code,
        national_number: number.national_number,
        ..Number::default()
    };
    if PLANS.is_valid_number(&without) { without } else { number }
}

impl Reading {
    /// Refuses what the plan calls impossible; a number that is merely in no known range may be a
    /// new one, or a machine's.
    fn check(&self) -> Result<(), PhoneError> {
        match PLANS.is_possible_number_with_reason(&self.number) {
            Ok(NumberLengthType::IsPossible) => {}
            Ok(NumberLengthType::IsPossibleLocalOnly) => return Err(PhoneError::AreaCodeMissing),
            Err(ValidationError::InvalidCountryCode) => return Err(PhoneError::UnknownCallingCode),
            Err(ValidationError::TooShort) => return Err(PhoneError::TooShort),
            Err(ValidationError::TooLong) => return Err(PhoneError::TooLong),
            Err(ValidationError::InvalidLength) => return Err(PhoneError::WrongLength),
        }
        let digits = self.e164.len() - 1;
        if digits < *DIGITS.start() {
            Err(PhoneError::TooShort)
        } else if digits > *DIGITS.end() {
            Err(PhoneError::TooLong)
        } else if !self.valid() && self.lost_its_calling_code() {
            Err(PhoneError::CallingCodeLost)
        } else {
            Ok(())
        }
    }

    fn valid(&self) -> bool {
        PLANS.is_valid_number(&self.number)
    }

    /// Whether it is a mobile number once the calling code is put in front again. Other readers take
    /// the first digits of a national number for the calling code, and earlier versions of this one
    /// did: of `392 123 4567` in Italy they made `+39 2123 4567`.
    fn lost_its_calling_code(&self) -> bool {
        let twice = Zeroizing::new(format!("+{}{}", self.number.country_code, &self.e164[1..]));
        PLANS.parse(&*twice, None).is_ok_and(|whole| is_mobile(&whole))
    }

    fn mobile(&self) -> bool {
        is_mobile(&self.number)
    }

    /// Where the number is registered. Where the plans cannot tell, it is the main country of its
    /// calling code: never the reader's, or a foreign number would pass for one at home.
    pub(super) fn country(&self) -> Result<Country, PhoneError> {
        let main = || PLANS.get_region_for_country_code(self.number.country_code);
        let region = PLANS.get_region_for_number(&self.number).or_else(main);
        let name =
            region.filter(|region| *region != Region::World).map(|region| region.to_string());
        name.and_then(|name| Country::parse(&name)).ok_or(PhoneError::NoCountry)
    }

    /// Where the plans cannot tell, only the code's round trip proves it: such a number passes.
    pub(super) fn textable(&self) -> bool {
        matches!(
            PLANS.get_number_type(&self.number),
            PhoneNumberType::Mobile
                | PhoneNumberType::FixedLineOrMobile
                | PhoneNumberType::VoIP
                | PhoneNumberType::Unknown
        )
    }
}

const fn refusal(why: &ParseError) -> PhoneError {
    match why {
        ParseError::InvalidCountryCode => PhoneError::UnknownCallingCode,
        ParseError::NotANumber(_) => PhoneError::Unreadable,
        ParseError::TooShortAfterIdd | ParseError::TooShortNsn => PhoneError::TooShort,
        ParseError::TooLongNsn => PhoneError::TooLong,
    }
}
