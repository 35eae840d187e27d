//! What the simulator reads from its environment.

use std::{
    env::VarError,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::signature::Secret;

/// The simulator's configuration.
pub struct Settings {
    /// Where the HTTP API listens; port 0 takes a free one.
    pub http_addr: SocketAddr,
    /// Where the SMTP server listens; port 0 takes a free one.
    pub smtp_addr: SocketAddr,
    /// With a secret, the carrier refuses calls that are not signed with it.
    pub(super) sms_secret: Option<Secret>,
    /// User and password that SMTP clients must present; without, any are accepted.
    pub(super) smtp_credentials: Option<(String, String)>,
    /// Append-only file that keeps what was received across a restart.
    pub ledger_file: Option<PathBuf>,
}

impl Default for Settings {
    /// Loopback ports 8081 (HTTP) and 2525 (SMTP), nothing checked, nothing kept.
    fn default() -> Self {
        Self {
            http_addr: (Ipv4Addr::LOCALHOST, 8081).into(),
            smtp_addr: (Ipv4Addr::LOCALHOST, 2525).into(),
            sms_secret: None,
            smtp_credentials: None,
            ledger_file: None,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("http_addr", &self.http_addr)
            .field("smtp_addr", &self.smtp_addr)
            .field("signed", &self.sms_secret.is_some())
            .field("smtp_credentials", &self.smtp_credentials.is_some())
            .field("ledger_file", &self.ledger_file)
            .finish()
    }
}

impl Settings {
    /// Reads the `STEPUP_SIM_*` variables. An empty variable counts as absent.
    ///
    /// # Errors
    ///
    /// Every mistake found, one a line, each beginning with the variable's name. No message
    /// repeats a secret.
    pub fn from_env() -> Result<Self, String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the simulator is a process of its own and reads its environment here only"
        )]
        Self::read(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(format!("{name}: not valid UTF-8")),
        })
    }

    fn read(variable: impl Fn(&str) -> Result<Option<String>, String>) -> Result<Self, String> {
        let mut reader = Reader { variable, errors: Vec::new() };
        let defaults = Self::default();
        let settings = Self {
            http_addr: reader.address("STEPUP_SIM_HTTP_ADDR", defaults.http_addr),
            smtp_addr: reader.address("STEPUP_SIM_SMTP_ADDR", defaults.smtp_addr),
            sms_secret: reader.sms_secret(),
            smtp_credentials: reader.smtp_credentials(),
            ledger_file: reader.text("STEPUP_SIM_LEDGER_FILE").map(PathBuf::from),
        };
        if reader.errors.is_empty() { Ok(settings) } else { Err(reader.errors.join("\n")) }
    }
}

struct Reader<F> {
    variable: F,
    errors: Vec<String>,
}

impl<F: Fn(&str) -> Result<Option<String>, String>> Reader<F> {
    fn text(&mut self, name: &str) -> Option<String> {
        match (self.variable)(name) {
            Ok(value) => value.filter(|value| !value.is_empty()),
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    fn address(&mut self, name: &str, default: SocketAddr) -> SocketAddr {
        let Some(value) = self.text(name) else { return default };
        value.parse().unwrap_or_else(|_| {
            self.errors.push(format!("{name}: expected an IP address and a port, got {value:?}"));
            default
        })
    }

    /// The value of `name`, or the contents of the file that `<name>_FILE` points to.
    fn secret(&mut self, name: &str) -> Option<String> {
        let file_name = format!("{name}_FILE");
        match (self.text(name), self.text(&file_name)) {
            (Some(_), Some(_)) => {
                self.errors.push(format!("{name}: set this or {file_name}, not both"));
                None
            }
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(contents) => Some(contents.trim_end().to_owned()),
                Err(error) => {
                    self.errors.push(format!("{file_name}: {path}: {error}"));
                    None
                }
            },
            (value, None) => value,
        }
    }

    fn sms_secret(&mut self) -> Option<Secret> {
        let text = self.secret("STEPUP_SIM_SMS_SECRET")?;
        let secret = Secret::parse(&text);
        if secret.is_none() {
            let expected = "expected whsec_ followed by base64 of at least one byte";
            self.errors.push(format!("STEPUP_SIM_SMS_SECRET: {expected}"));
        }
        secret
    }

    fn smtp_credentials(&mut self) -> Option<(String, String)> {
        let user = self.text("STEPUP_SIM_SMTP_USER");
        let password = self.secret("STEPUP_SIM_SMTP_PASSWORD");
        if user.is_some() != password.is_some() {
            let both = "set both or none";
            self.errors.push(format!("STEPUP_SIM_SMTP_USER, STEPUP_SIM_SMTP_PASSWORD: {both}"));
        }
        user.zip(password)
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| {
            Ok(variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        })
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let settings = read(&[("STEPUP_SIM_SMS_SECRET", "")]).unwrap();
        assert_eq!(settings.http_addr.to_string(), "127.0.0.1:8081");
        assert_eq!(settings.smtp_addr.to_string(), "127.0.0.1:2525");
        assert!(settings.sms_secret.is_none() && settings.smtp_credentials.is_none());
    }

    #[test]
    fn every_mistake_is_reported_at_once_and_no_secret_is_repeated() {
        let errors = read(&[
            ("STEPUP_SIM_HTTP_ADDR", "localhost"),
            ("STEPUP_SIM_SMTP_ADDR", "127.0.0.1"),
            ("STEPUP_SIM_SMS_SECRET", "whsec_*hush*"),
            ("STEPUP_SIM_SMTP_PASSWORD", "hush"),
        ])
        .unwrap_err();
        assert_eq!(errors.lines().count(), 4, "{errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }

    #[test]
    fn a_secret_may_come_from_a_file_but_not_from_both() {
        let path = std::env::temp_dir().join(format!("sim-secret-{}", std::process::id()));
        std::fs::write(&path, "whsec_c2VjcmV0\n").unwrap();
        let file = ("STEPUP_SIM_SMS_SECRET_FILE", path.to_str().unwrap());
        assert!(read(&[file]).unwrap().sms_secret.is_some());
        let both = read(&[file, ("STEPUP_SIM_SMS_SECRET", "whsec_c2VjcmV0")]).unwrap_err();
        assert!(both.contains("not both"), "{both}");
        std::fs::remove_file(path).unwrap();
    }
}
