//! Email addresses: one rule of what can be mailed, and one form for equality.

use zeroize::Zeroizing;

/// The longest address, in octets: the path of RFC 5321 §4.5.3.1.3 without its brackets.
const ADDRESS_MAX: usize = 254;
/// The longest local part as it is on the wire (RFC 5321 §4.5.3.1.1).
const LOCAL_MAX: usize = 64;
/// The longest label of a domain (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

/// An address in clear that can be mailed, as people write it. No `Debug`, `Display` or `Serialize`;
/// wiped when dropped.
///
/// The local part is held without quotation marks, so that there is one form of it. Dots may be
/// anywhere in it, as in the addresses of Japanese carriers; on the wire such a local part is quoted.
pub struct EmailAddress(Zeroizing<String>);

impl EmailAddress {
    /// Reads an address. Whether mail arrives only a mail can tell.
    ///
    /// # Errors
    /// Why no mail can be sent there, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if !text.is_ascii() {
            return Err(
                "has characters other than ASCII: write the domain in its xn-- form; a name \
                before the @ must be ASCII",
            );
        }
        let (local, domain) = text.rsplit_once('@').ok_or("has no @: write name@example.com")?;
        let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let local = quoted.unwrap_or(local);
        // Readers of mail decode what looks like an encoded word (RFC 2047), also in an address.
        let clean = !local.contains("=?") && local.bytes().all(|b| is_atext(b) || b == b'.');
        if local.is_empty() || !clean {
            return Err("has before the @ nothing, or something else than letters, digits and \
                !#$%&'*+-/=?^_`{|}~. (and no =? in a row)");
        }
        if !is_domain(domain) {
            return Err("has no domain name such as example.com after the @: labels of letters, \
                digits and inner hyphens, at least two, the last not a number");
        }
        let address = Self(Zeroizing::new(format!("{local}@{domain}")));
        let wire = address.wire();
        if wire.len() > ADDRESS_MAX || wire.len() - domain.len() - 1 > LOCAL_MAX {
            return Err("is longer than 254 characters, or than 64 before the @");
        }
        Ok(address)
    }

    /// The address as it is kept: one form for each address, but for its case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address for the mail server and for headers: a local part that is not a dot-atom of
    /// RFC 5321 §4.1.2 is quoted.
    pub fn wire(&self) -> Zeroizing<String> {
        match self.0.rsplit_once('@') {
            Some((local, domain)) if local.split('.').any(str::is_empty) => {
                Zeroizing::new(format!("\"{local}\"@{domain}"))
            }
            _ => self.0.clone(),
        }
    }

    /// The form that equality is decided on.
    pub fn folded(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_lowercase())
    }
}

/// A character of an atom (RFC 5322 §3.2.3).
fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

/// A host name with a dot (RFC 1123 §2.1). An address of a machine is none.
fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = domain.rsplit_once('.').map(|(_, last)| last);
    last.is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()))
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> String {
        let address = EmailAddress::parse(text).unwrap_or_else(|why| panic!("{text} {why}"));
        address.wire().to_string()
    }

    #[test]
    fn what_can_be_mailed_is_accepted() {
        for good in [
            "ada@example.com",
            "a.b+c@mail.example.co.uk",
            "o'brien@example.com",
            "!#$%&'*+-/?=^_`{|}~@example.com",
            "ada@xn--exmple-cua.example",
            "ada@1and1.example",
        ] {
            assert_eq!(wire(good), good);
        }
        assert_eq!(wire(" ada@example.com "), "ada@example.com");
    }

    #[test]
    fn dots_that_no_dot_atom_has_are_quoted_on_the_wire() {
        assert_eq!(wire("abc.@docomo.ne.jp"), "\"abc.\"@docomo.ne.jp");
        assert_eq!(wire("a..b@example.net"), "\"a..b\"@example.net");
        assert_eq!(wire(".a@example.net"), "\".a\"@example.net");
        assert_eq!(wire("\"abc.\"@docomo.ne.jp"), "\"abc.\"@docomo.ne.jp");
        assert_eq!(wire("\"ada\"@example.com"), "ada@example.com");
    }

    #[test]
    fn what_cannot_be_mailed_is_refused() {
        let long = |local: usize| format!("{}@example.com", "a".repeat(local));
        assert!(EmailAddress::parse(&long(64)).is_ok());
        assert!(EmailAddress::parse(&format!(".{}", long(61))).is_ok());
        for bad in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "ada@localhost",
            "a b@example.com",
            "\"a b\"@example.com",
            "\"a@b\"@example.com",
            "\"a\\\"b\"@example.com",
            "\"\"@example.com",
            "\"a@example.com",
            "a@b@example.com",
            "a@example.com\r\nBcc: x@y.zz",
            "a\r\n@example.com",
            "a>@example.com",
            "=?utf-8?q?ada?=@example.com",
            "Ada <ada@example.com>",
            "a@.com",
            "a@example..com",
            "a@example.com.",
            "ada@-lab.example",
            "ada@lab-.example",
            "ada@lab_.example",
            "ada@192.0.2.1",
            "ada@[192.0.2.1]",
            "ü@example.com",
            "a@exämple.de",
            &long(65),
            &format!(".{}", long(62)),
            &format!("a@{}.example", "x".repeat(64)),
            &format!("a@{}example", "x.".repeat(125)),
        ] {
            assert!(EmailAddress::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_reason_fits_the_fault() {
        let why = |text| EmailAddress::parse(text).err().unwrap();
        assert!(why("ü@example.com").contains("ASCII"));
        assert!(why("ada@-lab.example").contains("domain"));
        assert!(why("ada").contains('@'));
        assert!(why("a b@example.com").contains("before the @"));
    }

    #[test]
    fn neither_case_nor_quotation_marks_matter() {
        let folded = |text| EmailAddress::parse(text).unwrap().folded().to_string();
        assert_eq!(folded("Ada@Example.com"), folded("ada@example.COM"));
        assert_eq!(folded("\"Abc.\"@docomo.ne.jp"), folded("abc.@docomo.ne.jp"));
        assert_eq!(folded("\"ada\"@example.com"), folded("ada@example.com"));
    }
}
