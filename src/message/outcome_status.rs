//! The HTTP status of an outcome.

use super::outcome::OutcomeKind;

/// A row for each kind: one that is left out does not compile.
macro_rules! answers {
    ($($kind:ident $status:literal $advice:literal,)+) => {
        impl OutcomeKind {
            /// The HTTP status, and what the caller can do about it; empty where nothing is to do.
            pub const fn answer(self) -> (u16, &'static str) {
                match self { $(Self::$kind => ($status, $advice),)+ }
            }
        }
    };
}

answers! {
    Open 200 "",
    Resent 200 "",
    NotRequired 200 "",
    Ready 200 "",
    AlreadyEnabled 200 "",
    Redeemed 200 "",
    CodeMailed 200 "",
    Verified 200 "",
    Reviewing 200 "",
    Recorded 200 "",
    Stored 200 "",
    Outdated 200 "",
    WrongCode 403 "not the right code: let the person type it again",
    Forbidden 403 "the actor may not do this in this account: ask as one whose role allows it",
    EnrolmentRequired 409
        "the member must bind a number first: prove the email address, then begin the enrolment",
    ContactAdmin 409 "the member has neither a number nor an address: an admin must put one",
    NotAcknowledged 409
        "members without a usable number are not acknowledged: read the review, and name them",
    NoAdminPhone 409 "no primary admin has a usable number: let one bind a number first",
    CoolingOff 429 "held after a change of number or a reset: repeat after retry_after seconds",
    NotFound 404 "not known to this app: check the ids",
    Cooldown 429 "too early to send again: repeat after retry_after seconds",
    TooManySends 429 "too many messages: repeat after retry_after seconds",
    Wait 429 "too many wrong codes in a row: repeat after retry_after seconds",
    TooManyWrongCodes 429 "too many wrong codes in a day: begin again after retry_after seconds",
    Locked 409 "too many wrong codes ended the challenge: begin again",
    Expired 409 "its time is over: begin again",
    AlreadyUsed 409 "it was used before: begin again; an approved change is not carried out twice",
    Cancelled 409 "the challenge was cancelled: begin again",
    Superseded 409 "a newer challenge has taken its place: use that one",
    Undeliverable 409
        "no code could be sent: check the number, begin again; a lost number takes support",
    SendsUsedUp 409 "no send is left: use the code, or begin again; a lost number takes support",
    DeliveryTooLate 409 "too little of the challenge's life is left: use the code, or begin again",
    EmailNotEligible 409 "email cannot be chosen, or not yet: stay with sms",
    Suspended 409 "the factor is suspended: support must reset it",
    NoPhone 409 "the member has no number: put one into the directory",
    PhoneUnsupported 409 "the number takes no SMS: put another one",
    CountryNotAllowed 409 "codes may not go to the number's country",
    TargetChanged 409 "the number or address has changed meanwhile: begin again",
    CompanyOwnedNumber 409
        "the number belongs to a company: put a person's own mobile number; if it is the \
         member's present one, an admin must",
    NoEmail 409 "the member has no email address: put one into the directory",
    EmailUnverified 409 "the member has no confirmed email address: confirm one first",
    NotEnabled 409 "2FA is off, or not mandatory: turn it on first",
    MandatoryByAccount 409
        "the account has made 2FA mandatory: a primary admin must lift that first",
    FactorRequired 409 "this takes a member, for a team an admin, with 2FA on: turn it on first",
    Stale 409 "the setting, or what was reviewed, has changed since: look at it, and ask anew",
    InvalidGuess 422
        "the guess has not exactly the digits of the code: let the person type it again; this \
         one was not counted",
    Invalid 422 "a field cannot be used: correct it",
    Refused 422
        "not understood, or its Idempotency-Key was used for another request: use a new one",
}
