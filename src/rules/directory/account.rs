//! What an app tells of an account.

use crate::domain::account::{Account, ORIGIN_MAX, SENSITIVE_SETTINGS};
use crate::domain::id::SettingName;
use crate::domain::shown::{is_blank, looks_like_link, not_plain};
use crate::message::{Event, EventKind, Outcome, OutcomeKind, PutAccount, Request};
use crate::rules::directory::facts::{Facts, Write, invalid, refused, stored};
use crate::rules::text::plain;
use crate::rules::verdict::Decided;

/// The longest name of an account, in characters.
const NAME_MAX: usize = 100;

/// Sensitive settings an account may name.
const SETTINGS_MAX: usize = 100;

/// The rule of an account.
pub(super) fn put_account(request: &Request<PutAccount>, facts: Facts) -> Decided<Write> {
    let ask = &request.body;
    if let Some((known, version)) = &facts.account {
        // Another app's account: the same answer as for one that does not exist.
        if known.app != request.app {
            return refused(Outcome::new(OutcomeKind::NotFound), &request.app);
        }
        if *version >= ask.version {
            return Decided::answer(Outcome::new(OutcomeKind::Outdated));
        }
    }
    if let Some(why) = unfit(&ask.name) {
        return invalid("name", &why, &request.app);
    }
    if ask.origin.as_deref().is_some_and(|origin| !is_host(origin)) {
        let why = format!(
            "is not a host name of at most {ORIGIN_MAX} characters, such as app.example.com"
        );
        return invalid("origin", &why, &request.app);
    }
    let usual = || SENSITIVE_SETTINGS.iter().filter_map(|name| SettingName::parse(name).ok());
    let sensitive_settings = ask.sensitive_settings.clone().unwrap_or_else(|| usual().collect());
    if sensitive_settings.len() > SETTINGS_MAX {
        return invalid("sensitive_settings", "has more than 100 names", &request.app);
    }
    let account = Account {
        id: ask.account.clone(),
        app: request.app.clone(),
        name: ask.name.trim().to_owned(),
        origin: ask.origin.clone(),
        country: ask.country,
        countries: ask.countries.clone().unwrap_or_else(|| vec![ask.country]),
        email_fallback: ask.email_fallback,
        sensitive_settings,
        require_for_sensitive_settings: ask.require_for_sensitive_settings,
        mandatory: facts.account.as_ref().is_some_and(|(known, _)| known.mandatory),
        grace_until: facts.account.as_ref().and_then(|(known, _)| known.grace_until),
        owned_numbers_version: facts.account.map_or(0, |(known, _)| known.owned_numbers_version),
    };
    let event = Event {
        app: Some(request.app.clone()),
        version: Some(ask.version),
        ..Event::new(EventKind::AccountChanged, Some(ask.account.clone()))
    };
    stored(Write::Account { account, version: ask.version }, vec![event.into()])
}

/// Why an account cannot be called so, if it cannot. An SMS leaves out the characters that its alphabet
/// does not have, so what is left must be no link either.
fn unfit(name: &str) -> Option<String> {
    if name.trim().is_empty() || name.chars().count() > NAME_MAX {
        return Some(format!("is empty, or longer than {NAME_MAX} characters"));
    }
    if let Some(why) = not_plain(name) {
        return Some(why);
    }
    if is_blank(name) {
        return Some("has no character that can be seen".to_owned());
    }
    let link = || looks_like_link(name) || looks_like_link(&plain(name));
    let why = "looks like a link: leave out http://, www., tel:, what follows a domain after a slash, and mail \
        addresses";
    link().then(|| why.to_owned())
}

/// A host as the SMS's last line can carry it: it must leave room in the segment, and hold nothing
/// that means something there.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
    };
    text.len() <= ORIGIN_MAX && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_text_and_no_link() {
        for good in ["Acme", "Booking.com", "=?utf-8?q?Acme?=", &"x".repeat(100)] {
            assert_eq!(unfit(good), None, "{good}");
        }
        for bad in [
            "",
            " ",
            "\u{3164}",
            "\u{2800} \u{FFA0}",
            "tel:+12025550123",
            "Acme\nX",
            "\u{202E}emcA",
            "www.evil.example",
            // Links once the SMS has left out what its alphabet does not have.
            "ht日tp://evil.example",
            "w日ww.evil.example",
            "t日el:+12025550123",
            "evil.example日/x",
            "ht\u{200D}tp://evil.example",
            &"x".repeat(101),
        ] {
            assert!(unfit(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_origin_fits_the_last_line_of_an_sms() {
        for good in ["app.example.com", "localhost", "a-b.c"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "https://x.y", "a b", "x.y/z", "x@y", "a..b", "x.y #1", &"x".repeat(64)] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
