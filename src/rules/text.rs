//! The texts people get. One GSM-7 segment for an SMS; the code first; the last line binds it to
//! the web origin, in the form phones fill in by themselves.

use zeroize::Zeroizing;

use crate::domain::account::Account;
use crate::domain::challenge::Purpose;
use crate::domain::code::Code;

/// Characters of one SMS in the GSM 7-bit default alphabet (3GPP TS 23.038).
pub const SEGMENT: usize = 160;

/// A mail.
pub struct Mail {
    /// The subject. Never holds the code: subjects are shown on locked screens and kept in logs.
    pub subject: String,
    /// The text.
    pub text: Zeroizing<String>,
}

/// The SMS with a code: what for, and for a setting what is approved. A name that does not
/// fit into the segment is left out, and then what does not fit of the summary.
pub fn sms(account: &Account, purpose: Purpose, summary: &str, code: &Code) -> Zeroizing<String> {
    let bound = account
        .origin
        .as_ref()
        .map_or_else(String::new, |origin| format!("\n@{origin} #{}", code.digits()));
    let with = |name: &str, summary: &str| {
        let what = words(purpose, summary);
        format!("{} is your {name}{what}. Don't share it.{bound}", code.digits())
    };
    let (name, summary) = (gsm(&account.name), gsm(summary));
    let full = with(&format!("{name} "), &summary);
    if full.chars().count() <= SEGMENT {
        return Zeroizing::new(full);
    }
    let room = SEGMENT.saturating_sub(with("", "").chars().count());
    Zeroizing::new(with("", &shortened(&summary, room)))
}

/// A text cut to `room` characters, and showing that it was.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(3)).collect();
    format!("{kept}...")
}

/// The mail with a code.
pub fn code_mail(
    account: &Account,
    purpose: Purpose,
    summary: &str,
    code: &Code,
    minutes_left: i64,
) -> Mail {
    let (name, what) = (one_line(&account.name), words(purpose, &one_line(summary)));
    let unexpected = match purpose {
        Purpose::Login => "If you did not try to sign in, change your password.",
        Purpose::Enrolment
        | Purpose::NumberChangeCurrent
        | Purpose::NumberChangeNew
        | Purpose::Disable
        | Purpose::Setting
        | Purpose::Team => "If you did not ask for this, change your password.",
    };
    let text = format!(
        "{} is your {name} {what}.\n\n\
         It is the same code that was sent to your phone, and works for {minutes_left} more minutes.\n\
         Don't share it. {unexpected}\n",
        code.digits()
    );
    let subject = match purpose {
        Purpose::Login => format!("Your {name} sign-in code"),
        Purpose::Enrolment
        | Purpose::NumberChangeCurrent
        | Purpose::NumberChangeNew
        | Purpose::Disable
        | Purpose::Setting
        | Purpose::Team => format!("Your {name} code"),
    };
    Mail { subject, text: Zeroizing::new(text) }
}

/// What is known of a changed number.
pub struct NumberChange<'a> {
    /// Whose number.
    pub member: &'a str,
    /// Who changed it.
    pub actor: &'a str,
    /// When, in words.
    pub at: &'a str,
    /// The number before, masked.
    pub old: &'a str,
    /// The number after, masked.
    pub new: &'a str,
}

/// The mail that tells a primary admin of a changed number.
pub fn number_changed_mail(account: &Account, change: &NumberChange<'_>) -> Mail {
    let name = one_line(&account.name);
    let NumberChange { member, actor, at, old, new } = change;
    let text = format!(
        "The two-factor phone number of a member of {name} was changed.\n\n\
         Member:      {member}\n\
         Changed by:  {actor}\n\
         When:        {at}\n\
         Old number:  {old}\n\
         New number:  {new}\n\n\
         If you did not expect this, look at the Activity report and talk to the member.\n\
         You get this mail because you asked for it in the Security Center.\n"
    );
    Mail {
        subject: format!("{name}: a two-factor phone number was changed"),
        text: Zeroizing::new(text),
    }
}

