//! Reads the templates of every language and checks each of them, before one is ever sent.
//!
//! A file has a section for each text: a line with its name in brackets, then the template. A mail
//! begins with its subject. Lines before the first section are for the reader.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::{Environment, UndefinedBehavior};

use crate::domain::account::ORIGIN_MAX;
use crate::domain::challenge::Purpose;
use crate::domain::code::{CODE_DIGITS, Code};
use crate::domain::notice::NoticeKind;
use crate::rules::text::gsm::{SEGMENT, septets};
use crate::rules::text::{FALLBACK, Texts, bound_line, code_mail, notice, rendered, sms, values};

/// How much of a summary an SMS shows at the very least, in characters: enough to tell one change
/// from another.
const SUMMARY_MIN: usize = 20;
/// What the names of accounts stand for in the checks.
const NAME: &str = "Acme";

/// A text that every language has.
struct Wanted {
    name: String,
    /// What its template has to say, and all that it may say.
    variables: &'static [&'static str],
}

impl Wanted {
    fn is_sms(&self) -> bool {
        self.name.starts_with("sms.")
    }
}

fn wanted() -> Vec<Wanted> {
    let of_purpose = |purpose: &Purpose| {
        let variables: &[&str] = match purpose {
            Purpose::Setting => &["code", "account", "summary"],
            _ => &["code", "account"],
        };
        Wanted { name: sms(*purpose), variables }
    };
    let of_code = |purpose: &Purpose| {
        let variables: &[&str] = match purpose {
            Purpose::Setting => &["code", "account", "summary", "minutes"],
            _ => &["code", "account", "minutes"],
        };
        code_mail(*purpose).map(|name| Wanted { name, variables })
    };
    let of_notice = |kind: &NoticeKind| {
        let variables: &[&str] = match kind {
            NoticeKind::NumberChanged => &["account", "member", "actor", "at", "old", "new"],
            NoticeKind::OwnNumberChanged => &["account", "actor", "at", "old", "new"],
            NoticeKind::OwnNumberOwned => &["account"],
            NoticeKind::EmailProof => &["account", "code"],
            NoticeKind::OwnFactorEnabled
            | NoticeKind::OwnFactorDisabled
            | NoticeKind::OwnResetApproved
            | NoticeKind::OwnResetDone
            | NoticeKind::ResetApproved
            | NoticeKind::ResetDone => &["account", "member", "actor", "at"],
        };
        Wanted { name: notice(*kind).to_owned(), variables }
    };
    let mut wanted: Vec<Wanted> = Purpose::ALL.iter().map(of_purpose).collect();
    wanted.extend(Purpose::ALL.iter().filter_map(of_code));
    for kind in NoticeKind::ALL {
        let text = of_notice(kind);
        if wanted.iter().all(|known| known.name != text.name) {
            wanted.push(text);
        }
    }
    wanted
}

impl Texts {
    /// Reads languages, each a tag (BCP 47) and the content of its file, and checks every text.
    ///
    /// # Errors
    /// Every problem of every text, each a sentence that names the language and the text.
    pub fn load(files: &[(&str, &str)]) -> Result<Self, Vec<String>> {
        let mut texts = Self::none();
        let mut problems = Vec::new();
        for (locale, content) in files {
            let locale = locale.to_ascii_lowercase();
            for (text, problem) in texts.add(&locale, content) {
                problems.push(format!("texts in {locale}: {text} {problem}"));
            }
            texts.locales.insert(locale);
        }
        if !texts.locales.contains(FALLBACK) {
            problems
                .push(format!("texts in {FALLBACK} are missing, which all others fall back on"));
        }
        if problems.is_empty() { Ok(texts) } else { Err(problems) }
    }

    /// No language yet: no text can be rendered.
    pub fn none() -> Self {
        let mut templates = Environment::empty();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        Self { templates, locales: BTreeSet::new() }
    }

    /// Adds a language; gives the texts that cannot be used, and why.
    fn add(&mut self, locale: &str, content: &str) -> Vec<(String, String)> {
        let (mut sections, mut problems) = sections(content);
        for text in wanted() {
            let outcome = match sections.remove(text.name.as_str()) {
                Some(template) => self.add_text(locale, &text, &template),
                None => Err("is missing".to_owned()),
            };
            problems.extend(outcome.err().map(|problem| (text.name, problem)));
        }
        let unknown = |(name, _)| (name, "is no text that there is: correct its name".to_owned());
        problems.extend(sections.into_iter().map(unknown));
        problems
    }

    fn add_text(&mut self, locale: &str, text: &Wanted, template: &str) -> Result<(), String> {
        let name = format!("{locale}/{}", text.name);
        if text.is_sms() {
            let said = self.compile(&name, template)?;
            says_all(&said, text.variables)?;
            return self.check_sms(&name, text);
        }
        let (subject, body) = template
            .strip_prefix("Subject: ")
            .and_then(|rest| rest.split_once("\n\n"))
            .filter(|(subject, body)| !subject.contains('\n') && !body.trim().is_empty())
            .ok_or("does not begin with a line `Subject: …` and an empty one, then the text")?;
        let in_subject = self.compile(&format!("{name}/subject"), subject)?;
        if in_subject.contains("code") {
            return Err("has the code in its subject, which locked screens and logs show".into());
        }
        let said = self.compile(&name, body)?;
        says_all(&in_subject.union(&said).cloned().collect(), text.variables)?;
        self.check_mail(&name, text)
    }

