//! The texts people get, in their own language. An SMS is one GSM-7 segment: the code first; the last
//! line binds it to the web origin, in the form phones fill in by themselves.
//!
//! The words are templates, a file for each language beside this one; [`Texts::load`] has checked
//! them all before the first is sent.

mod gsm;
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr, Value};
use minijinja::{Environment, Template};
use zeroize::Zeroizing;

use crate::domain::account::Account;
use crate::domain::challenge::Purpose;
use crate::domain::code::Code;
use crate::domain::notice::NoticeKind;
pub(super) use crate::rules::text::gsm::plain;
use crate::rules::text::gsm::{SEGMENT, one_line, septets, shortened};

/// The languages that are built in: a tag (BCP 47), and its file.
const EMBEDDED: &[(&str, &str)] = &[
    (FALLBACK, include_str!("en.txt")),
    ("de", include_str!("de.txt")),
    ("es", include_str!("es.txt")),
    ("fr", include_str!("fr.txt")),
    ("pt", include_str!("pt.txt")),
];

/// The language of who has none that is there.
const FALLBACK: &str = "en";

/// Every text in every language.
pub struct Texts {
    /// Templates by `<locale>/<text>`, and the subjects of mails by `<locale>/<text>/subject`.
    templates: Environment<'static>,
    /// In lower case.
    locales: BTreeSet<String>,
}

/// A mail.
pub struct Mail {
    /// The subject. Never holds the code: subjects are shown on locked screens and kept in logs.
    pub subject: String,
    /// The text.
    pub text: Zeroizing<String>,
}

/// What a notice tells of a change.
#[derive(Default)]
pub struct Change<'a> {
    /// Whose number or factor.
    pub member: &'a str,
    /// Who changed it.
    pub actor: &'a str,
    /// When, in figures that every language reads.
    pub at: &'a str,
    /// The number before, masked; empty where there was none.
    pub old: &'a str,
    /// The number after, masked; empty where there is none.
    pub new: &'a str,
}

/// Values by the names that templates know them by.
type Values = BTreeMap<&'static str, Value>;