/// The mail that tells a member that their own number was changed.
pub fn own_number_changed_mail(account: &Account, change: &NumberChange<'_>) -> Mail {
    let name = one_line(&account.name);
    let NumberChange { actor, at, old, new, .. } = change;
    let text = format!(
        "Your two-factor phone number at {name} was changed.\n\n\
         Changed by:  {actor}\n\
         When:        {at}\n\
         Old number:  {old}\n\
         New number:  {new}\n\n\
         If you did not expect this, change your password and talk to an admin at once.\n"
    );
    let subject = format!("{name}: your two-factor phone number was changed");
    Mail { subject, text: Zeroizing::new(text) }
}

/// The mail that tells a member that no code goes to their number any more. It does not say
/// whose the number is.
pub fn own_number_owned_mail(account: &Account) -> Mail {
    let name = one_line(&account.name);
    let text = format!(
        "Your two-factor phone number at {name} belongs to a company, so that others may read what \
         is sent there. No codes go to it any more.\n\n\
         Ask an admin to put your own mobile number in its place. You can't sign in with a code \
         before.\n"
    );
    let subject = format!("{name}: your two-factor phone number has to be replaced");
    Mail { subject, text: Zeroizing::new(text) }
}

/// What happened to a factor.
#[derive(Clone, Copy, Debug)]
pub enum FactorChange {
    /// Turned on.
    Enabled,
    /// Turned off.
    Disabled,
    /// Support is about to reset it.
    ResetApproved,
    /// Support has reset it.
    Reset,
}

/// The mail that tells a member, or an admin, what happened to the member's factor.
pub fn factor_mail(account: &Account, what: FactorChange, change: &NumberChange<'_>) -> Mail {
    let name = one_line(&account.name);
    let NumberChange { member, actor, at, .. } = change;
    let (subject, told, then) = match what {
        FactorChange::Enabled => (
            "two-factor sign-in was turned on",
            "was turned on. The next sign-in takes a code from the phone.",
            "If you did not expect this, talk to an admin.",
        ),
        FactorChange::Disabled => (
            "two-factor sign-in was turned off",
            "was turned off. The password alone is enough from now on.",
            "If you did not expect this, change your password and turn it on again at once.",
        ),
        FactorChange::ResetApproved => (
            "two-factor sign-in is about to be reset",
            "is about to be reset by support, since the phone is said to be lost.",
            "If that is not true, stop it now: you or an admin can cancel it before it is done.",
        ),
        FactorChange::Reset => (
            "two-factor sign-in was reset",
            "was reset by support. The next sign-in asks for a new number.",
            "If you did not expect this, change your password and talk to an admin at once.",
        ),
    };
    let text = format!(
        "Two-factor sign-in of {member} at {name} {told}\n\n\
         By:    {actor}\n\
         When:  {at}\n\n\
         {then}\n"
    );
    Mail { subject: format!("{name}: {subject}"), text: Zeroizing::new(text) }
}

/// The mail with the code that proves an address.
pub fn email_proof_mail(account: &Account, code: &Code) -> Mail {
    let name = one_line(&account.name);
    let text = format!(
        "{} is the code that confirms this address at {name}.\n\n\
         It shows that the address is yours and signs nobody in. Don't share it. If you did not ask for \
         it, do nothing.\n",
        code.digits()
    );
    Mail { subject: format!("{name}: confirm your address"), text: Zeroizing::new(text) }
}

/// What a code is for, in words that end a sentence.
fn words(purpose: Purpose, summary: &str) -> String {
    match purpose {
        Purpose::Login => "sign-in code".to_owned(),
        Purpose::Enrolment => "code to turn on two-factor sign-in".to_owned(),
        Purpose::NumberChangeCurrent => "code to change your number".to_owned(),
        Purpose::NumberChangeNew => "code to confirm this number".to_owned(),
        Purpose::Disable => "code to turn off two-factor sign-in".to_owned(),
        Purpose::Setting => format!("code to approve: {summary}"),
        Purpose::Team => "code to change the two-factor sign-in of your team".to_owned(),
    }
}

