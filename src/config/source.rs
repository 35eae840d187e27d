//! Where values come from, and what was found wrong on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use zeroize::Zeroizing;

use super::settings::{SETTINGS, Shown, setting, unknown};
use super::values::{masked, place};

/// Reads a file; the error is a short reason.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> Result<Vec<u8>, String>;

/// The variables of ours, their values looked up, and every error so far.
pub(super) struct Source {
    given: BTreeMap<&'static str, Given>,
    /// Settings that an error was reported for.
    faulty: BTreeSet<&'static str>,
    errors: Vec<String>,
}

struct Given {
    value: Zeroizing<String>,
    from_file: bool,
}

impl Source {
    /// Looks every setting up. A variable that is empty counts as not set.
    pub(super) fn new(vars: &BTreeMap<String, String>, read_file: ReadFile<'_>) -> Self {
        let ours = vars.keys().filter(|name| name.starts_with("STEPUP_"));
        let errors = ours.filter_map(|name| unknown(name)).collect();
        let mut source = Self { given: BTreeMap::new(), faulty: BTreeSet::new(), errors };
        let var = |name: &str| vars.get(name).filter(|value| !value.is_empty());
        for setting in SETTINGS {
            let name = setting.name;
            let file = format!("{name}_FILE");
            let given = match (var(name), var(&file)) {
                (Some(_), Some(_)) => {
                    source.fault(name, format!("{name} and {file} are both set: remove one"));
                    continue;
                }
                (Some(value), None) => {
                    Given { value: Zeroizing::new(value.clone()), from_file: false }
                }
                (None, Some(path)) => match content(Path::new(path), read_file) {
                    Ok(value) => Given { value, from_file: true },
                    Err(why) => {
                        source.fault(name, format!("{file}: the file {why}"));
                        continue;
                    }
                },
                (None, None) => continue,
            };
            source.given.insert(name, given);
        }
        source
    }

    /// The value, or the default, read by `parse`. `None` when there is neither or it is wrong;
    /// what is wrong is kept for [`Self::finish`].
    pub(super) fn read<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.given.get(name).map(|given| given.value.as_str());
        let value = given.or(setting(name)?.default)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(why) => {
                self.fault(name, format!("{name} {why}"));
                None
            }
        }
    }

    /// Whether there is a value, or an error about it, so that it need not be asked for.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.given.contains_key(name) || self.faulty.contains(name)
    }

    /// Whether nothing was reported about it.
    pub(super) fn is_faultless(&self, name: &str) -> bool {
        !self.faulty.contains(name)
    }

    /// Whether there is a value and nothing wrong with it by itself.
    pub(super) fn is_sound(&self, name: &str) -> bool {
        self.given.contains_key(name) && !self.faulty.contains(name)
    }

    fn fault(&mut self, name: &'static str, sentence: String) {
        self.faulty.insert(name);
        self.errors.push(sentence);
    }

    /// Adds a sentence to the report.
    pub(super) fn complain(&mut self, sentence: String) {
        self.errors.push(sentence);
    }

    /// What each setting is, as `config check` shows it; or every error.
    pub(super) fn finish(self) -> Result<String, Vec<String>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let width = SETTINGS.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for setting in SETTINGS {
            let (value, origin) = match (self.given.get(setting.name), setting.default) {
                (Some(given), _) => {
                    let value = match setting.shown {
                        Shown::Masked => masked(&given.value),
                        Shown::Place => place(&given.value),
                        Shown::Never => "(set)".into(),
                    };
                    (value, if given.from_file { "  (from its file)" } else { "" })
                }
                (None, Some(default)) => (default.to_owned(), "  (default)"),
                (None, None) => ("(not set)".to_owned(), ""),
            };
            out.push_str(&format!("{:width$}  {value}{origin}\n", setting.name));
        }
        Ok(out)
    }
}

/// A file's content without the newline at its end.
fn content(path: &Path, read_file: ReadFile<'_>) -> Result<Zeroizing<String>, String> {
    let bytes = Zeroizing::new(read_file(path).map_err(|why| format!("cannot be read: {why}"))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not UTF-8: write it as text")?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err("is empty: write the value into it".into());
    }
    Ok(Zeroizing::new(text.to_owned()))
}
