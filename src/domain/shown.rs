//! Free text that people read in a message: which characters it may have, and whether it looks like a
//! link.

use std::net::Ipv4Addr;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Whether a character may be in a text that is shown: not one that is invisible, ends a line or turns
/// the direction of what follows, nor one whose look nobody knows. The two joiners may: names in
/// Persian, Hindi and other languages are misspelt without them.
pub fn is_plain(c: char) -> bool {
    use GeneralCategory as Category;
    matches!(c, '\u{200C}' | '\u{200D}')
        || !matches!(
            c.general_category(),
            Category::Control
                | Category::Format
                | Category::LineSeparator
                | Category::ParagraphSeparator
                | Category::Surrogate
                | Category::PrivateUse
                | Category::Unassigned
        )
}

/// Whether nothing of a text can be seen: it has only spaces, joiners, marks without a letter, and
/// characters that are letters or symbols by category and show no ink.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || !is_plain(c)
            || c.general_category() == GeneralCategory::NonspacingMark
            || matches!(
                c,
                // The joiners, the fillers of Hangul, the empty Braille pattern, the empty note.
                '\u{200C}'
                    | '\u{200D}'
                    | '\u{115F}'
                    | '\u{1160}'
                    | '\u{3164}'
                    | '\u{FFA0}'
                    | '\u{2800}'
                    | '\u{1D159}'
            )
    })
}

/// Why a text cannot be shown, as the end of a sentence, if it cannot.
pub fn not_plain(text: &str) -> Option<String> {
    let c = text.chars().find(|c| !is_plain(*c))?;
    Some(format!(
        "has the character U+{:04X}, which is invisible, ends a line, turns the direction of the text or \
         is in no alphabet: leave it out",
        u32::from(c)
    ))
}

/// Schemes of links that go without `//`: a phone calls, writes or opens an app.
const SCHEMES: [&str; 8] = ["tel", "sms", "smsto", "mailto", "callto", "sip", "sips", "facetime"];

/// Whether a phone or a mail program may make a link of a text: one with a scheme, one that begins
/// with `www.`, a domain with a port or a path, or a mail address. A bare domain is a name, as `Booking.com` is.
pub fn looks_like_link(text: &str) -> bool {
    let text: String = text.chars().map(narrow).flat_map(char::to_lowercase).collect();
    text.contains("://")
        || has_scheme(&text)
        || words_begin_with_www(&text)
        || has_path(&text)
        || has_address(&text)
}

/// Full-width letters and signs, and what resembles the dot and the slash of a link.
fn narrow(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '\u{3002}' | '\u{FF61}' => '.',
        '\u{2044}' | '\u{2215}' | '\u{29F8}' => '/',
        other => other,
    }
}

/// Behind the colon of a link stands no space; in a name one does: `Tel: Aviv`.
fn has_scheme(text: &str) -> bool {
    text.match_indices(':').any(|(at, _)| {
        let word = text[..at].rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        SCHEMES.contains(&word) && text[at + 1..].starts_with(|c: char| !c.is_whitespace())
    })
}

fn words_begin_with_www(text: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '.').any(|word| {
        word.strip_prefix("www.").is_some_and(|rest| rest.starts_with(char::is_alphanumeric))
    })
}

fn has_path(text: &str) -> bool {
    text.match_indices(['/', '?', '#', ':']).any(|(at, sign)| {
        let (before, after) = (&text[..at], &text[at + 1..]);
        // Behind a name these three are also punctuation.
        let goes_on = match sign {
            "/" => true,
            ":" => after.starts_with(|c: char| c.is_ascii_digit()),
            _ => after.starts_with(char::is_alphanumeric),
        };
        if !goes_on {
            return false;
        }
        let start = before
            .rfind(|c: char| !in_host(c) && c != ':')
            .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
        let (host, port) = before[start..].split_once(':').unwrap_or((&before[start..], ""));
        is_host(host) && port.chars().all(|c| c.is_ascii_digit())
    })
}

fn has_address(text: &str) -> bool {
    text.match_indices('@').any(|(at, _)| {
        let named = text[..at].ends_with(|c: char| c.is_alphanumeric() || "._+-".contains(c));
        let after = &text[at + 1..];
        let end = after.find(|c: char| !in_host(c)).unwrap_or(after.len());
        named && is_host(after[..end].trim_end_matches('.'))
    })
}

