//! Phone numbers: one reader for whatever people write, and one form for whatever is kept by number.

mod country;
mod error;
mod plan;
#[cfg(test)]
mod tests;
mod written;

use zeroize::Zeroizing;

pub use self::country::Country;
pub use self::error::PhoneError;
use self::plan::Reading;

/// A number in clear. No `Debug`, `Display` or `Serialize`; wiped when dropped.
#[derive(PartialEq, Eq)]
pub struct PhoneNumber {
    e164: Zeroizing<String>,
    country: Country,
    textable: bool,
}

impl PhoneNumber {
    /// Reads a number as people write it: international, with `00` or the home's own prefix, or
    /// national as in `home`. The first call loads the numbering plans (some 10 ms and 5 MB).
    ///
    /// # Errors
    /// Why it is no number that an SMS can be sent to.
    pub fn parse(text: &str, home: Country) -> Result<Self, PhoneError> {
        Self::of(plan::read(&written::dialled(text)?, home)?)
    }

    /// A number that is stored as E.164.
    ///
    /// # Errors
    /// Why it no longer reads as itself: an earlier reader stored it, or the plan has changed. Nothing
    /// may be sent to it.
    pub fn stored(e164: &str) -> Result<Self, PhoneError> {
        let number = Self::of(plan::international(e164)?)?;
        if number.e164() == e164 { Ok(number) } else { Err(PhoneError::OldForm) }
    }

    fn of(reading: Reading) -> Result<Self, PhoneError> {
        let (country, textable) = (reading.country()?, reading.textable());
        Ok(Self { e164: reading.e164, country, textable })
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
