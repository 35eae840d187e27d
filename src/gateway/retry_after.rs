//! How long a provider asks us to wait.

use std::time::SystemTime;

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// What is longer counts as this long. No challenge lives for an hour.
const RETRY_AFTER_MAX_SECONDS: u64 = 3600;

/// The whole seconds that `Retry-After` asks for, at most an hour.
///
/// A date is compared with the answer's own `Date`, because both are of the provider's clock; with
/// `now` only where there is none. A date in the past means no wait. A header that is neither
/// digits nor an HTTP date in one of its three forms (RFC 9110 §5.6.7) counts as absent, and so does
/// an empty one.
pub(super) fn retry_after_seconds(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let asked = text(headers, &RETRY_AFTER)?;
    let seconds = if !asked.is_empty() && asked.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than the type holds are a number all the same.
        asked.parse().unwrap_or(u64::MAX)
    } else {
        let until = httpdate::parse_http_date(asked).ok()?;
        let theirs = text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let wait = until.duration_since(theirs.unwrap_or(now)).unwrap_or_default();
        // Rounded up: never earlier than asked.
        wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
    };
    Some(seconds.min(RETRY_AFTER_MAX_SECONDS))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ASKED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn of(asked: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, asked.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        // 6.5 s before `ASKED`.
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_770_500);
        retry_after_seconds(&headers, now)
    }

    #[test]
    fn digits_are_seconds_however_many_there_are() {
        assert_eq!(of("0", None), Some(0));
        assert_eq!(of("2", None), Some(2));
        assert_eq!(of(" 007 ", None), Some(7));
        assert_eq!(of("3600", None), Some(3600));
        for long in ["3601", "99999999999999999999", &"9".repeat(400)] {
            assert_eq!(of(long, None), Some(3600), "{long}");
        }
    }

    #[test]
    fn a_date_is_read_in_its_three_forms() {
        for date in [ASKED, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(of(date, None), Some(7), "{date}");
        }
        assert_eq!(of("Sun, 06 Nov 1994 08:00:00 GMT", None), Some(0));
        assert_eq!(of("Sun, 06 Nov 2044 08:00:00 GMT", None), Some(3600));
    }

    #[test]
    fn a_date_is_compared_with_the_clock_of_the_one_who_wrote_it() {
        assert_eq!(of(ASKED, Some("Sun, 06 Nov 1994 08:49:35 GMT")), Some(2));
        assert_eq!(of(ASKED, Some("Sun, 06 Nov 1994 09:49:37 GMT")), Some(0));
        assert_eq!(of(ASKED, Some("yesterday")), Some(7));
        assert_eq!(of("2", Some("Sun, 06 Nov 1994 09:49:37 GMT")), Some(2));
    }

    #[test]
    fn what_is_neither_counts_as_absent() {
        let wrong_day = "Sun, 66 Nov 1994 08:49:37 GMT";
        let other_zone = "Sun, 06 Nov 1994 08:49:37 +0100";
        for text in ["", " ", "-1", "+5", "1.5", "2s", "0x10", "soon", wrong_day, other_zone] {
            assert_eq!(of(text, None), None, "{text}");
        }
        assert_eq!(retry_after_seconds(&HeaderMap::new(), SystemTime::UNIX_EPOCH), None);
    }
}
