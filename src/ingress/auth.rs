//! Who asks: an API key as a Bearer token (RFC 6750). Only the keys' digests are known here.

use axum::http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::domain::id::AppName;

/// An app's API key. The key itself has 256 bits of chance, so a plain digest keeps it.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// The app it belongs to. An app may have several, so that keys can be rotated.
    pub app: AppName,
    /// SHA-256 of the key as it stands in the header.
    pub sha256: [u8; 32],
}

/// The app that asks.
///
/// # Errors
/// 401, the same for a missing and for a wrong key.
pub fn authenticate(headers: &HeaderMap, keys: &[ApiKey]) -> Result<AppName, Problem> {
    let presented = Sha256::digest(bearer(headers).ok_or_else(unauthorized)?);
    // Every key is compared, so that the time says nothing about which one was nearly right.
    let mut app = None;
    for key in keys {
        if bool::from(key.sha256.as_slice().ct_eq(presented.as_slice())) {
            app = Some(&key.app);
        }
    }
    app.cloned().ok_or_else(unauthorized)
}

fn unauthorized() -> Problem {
    let detail = "send the app's API key as `Authorization: Bearer <key>`";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .with_header("www-authenticate", "Bearer")
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn key(app: &str, key: &str) -> ApiKey {
        ApiKey { app: AppName::parse(app).unwrap(), sha256: Sha256::digest(key).into() }
    }

    fn ask(header: Option<&'static str>) -> Result<AppName, Problem> {
        let keys = [key("crm", "k1"), key("crm", "k2"), key("shop", "k3"), key("empty", "")];
        let headers = header.map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value)));
        authenticate(&headers.into_iter().collect(), &keys)
    }

    #[test]
    fn every_key_of_an_app_names_it() {
        for (header, app) in [("Bearer k1", "crm"), ("bearer k2", "crm"), ("Bearer  k3", "shop")] {
            assert_eq!(ask(Some(header)).unwrap().as_str(), app);
        }
    }

    #[test]
    fn anything_else_is_unauthorized() {
        let wrong = ["Bearer k4", "Basic k1", "k1", "Bearer k11", "Bearer ", "Bearer", ""];
        for header in wrong.into_iter().map(Some).chain([None]) {
            assert_eq!(ask(header).unwrap_err().status(), StatusCode::UNAUTHORIZED, "{header:?}");
        }
    }
}
