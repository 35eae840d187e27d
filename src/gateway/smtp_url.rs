//! The URL of a mail server, read without ever repeating its password.

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::SettingsError;

/// A mail server and how to speak to it.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Tls,
    pub(super) credentials: Option<Credentials>,
}

impl Server {
    /// Reads `smtp://[user:password@]host[:port][?tls=required|opportunistic|none]` or
    /// `smtps://[user:password@]host[:port]`. Without `tls`, STARTTLS is required. The ports
    /// default to 587, 25 for `tls=none`, and 465 for `smtps`. `authorities` are certificates, PEM, to
    /// trust besides the system's.
    pub(super) fn parse(text: &str, authorities: &[u8]) -> Result<Self, SettingsError> {
        let url = Url::parse(text).map_err(|error| SettingsError::new(format!("url: {error}")))?;
        let host = match url.host() {
            Some(host) if !url.host_str().is_some_and(str::is_empty) => {
                host.to_string().trim_matches(['[', ']']).to_owned()
            }
            _ => return Err(SettingsError::new("url: has no host")),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(SettingsError::new("url: nothing may follow the host but `?tls=`"));
        }
        let (tls, port) = encryption(&url, &host, authorities)?;
        let credentials = credentials(&url)?;
        Ok(Self { host, port: url.port().unwrap_or(port), tls, credentials })
    }
}

/// How the connection is encrypted, and the port that goes with it.
fn encryption(url: &Url, host: &str, authorities: &[u8]) -> Result<(Tls, u16), SettingsError> {
    let mut mode = None;
    for (name, value) in url.query_pairs() {
        match &*name {
            "tls" => mode = Some(value.into_owned()),
            _ => return Err(SettingsError::new("url: the only parameter is `tls`")),
        }
    }
    let trusted = Certificate::from_pem(authorities)
        .map_err(|_| SettingsError::new("ca_file: is not PEM"))?;
    let parameters = || {
        TlsParameters::builder(host.to_owned())
            .add_root_certificate(trusted.clone())
            .build()
            .map_err(|_| SettingsError::new("tls: the system's certificates cannot be read"))
    };
    match (url.scheme(), mode.as_deref()) {
        ("smtps", None) => Ok((Tls::Wrapper(parameters()?), 465)),
        ("smtps", Some(_)) => Err(SettingsError::new("url: smtps:// takes no `tls`")),
        ("smtp", None | Some("required")) => Ok((Tls::Required(parameters()?), 587)),
        ("smtp", Some("opportunistic")) => Ok((Tls::Opportunistic(parameters()?), 587)),
        ("smtp", Some("none")) => Ok((Tls::None, 25)),
        ("smtp", Some(_)) => {
            Err(SettingsError::new("url: `tls` must be required, opportunistic or none"))
        }
        _ => Err(SettingsError::new("url: must begin with smtp:// or smtps://")),
    }
}

fn credentials(url: &Url) -> Result<Option<Credentials>, SettingsError> {
    let decode = |part: &str, name: &str| {
        percent_decode_str(part)
            .decode_utf8()
            .map(std::borrow::Cow::into_owned)
            .map_err(|_| SettingsError::new(format!("url: the {name} is not UTF-8")))
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) => Err(SettingsError::new("url: has a password without a user")),
        (_, None) => Err(SettingsError::new("url: has a user without a password")),
        (user, Some(password)) => {
            Ok(Some(Credentials::new(decode(user, "user")?, decode(password, "password")?)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Server, SettingsError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Server::parse(url, b"")
    }

    #[test]
    fn schemes_and_parameters_choose_encryption_and_port() {
        let of = |url| parse(url).map(|server| (server.host, server.port, server.tls)).unwrap();
        assert!(
            matches!(of("smtps://mx.example"), (host, 465, Tls::Wrapper(_)) if host == "mx.example")
        );
        assert!(matches!(of("smtp://mx.example"), (_, 587, Tls::Required(_))));
        assert!(matches!(of("smtp://mx.example?tls=required"), (_, 587, Tls::Required(_))));
        assert!(matches!(
            of("smtp://mx.example/?tls=opportunistic"),
            (_, 587, Tls::Opportunistic(_))
        ));
        assert!(matches!(of("smtp://mx.example:2525?tls=none"), (_, 2525, Tls::None)));
        assert!(matches!(of("smtp://[::1]?tls=none"), (host, 25, Tls::None) if host == "::1"));
        assert!(matches!(of("smtps://192.0.2.1"), (host, 465, _) if host == "192.0.2.1"));
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let server = parse("smtps://me%40example.org:p%3Aw%2F@mx.example").unwrap();
        let expected = Credentials::new("me@example.org".to_owned(), "p:w/".to_owned());
        assert!(server.credentials == Some(expected));
        assert!(parse("smtps://mx.example").unwrap().credentials.is_none());
    }

    #[test]
    fn a_bad_url_is_named_without_its_password() {
        for (url, part) in [
            ("hunter2", "url: relative URL"),
            ("http://u:hunter2@mx.example", "begin with smtp://"),
            ("smtp://u:hunter2@", "empty host"),
            ("smtp://", "no host"),
            ("smtp:mx.example", "no host"),
            ("smtp://u:hunter2@mx.example:99999", "invalid port"),
            ("smtp://u:hunter2@mx.example/path", "nothing may follow"),
            ("smtp://u:hunter2@mx.example?tls=hunter2", "`tls` must be"),
            ("smtp://u:hunter2@mx.example?hunter2=1", "only parameter"),
            ("smtps://u:hunter2@mx.example?tls=none", "takes no `tls`"),
            ("smtp://:hunter2@mx.example", "without a user"),
            ("smtp://user@mx.example", "without a password"),
            ("smtp://u:hunter2%ff@mx.example", "not UTF-8"),
        ] {
            let error = parse(url).err().unwrap().to_string();
            assert!(error.contains(part), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
