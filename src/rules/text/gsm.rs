//! The GSM 7-bit default alphabet (3GPP TS 23.038): what one SMS holds.

use crate::domain::shown::is_plain;

/// Septets of one SMS that is not split.
pub const SEGMENT: usize = 160;

/// What takes one septet, besides the ASCII letters and digits.
const ONE: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
/// What the extension table has: an escape, and so two septets.
const TWO: &str = "^{}\\[~]|€";

fn septets_of(c: char) -> Option<usize> {
    match c {
        _ if c.is_ascii_alphanumeric() || ONE.contains(c) => Some(1),
        _ if TWO.contains(c) => Some(2),
        _ => None,
    }
}

/// How many septets a text takes.
///
/// # Errors
/// The first character that the alphabet does not have: with it the whole SMS would be written in
/// UCS-2, 70 characters a segment.
pub fn septets(text: &str) -> Result<usize, char> {
    text.chars().map(|c| septets_of(c).ok_or(c)).sum()
}

/// Keeps a value from adding lines, and so from forging the bound last line; and from turning the
/// direction of what follows it.
pub fn one_line(value: &str) -> String {
    value.chars().filter(|c| is_plain(*c)).collect()
}

/// Keeps of a value what takes one septet a character; `@` and `#` go too, since they mean something
/// in the last line.
pub fn plain(value: &str) -> String {
    let keep = |c: &char| septets_of(*c) == Some(1) && !matches!(c, '@' | '#');
    let kept: String = one_line(value).chars().filter(keep).collect();
    kept.trim().to_owned()
}

/// A text cut to `room` characters, and showing that it was.
pub fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(3)).collect();
    format!("{kept}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_standard() {
        // 128 places, of which 1 is the escape; CR and LF are among them.
        assert_eq!(ONE.chars().count() + 26 + 26 + 10, 127);
        assert_eq!(septets("Grüße, ¿qué?"), Ok(12));
        assert_eq!(septets("[5 €]"), Ok(8));
        assert_eq!(septets("código"), Err('ó'));
    }

    #[test]
    fn a_value_keeps_neither_lines_nor_what_the_last_line_is_made_of() {
        assert_eq!(plain("Caffè [Ω]\n@evil.example #1 日"), "Caffè Ωevil.example 1");
    }
}