    /// Adds a template; gives the variables it says.
    fn compile(&mut self, name: &str, template: &str) -> Result<BTreeSet<String>, String> {
        let added = self.templates.add_template_owned(name.to_owned(), template.to_owned());
        let template = added.and_then(|()| self.templates.get_template(name));
        let template = template.map_err(|error| format!("is no template: {error}"))?;
        Ok(template.undeclared_variables(false).into_iter().collect())
    }

    /// Renders a mail with numbers, and with none.
    fn check_mail(&self, name: &str, text: &Wanted) -> Result<(), String> {
        for number in ["•••23", ""] {
            for name in [format!("{name}/subject"), name.to_owned()] {
                let code = Code::of("012345");
                let mut given = values([("old", number), ("new", number)], Some(&code));
                for variable in text.variables.iter().filter(|v| !given_apart(v)) {
                    given.extend(values([(*variable, NAME)], None));
                }
                let template = self.templates.get_template(&name).map_err(|e| e.to_string())?;
                if rendered(&template, &given).is_none_or(|text| text.trim().is_empty()) {
                    return Err("cannot be rendered, or is empty".into());
                }
            }
        }
        Ok(())
    }

    /// Renders an SMS with the longest values that are promised a place, and with the account's name.
    fn check_sms(&self, name: &str, text: &Wanted) -> Result<(), String> {
        let template = self.templates.get_template(name).map_err(|error| error.to_string())?;
        let code = Code::of(&"8".repeat(usize::from(*CODE_DIGITS.end())));
        let bound = bound_line(&"o".repeat(ORIGIN_MAX), &code);
        let summary = "s".repeat(if text.variables.contains(&"summary") { SUMMARY_MIN } else { 0 });
        let with = |account, summary| {
            let values = values([("account", account), ("summary", summary)], Some(&code));
            rendered(&template, &values).ok_or_else(|| "cannot be rendered".to_owned())
        };
        let length = |text: &str| {
            septets(text).map_err(|c| {
                format!("has the character {c:?}, which the SMS alphabet (GSM-7) does not have")
            })
        };
        let (named, bare, cut) = (with(NAME, "")?, with("", "")?, with("", summary.as_str())?);
        for text in [&named, &bare, &cut] {
            length(text)?;
            let rest = text.strip_prefix(code.digits());
            if rest.is_none_or(|rest| !rest.starts_with(' ')) {
                return Err("does not begin with the code and a space".into());
            }
            if text.lines().count() != 1 {
                return Err("is not one line: the line that binds the code is added to it".into());
            }
        }
        // Each character of a name or a summary is counted once when the room for it is.
        if length(&named)? < length(&bare)? + NAME.len()
            || length(&cut)? != length(&bare)? + summary.len()
        {
            return Err("does not say the account, or not the summary just once".into());
        }
        let septets = length(&cut)? + length(&bound)?;
        if septets > SEGMENT {
            return Err(format!(
                "takes {septets} septets without the account's name, and one SMS has {SEGMENT}: shorten it"
            ));
        }
        Ok(())
    }
}

/// What a check of a mail gives besides [`NAME`].
fn given_apart(variable: &str) -> bool {
    matches!(variable, "code" | "old" | "new")
}

/// The sections of a file by their names; and what is wrong with its form.
fn sections(content: &str) -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let (mut sections, mut problems) = (BTreeMap::<String, String>::new(), Vec::new());
    let mut current: Option<String> = None;
    for line in content.lines() {
        let name = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = name {
            if sections.insert(name.to_owned(), String::new()).is_some() {
                problems.push((name.to_owned(), "is there twice: remove one".to_owned()));
            }
            current = Some(name.to_owned());
        } else if let Some(section) = current.as_ref().and_then(|name| sections.get_mut(name)) {
            section.push_str(line);
            section.push('\n');
        }
    }
    for section in sections.values_mut() {
        *section = section.trim().to_owned();
    }
    (sections, problems)
}

/// Whether a template says exactly these variables.
fn says_all(said: &BTreeSet<String>, variables: &[&str]) -> Result<(), String> {
    if let Some(unknown) = said.iter().find(|name| !variables.contains(&name.as_str())) {
        return Err(format!("says {{{{ {unknown} }}}}, and may say only {}", variables.join(", ")));
    }
    match variables.iter().find(|name| !said.contains(**name)) {
        Some(missing) => Err(format!("does not say {{{{ {missing} }}}}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_text_with_its_variables() {
        let document = include_str!("../../../docs/texts.md");
        for Wanted { name, variables } in wanted() {
            let row = document
                .lines()
                .find(|line| line.contains(&format!("`{name}`")) && line.starts_with('|'));
            let row = row.unwrap_or_else(|| panic!("{name} is not in docs/texts.md"));
            let said = row.split('|').nth(2).unwrap();
            let said: BTreeSet<&str> =
                said.split('`').map(str::trim).filter(|word| !word.is_empty()).collect();
            assert_eq!(said, variables.iter().copied().collect(), "{name}");
        }
    }
}