impl Texts {
    /// The languages that are built in.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn embedded() -> Result<Self, Vec<String>> {
        Self::load(EMBEDDED)
    }

    /// The SMS with a code: what for, and for a setting what is approved. A name that does
    /// not fit into the segment is left out, and then what does not fit of the summary.
    ///
    /// `None` if the template cannot be rendered, which the check at load excludes.
    pub fn sms(
        &self,
        locale: &str,
        account: &Account,
        purpose: Purpose,
        summary: &str,
        code: &Code,
    ) -> Option<Zeroizing<String>> {
        let template = self.template(locale, &sms(purpose), "")?;
        let bound = account
            .origin
            .as_ref()
            .map_or_else(Zeroizing::default, |origin| bound_line(origin, code));
        let with = |name: &str, summary: &str| {
            let values = values([("account", name), ("summary", summary)], Some(code));
            let mut text = rendered(&template, &values)?;
            text.push_str(&bound);
            Some(text)
        };
        let length = |text: &str| septets(text).unwrap_or(usize::MAX);
        let (name, summary) = (plain(&account.name), plain(summary));
        let full = with(&name, &summary)?;
        if length(&full) <= SEGMENT {
            return Some(full);
        }
        let room = SEGMENT.saturating_sub(length(&with("", "")?));
        with("", &shortened(&summary, room))
    }

    /// The mail with a code. `None` where no mail carries it (D-2), or as [`Self::sms`].
    pub fn code_mail(
        &self,
        locale: &str,
        account: &Account,
        purpose: Purpose,
        summary: &str,
        code: &Code,
        minutes_left: i64,
    ) -> Option<Mail> {
        let minutes = minutes_left.to_string();
        let values = values(
            [("account", &*account.name), ("summary", summary), ("minutes", &*minutes)],
            Some(code),
        );
        self.mail(locale, &code_mail(purpose)?, &values)
    }

    /// The mail with the code that proves an address. `None` as [`Self::sms`].
    pub fn email_proof(&self, locale: &str, account: &Account, code: &Code) -> Option<Mail> {
        let values = values([("account", &*account.name)], Some(code));
        self.mail(locale, notice(NoticeKind::EmailProof), &values)
    }

    /// The mail that tells a member or an admin what happened. `None` as
    /// [`Self::sms`].
    pub fn notice(
        &self,
        locale: &str,
        account: &Account,
        kind: NoticeKind,
        change: &Change<'_>,
    ) -> Option<Mail> {
        let Change { member, actor, at, old, new } = *change;
        let named = [("member", member), ("actor", actor), ("at", at), ("old", old), ("new", new)];
        let mut values = values(named, None);
        values.insert("account", Value::from(one_line(&account.name)));
        self.mail(locale, notice(kind), &values)
    }

    fn mail(&self, locale: &str, text: &str, values: &Values) -> Option<Mail> {
        let subject = rendered(&self.template(locale, text, "/subject")?, values)?.to_string();
        let mut text = rendered(&self.template(locale, text, "")?, values)?;
        text.push('\n');
        Some(Mail { subject, text })
    }

    /// A template in the nearest language that is there: `pt-BR`, then `pt`, then English (the
    /// lookup of RFC 4647).
    fn template(&self, locale: &str, text: &str, part: &str) -> Option<Template<'_, '_>> {
        let locale = locale.to_ascii_lowercase();
        let mut tags = std::iter::successors(Some(locale.as_str()), |tag| {
            tag.rsplit_once('-').map(|(shorter, _)| shorter)
        });
        let found = tags.find(|tag| self.locales.contains(*tag)).unwrap_or(FALLBACK);
        self.templates.get_template(&format!("{found}/{text}{part}")).ok()
    }
}

/// The last line of an SMS: which origin a phone may fill the code in at.
fn bound_line(origin: &str, code: &Code) -> Zeroizing<String> {
    Zeroizing::new(format!("\n@{origin} #{}", code.digits()))
}

/// The name of an SMS.
fn sms(purpose: Purpose) -> String {
    format!("sms.{}", purpose.label())
}

/// The name of the mail with a code for this purpose.
fn code_mail(purpose: Purpose) -> Option<String> {
    purpose.email_may_back_up().then(|| format!("mail.{}", purpose.label()))
}

/// The name of a notice's mail. Of a reset hear the member and the admins the same.
const fn notice(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::NumberChanged => "mail.number_changed",
        NoticeKind::OwnNumberChanged => "mail.own_number_changed",
        NoticeKind::OwnNumberOwned => "mail.own_number_owned",
        NoticeKind::OwnFactorEnabled => "mail.factor_enabled",
        NoticeKind::OwnFactorDisabled => "mail.factor_disabled",
        NoticeKind::OwnResetApproved | NoticeKind::ResetApproved => "mail.reset_approved",
        NoticeKind::OwnResetDone | NoticeKind::ResetDone => "mail.reset_done",
        NoticeKind::EmailProof => "mail.email_proof",
    }
}

fn values<const N: usize>(named: [(&'static str, &str); N], code: Option<&Code>) -> Values {
    let named = named.into_iter().map(|(name, value)| (name, Value::from(one_line(value))));
    let code = code.map(|code| {
        let digits = Digits(Zeroizing::new(code.digits().to_owned()));
        ("code", Value::from_object(digits))
    });
    named.chain(code).collect()
}

fn rendered(template: &Template<'_, '_>, values: &Values) -> Option<Zeroizing<String>> {
    template.render(values.clone()).ok().map(Zeroizing::new)
}

/// A code as a template's value: wiped like any other, and shown by the rendering alone.
struct Digits(Zeroizing<String>);

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digits")
    }
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