fn in_host(c: char) -> bool {
    c.is_alphanumeric() || c == '-' || c == '.'
}

/// Two labels or more, the last of two letters or more; or the address of a machine.
fn is_host(text: &str) -> bool {
    let mut labels = text.rsplit('.');
    let last = labels.next().unwrap_or_default();
    let domain = last.chars().count() >= 2 && last.chars().all(char::is_alphabetic);
    let named = domain || last.starts_with("xn--");
    let mut rest = labels.peekable();
    (named && rest.peek().is_some() && rest.all(|label| !label.is_empty()))
        || text.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_and_turning_characters_are_not_plain() {
        for c in "\0\t\n\r\u{1B}\u{7F}\u{85}\u{AD}\u{61C}\u{200B}\u{200E}\u{200F}\u{202A}\u{202E}\u{2028}\
             \u{2029}\u{2060}\u{2066}\u{2069}\u{FEFF}\u{FFF9}\u{E000}\u{E0041}\u{10FFFF}\u{378}"
            .chars()
        {
            let why = not_plain(&format!("Ac{c}me")).unwrap_or_else(|| panic!("{c:?}"));
            assert!(why.contains(&format!("U+{:04X}", u32::from(c))), "{why}");
        }
    }

    #[test]
    fn names_of_many_languages_are_plain() {
        for name in [
            "Acme Plumbing & Söhne (GmbH) <Köln>",
            "Παπαδόπουλος ΑΕ",
            "株式会社アクメ",
            "شركة اكمي",
            "אקמה בע״מ",
            "می\u{200C}خواهم",
            "क्\u{200D}ष",
            "Café 👩\u{200D}🔧",
            "=?utf-8?q?Acme?=",
        ] {
            assert_eq!(not_plain(name), None, "{name}");
        }
    }

    #[test]
    fn what_looks_like_spaces_alone_is_blank() {
        for blank in [
            "",
            " \u{A0}\u{3000}",
            "\u{3164}",
            "\u{2800}\u{2800}",
            "\u{115F}\u{1160}",
            "\u{FFA0} \u{3164}",
            "\u{200D}\u{200C}",
            "\u{FE0F}\u{34F}",
            "\u{1D159}",
            "\u{200B}",
        ] {
            assert!(is_blank(blank), "{blank:?}");
        }
        for seen in ["A", "\u{3164}A", "7", "株", "ㅎ", "ﾡ", "⠁", "👩\u{200D}🔧", "e\u{301}", "-"]
        {
            assert!(!is_blank(seen), "{seen:?}");
        }
    }

    #[test]
    fn links_are_seen_and_names_are_not_taken_for_links() {
        for link in [
            "http://evil.example",
            "HTTPS://x",
            "evil://x",
            "tel:+12025550123",
            "TEL:112",
            "Acme (tel:+12025550123)",
            "sms:+12025550123",
            "mailto:help",
            "\u{FF54}\u{FF45}\u{FF4C}\u{FF1A}112",
            "www.evil.example",
            "Acme (www.evil.example)",
            "WWW.evil",
            "evil.example/x",
            "Acme: evil.example/login",
            "evil.example/",
            "evil.example:8080/x",
            "evil.xn--p1ai/x",
            "192.0.2.1/x",
            "evil.example?x=1",
            "evil.example#x",
            "evil.example:8080",
            "пример.рф/x",
            "help@evil.example",
            "help@evil.example.",
            "\u{FF48}\u{FF54}\u{FF54}\u{FF50}\u{FF1A}\u{FF0F}\u{FF0F}evil",
            "evil\u{3002}example/x",
            "evil.example\u{2215}x",
        ] {
            assert!(looks_like_link(link), "{link}");
        }
        for name in [
            "Acme Plumbing",
            "Booking.com",
            "Amazon.de Services",
            "Booking.com: Hotels",
            "Booking.com? Yes",
            "Agency #1",
            "Since 9:30",
            "Node.js GmbH",
            "24/7 Plumbing",
            "Müller & Co./Partner",
            "S.p.A./Holding",
            "S.A/B",
            "A/S Acme",
            "1.2/3",
            "@acme",
            "B@nk",
            "Wwwhat",
            "The www. people",
            "Acme: Plumbing",
            "Tel: Aviv",
            "Hotel:Acme",
            "Acme Tel:",
            "=?utf-8?q?Acme?=",
        ] {
            assert!(!looks_like_link(name), "{name}");
        }
    }
}
