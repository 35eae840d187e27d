//! Digits as people type or paste them: in any script, with spaces, dashes and invisible marks.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use zeroize::Zeroizing;

/// The text in plain characters: each decimal digit of Unicode as its ASCII digit, each space as
/// ` `, each dash as `-`, full-width ASCII as ASCII, and no invisible characters. Every other
/// character stays.
///
/// Codes and phone numbers are both read through this function.
pub fn plain(text: &str) -> Zeroizing<String> {
    // No character grows, so the buffer is never moved and leaves no copy in memory.
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    plain.extend(text.chars().filter_map(plain_char));
    plain
}

/// `None` for an invisible character.
fn plain_char(c: char) -> Option<char> {
    if c.is_ascii_graphic() {
        return Some(c);
    }
    // The categories do not cover these: the minus sign, and the long-vowel marks that a Japanese
    // keyboard gives for the hyphen key.
    if matches!(c, '\u{2212}' | '\u{30FC}' | '\u{FF70}') {
        return Some('-');
    }
    // Variation selectors and the enclosing keycap, as in the emoji for a digit.
    if matches!(c, '\u{FE00}'..='\u{FE0F}' | '\u{20E3}') {
        return None;
    }
    if c.is_whitespace() {
        return Some(' ');
    }
    // Full-width forms of ASCII, as an East Asian keyboard types them.
    if matches!(c, '\u{FF01}'..='\u{FF5E}') {
        return char::from_u32(u32::from(c) - 0xFEE0);
    }
    match c.general_category() {
        GeneralCategory::DecimalNumber => Some(ascii_digit(c)),
        GeneralCategory::SpaceSeparator => Some(' '),
        GeneralCategory::DashPunctuation => Some('-'),
        GeneralCategory::Format => None,
        _ => Some(c),
    }
}

/// Unicode promises that decimal digits come in runs of ten, from zero to nine. Runs may touch.
fn ascii_digit(digit: char) -> char {
    let before = ('\0'..digit)
        .rev()
        .take_while(|c| c.general_category() == GeneralCategory::DecimalNumber)
        .count();
    char::from(b"0123456789"[before % 10])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_decimal(c: char) -> bool {
        c.general_category() == GeneralCategory::DecimalNumber
    }

    #[test]
    fn every_decimal_digit_of_unicode_is_its_ascii_digit() {
        let digits: String = ('\0'..=char::MAX).filter(|c| is_decimal(*c)).collect();
        let expected = "0123456789".repeat(digits.chars().count() / 10);
        assert_eq!(plain(&digits).as_str(), expected);
        assert!(expected.len() >= 760, "{}", expected.len());
    }

    #[test]
    fn digits_of_many_scripts_are_read() {
        for typed in [
            "0123456789",
            "٠١٢٣٤٥٦٧٨٩",
            "۰۱۲۳۴۵۶۷۸۹",
            "०१२३४५६७८९",
            "০১২৩৪৫৬৭৮৯",
            "๐๑๒๓๔๕๖๗๘๙",
            "\u{FF10}\u{FF11}\u{FF12}\u{FF13}\u{FF14}\u{FF15}\u{FF16}\u{FF17}\u{FF18}\u{FF19}",
            "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
            "𝟶𝟷𝟸𝟹𝟺𝟻𝟼𝟽𝟾𝟿",
            "0️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣9️⃣",
        ] {
            assert_eq!(plain(typed).as_str(), "0123456789", "{typed}");
        }
    }

    #[test]
    fn invisible_characters_go_and_spaces_and_dashes_become_plain() {
        for mark in "\u{AD}\u{61C}\u{180E}\u{200B}\u{200C}\u{200D}\u{200E}\u{200F}\u{202A}\u{202B}\
             \u{202C}\u{202D}\u{202E}\u{2060}\u{2066}\u{2069}\u{FE0F}\u{FEFF}"
            .chars()
        {
            assert_eq!(plain(&format!("{mark}12{mark}3")).as_str(), "123", "{mark:?}");
        }
        for space in "\t\n\r \u{85}\u{A0}\u{2007}\u{2009}\u{2028}\u{202F}\u{3000}".chars() {
            assert_eq!(plain(&format!("12{space}3")).as_str(), "12 3", "{space:?}");
        }
        for dash in
            "-\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2212}\u{30FC}\u{FE63}\u{FF0D}".chars()
        {
            assert_eq!(plain(&format!("12{dash}3")).as_str(), "12-3", "{dash:?}");
        }
    }

    #[test]
    fn every_other_character_stays() {
        assert_eq!(plain("\u{FF0B}\u{FF08}\u{FF0F}\u{FF21}\u{FF5E}").as_str(), "+(/A~");
        for text in ["O190", "²½Ⅷ①", "+1 (202) 555-0123 ext. 5", "\u{0}\u{7}", "1,2.3/4"] {
            assert_eq!(plain(text).as_str(), text);
        }
    }
}
