//! How long a provider asks us to wait.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// `Retry-After` in either form, at most an hour. `now` is Unix time; a date that is past means no
/// wait, and what cannot be read counts as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: Duration) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp();
            Duration::from_secs(u64::try_from(date).ok()?).saturating_sub(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_capped() {
        let now = Duration::from_secs(784_111_770);
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(of("120"), Some(120));
        assert_eq!(of("999999"), Some(3600));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(7));
        assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(of("Sun, 06 Nov 2044 08:00:00 GMT"), Some(3600));
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
    }
}
