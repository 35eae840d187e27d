//! Email addresses: checked for form, compared without regard to case.

use zeroize::Zeroizing;

/// An address in clear. No `Debug`, `Display` or `Serialize`; wiped when dropped.
pub struct EmailAddress(Zeroizing<String>);

impl EmailAddress {
    /// Accepts what has one local part, one `@` and a domain with a dot, all of it ASCII, as every mail
    /// server takes it, without spaces or control characters. Whether mail arrives only a mail can tell.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.rsplit_once('@')?;
        let clean = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_graphic())
                && !part.contains(['@', '<', '>', '(', ')', '[', ']', ',', ';', ':', '\\', '"'])
        };
        let dotted =
            domain.split('.').count() > 1 && domain.split('.').all(|label| !label.is_empty());
        // 254 octets is the longest path of RFC 5321 without its brackets.
        let fits = text.len() <= 254 && local.len() <= 64;
        (fits && dotted && clean(local) && clean(domain))
            .then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The address, for the mail server only.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that equality is decided on.
    pub fn folded(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_checked() {
        for good in ["ada@example.com", " a.b+c@mail.example.co.uk "] {
            assert!(EmailAddress::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "a b@example.com",
            "a@b@example.com",
            "a@example.com\r\nBcc: x@y.zz",
            "Ada <ada@example.com>",
            "a@.com",
            "ü@example.com",
            "a@exämple.de",
        ] {
            assert!(EmailAddress::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn case_does_not_matter() {
        let folded = |text| EmailAddress::parse(text).unwrap().folded();
        assert_eq!(*folded("Ada@Example.com"), *folded("ada@example.COM"));
    }
}