/// Keeps a name from adding lines, and so from forging the bound last line.
fn one_line(name: &str) -> String {
    name.chars().filter(|c| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')).collect()
}

/// Keeps of a name what the GSM alphabet has for one septet a character, so that the SMS stays one
/// segment; `@` and `#` go too, since they mean something in the last line.
fn gsm(name: &str) -> String {
    const LETTERS: &str = "£¥èéùìòÇØøÅåÆæßÉÄÖÑÜ§¿äöñüà ";
    let keep = |c: char| {
        c.is_ascii_alphanumeric() || "!%&'()*+,-./:;<=>?_\"".contains(c) || LETTERS.contains(c)
    };
    let kept: String = one_line(name).chars().filter(|c| keep(*c)).collect();
    kept.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::EmailFallback;
    use crate::domain::id::{AccountId, AppName};
    use crate::domain::phone::Country;
    use proptest::prelude::*;

    fn account(name: &str) -> Account {
        let us = Country::parse("US").unwrap();
        Account {
            id: AccountId::parse("acme").unwrap(),
            app: AppName::parse("crm").unwrap(),
            name: name.to_owned(),
            origin: Some("app.acme.example".into()),
            country: us,
            countries: vec![us],
            email_fallback: EmailFallback::Automatic,
            sensitive_settings: Vec::new(),
            require_for_sensitive_settings: false,
            mandatory: false,
            grace_until: None,
            owned_numbers_version: 0,
        }
    }

    #[test]
    fn the_sms_reads_well() {
        let text = sms(&account("Acme Plumbing"), Purpose::Login, "", &Code::typed("012345"));
        assert_eq!(
            *text,
            "012345 is your Acme Plumbing sign-in code. Don't share it.\n@app.acme.example #012345"
        );
    }

    #[test]
    fn the_subject_of_a_mail_holds_no_code() {
        let mail = code_mail(&account("Acme"), Purpose::Login, "", &Code::typed("012345"), 9);
        assert!(!mail.subject.contains("012345"));
        assert!(mail.text.starts_with("012345 is your Acme sign-in code."));
    }

    #[test]
    fn r61_each_purpose_is_named_and_a_setting_says_what_is_approved() {
        let mut seen = std::collections::BTreeSet::new();
        for purpose in Purpose::ALL {
            let text = sms(&account("Acme"), *purpose, "payouts to DE..12", &Code::typed("012345"));
            assert!(seen.insert(text.to_string()), "{purpose:?}");
            assert_eq!(text.contains("payouts to DE..12"), *purpose == Purpose::Setting);
        }
        let long = "pay all invoices of this year to the account ending in 6789 ".repeat(3);
        let text = sms(&account("Acme"), Purpose::Setting, &long, &Code::typed("012345"));
        assert!(text.contains("approve: pay all invoices of this year") && text.contains("..."));
    }

    proptest! {
        #[test]
        fn whatever_the_name_the_sms_is_one_segment_and_its_last_line_is_ours(
            name in "\\PC{0,200}|x\n@evil.example #111111",
            summary in "\\PC{0,200}|x\n@evil.example #111111",
            purpose in proptest::sample::select(Purpose::ALL),
        ) {
            let text = sms(&account(&name), purpose, &summary, &Code::typed("012345"));
            prop_assert!(text.chars().count() <= SEGMENT);
            prop_assert_eq!(text.lines().count(), 2);
            prop_assert_eq!(text.lines().last(), Some("@app.acme.example #012345"));
            prop_assert!(text.starts_with("012345 is your "));
        }
    }
}
