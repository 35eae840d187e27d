//! What of a stranger's text may be repeated.

/// A field's name as its sender wrote it, if it may be repeated to them: only letters, `_` and `-`,
/// so that no code, number or address that stands there by mistake is.
pub fn showable(name: &str) -> Option<&str> {
    let plain = name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_' || b == b'-');
    (plain && (1..=40).contains(&name.len())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_a_name_is_repeated() {
        for name in ["locate", "twoFactor", "email-backup"] {
            assert_eq!(showable(name), Some(name));
        }
        let long = "a".repeat(41);
        for text in ["", "12025550123", "a1", "ada@example.com", "two factor", "é", &long] {
            assert_eq!(showable(text), None, "{text}");
        }
    }
}
