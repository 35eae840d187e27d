//! Why a text is refused as a phone number.

use std::fmt;

/// Why a text is refused as a phone number. [`Display`](fmt::Display) gives a sentence without its
/// subject, which says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneError {
    /// Other characters than those of a number, or no digits.
    Unreadable,
    /// A letter is never taken for the digit beside it on a keypad.
    Letters,
    /// An SMS cannot be sent to an extension.
    Extension,
    /// More than one number.
    Several,
    /// The calling code belongs to no plan.
    UnknownCallingCode,
    /// A plan without a country, such as `+800`: no account can allow it.
    NoCountry,
    /// Shorter than every number of the plan.
    TooShort,
    /// Longer than every number of the plan.
    TooLong,
    /// Between the lengths that the plan uses.
    WrongLength,
    /// Good only within its own area.
    AreaCodeMissing,
    /// The calling code was cut off as if it had been there twice.
    CallingCodeLost,
    /// A stored number that is written otherwise today.
    OldForm,
    /// A home's own international prefix and the usual `00` lead to two numbers.
    Ambiguous,
}

impl PhoneError {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Unreadable => {
                "is no phone number; write digits, spaces and ( ) . - / only, best with + and the \
                 country code in front"
            }
            Self::Letters => "has a letter in it; write digits only",
            Self::Extension => {
                "has an extension, which no SMS can reach; leave it out or give a mobile number"
            }
            Self::Several => "holds more than one number; give one",
            Self::UnknownCallingCode => "has a country code that does not exist",
            Self::NoCountry => "belongs to no country; give a number that does",
            Self::TooShort => "has too few digits for its country",
            Self::TooLong => "has too many digits for its country",
            Self::WrongLength => "has a number of digits that no number of its country has",
            Self::AreaCodeMissing => "has no area code; write the whole number",
            Self::CallingCodeLost => {
                "lacks digits; its first digits after + are both its country code and part of the \
                 number, so write them twice"
            }
            Self::OldForm => "is not written as its country writes it today; put it again",
            Self::Ambiguous => {
                "can be read as two numbers; write it with + and the country code in front"
            }
        }
    }
}

impl fmt::Display for PhoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for PhoneError {}
