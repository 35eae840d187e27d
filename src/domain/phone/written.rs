//! What people write around the digits of a number.

use zeroize::Zeroizing;

use super::PhoneError;
use crate::domain::typed;

/// Longer texts are no numbers. The longest number has 15 digits.
const CHARACTERS_MAX: usize = 40;
/// Digits before a slash: `0032 (0)475 / 12 34 56` has eight. More is a number of its own.
const BEFORE_SLASH_MAX: usize = 9;
/// The shortest number that may stand behind another one.
const SECOND_NUMBER_MIN: usize = 6;
/// Marks of an extension, in lower case.
const EXTENSIONS: [&str; 11] =
    ["#", ",", ";ext", ";isub", "~", "x", "ext", "int", "anexo", "ramal", "доб"];

/// The digits of one number, with `+` in front where it was written, and nothing else.
pub(super) fn dialled(text: &str) -> Result<Zeroizing<String>, PhoneError> {
    let text = text.trim();
    let plain = typed::plain(text);
    let mut number = without_scheme(&plain);
    if number.chars().count() > CHARACTERS_MAX {
        return Err(PhoneError::Unreadable);
    }
    if is_float(number) {
        return Err(PhoneError::Unreadable);
    }
    if text.chars().any(|c| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')) {
        return Err(PhoneError::Several);
    }
    let mut dialled = Zeroizing::new(String::with_capacity(number.len()));
    while let Some(c) = number.chars().next() {
        let rest = &number[c.len_utf8()..];
        match c {
            '0'..='9' => dialled.push(c),
            '+' if dialled.is_empty() => dialled.push(c),
            ' ' | '.' | '-' | '(' | ')' | '[' | ']' => {}
            '/' if begins_another(digits(&dialled), rest) => return Err(PhoneError::Several),
            '/' => {}
            _ => return Err(stray(digits(&dialled), number)),
        }
        number = rest;
    }
    if digits(&dialled) == 0 { Err(PhoneError::Unreadable) } else { Ok(dialled) }
}

/// A number that a table has turned into one with a decimal place: `491512345678.0`. Read as digits, it
/// is another person's wherever numbers differ in length.
fn is_float(text: &str) -> bool {
    let whole = text.strip_prefix('+').unwrap_or(text).strip_suffix(".0");
    whole.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
}

/// A number as a link: `tel:+1-202-555-0190` (RFC 3966).
fn without_scheme(text: &str) -> &str {
    match text.split_at_checked(4) {
        Some((scheme, number)) if scheme.eq_ignore_ascii_case("tel:") => number,
        _ => text,
    }
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// A slash is written behind an area code, and between two numbers.
fn begins_another(before: usize, rest: &str) -> bool {
    let group = rest.split('/').next().unwrap_or_default();
    let trunk = group.trim_start_matches([' ', '(']).starts_with('0');
    before > BEFORE_SLASH_MAX || trunk && digits(group) >= SECOND_NUMBER_MIN
}

/// What is wrong with a text that goes on after `before` digits with a character that no number has.
fn stray(before: usize, rest: &str) -> PhoneError {
    let (behind, lower) = (digits(rest), Zeroizing::new(rest.to_lowercase()));
    let parameter =
        lower.strip_prefix(';').is_some_and(|name| name.starts_with(char::is_alphabetic));
    if before >= SECOND_NUMBER_MIN && behind >= SECOND_NUMBER_MIN && !parameter {
        PhoneError::Several
    } else if before >= SECOND_NUMBER_MIN
        && (behind > 0 || lower.starts_with('#'))
        && EXTENSIONS.iter().any(|mark| lower.starts_with(mark))
    {
        PhoneError::Extension
    } else if rest.starts_with(char::is_alphabetic) {
        PhoneError::Letters
    } else {
        PhoneError::Unreadable
    }
}
