//! The Activity report over HTTP: what is asked for, and the report as JSON or CSV.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::problem::Problem;
use crate::domain::activity::{Filter, Page, Row};
use crate::domain::id::MemberId;
use crate::domain::moment;

/// Rows of a page, unless `limit` says otherwise.
pub const PAGE_ROWS: i64 = 100;
/// Rows of a page at most.
pub const PAGE_ROWS_MAX: i64 = 1000;
/// The longest name of an action, in characters.
const ACTION_MAX: usize = 64;

/// What the report is sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object.
    Json,
    /// RFC 4180.
    Csv,
}

/// What the query asks for, strictly: a parameter that is not known, wrong or there twice is named.
///
/// # Errors
/// 422 with the parameter as `field`. No problem repeats a value.
pub fn asked(query: &str, headers: &HeaderMap) -> Result<(Filter, Format), Problem> {
    let mut filter =
        Filter { member: None, action: None, from: None, to: None, before: None, limit: PAGE_ROWS };
    let mut format = accepted(headers);
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let must_be = |what: &str| Problem::field(&name, format!("`{name}` must be {what}"));
        match name.as_ref() {
            "member" => {
                let id = MemberId::parse(&value).map_err(|_| must_be(super::field::ID))?;
                filter.member = Some(id);
            }
            "action" => {
                let word =
                    action(&value).ok_or_else(|| must_be("a name such as number_changed"))?;
                filter.action = Some(word);
            }
            "from" => filter.from = Some(moment(&value).ok_or_else(|| must_be(MOMENT))?),
            "to" => filter.to = Some(moment(&value).ok_or_else(|| must_be(MOMENT))?),
            "cursor" => {
                let place = place(&value).ok_or_else(|| must_be("what a page before this gave"))?;
                filter.before = Some(place);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|rows| (1..=PAGE_ROWS_MAX).contains(rows));
                filter.limit = limit.ok_or_else(|| must_be("a whole number from 1 to 1000"))?;
            }
            "format" => match value.as_ref() {
                "json" => format = Format::Json,
                "csv" => format = Format::Csv,
                _ => return Err(must_be("json or csv")),
            },
            _ => {
                let known = "member, action, from, to, cursor, limit, format";
                let detail = format!("this parameter is not known here; known are: {known}");
                return Err(Problem::foreign_field(&name, detail));
            }
        }
        if seen.iter().any(|seen| *seen == name) {
            return Err(Problem::field(&name, format!("`{name}` is there more than once")));
        }
        seen.push(name.into_owned());
    }
    Ok((filter, format))
}

const MOMENT: &str = "a time as 2026-01-02T03:04:05Z, in a year from 1970 to 9999 \
    (a + is written as %2B)";

fn action(text: &str) -> Option<String> {
    let clean = text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (clean && (1..=ACTION_MAX).contains(&text.len())).then(|| text.to_owned())
}

/// CSV where the caller prefers it: the first of the two that is named.
fn accepted(headers: &HeaderMap) -> Format {
    let named = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = named
        .flat_map(|value| value.split(','))
        .map(|part| part.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match kinds.find(|kind| matches!(kind.as_str(), "text/csv" | "application/json")).as_deref() {
        Some("text/csv") => Format::Csv,
        _ => Format::Json,
    }
}

fn cursor(place: i64) -> String {
    URL_SAFE_NO_PAD.encode(place.to_be_bytes())
}

fn place(cursor: &str) -> Option<i64> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
    Some(i64::from_be_bytes(bytes)).filter(|place| *place > 0)
}

/// The page as it is sent. `Link` leads to the next one (RFC 8288), in both formats.
pub fn page(path: &str, query: &str, page: &Page, format: Format) -> Response {
    let next = page.next.map(cursor);
    let mut response = match format {
        Format::Json => Json(json!({ "activity": page.rows, "next_cursor": next })).into_response(),
        Format::Csv => {
            let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present")];
            (kind, csv(&page.rows)).into_response()
        }
    };
    if let Some(next) = next
        && let Ok(link) = HeaderValue::try_from(link(path, query, &next))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

/// The same question, from `cursor` on.
fn link(path: &str, query: &str, cursor: &str) -> String {
    let mut link = format!("<{path}?");
    for (name, value) in form_urlencoded::parse(query.as_bytes()).filter(|(n, _)| n != "cursor") {
        let value = utf8_percent_encode(&value, NON_ALPHANUMERIC);
        link.push_str(&format!("{name}={value}&"));
    }
    link + &format!("cursor={cursor}>; rel=\"next\"")
}

/// The columns of the CSV, which are the members of a row in the JSON.
const COLUMNS: [&str; 12] = [
    "seq",
    "at",
    "account",
    "member",
    "actor",
    "action",
    "origin",
    "old_number",
    "new_number",
    "challenge",
    "ip",
    "user_agent",
];

fn csv(rows: &[Row]) -> String {
    let mut out = COLUMNS.join(",") + "\r\n";
    for row in rows {
        let row = json!(row);
        let cells = COLUMNS.map(|column| match &row[column] {
            Value::String(text) => cell(text),
            Value::Null => String::new(),
            other => other.to_string(),
        });
        out += &(cells.join(",") + "\r\n");
    }
    out
}

/// A text as a cell. What a spreadsheet would take for a formula is put behind an apostrophe, as
/// OWASP advises; the full-width forms count, too.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use time::macros::datetime;

    fn row(seq: i64, user_agent: &str) -> Row {
        Row {
            seq,
            at: datetime!(2026-01-02 03:04:05 UTC),
            account: "acme".into(),
            member: Some("ada".into()),
            actor: "bob".into(),
            action: "number_changed".into(),
            origin: "admin".into(),
            old_number: Some("•••23".into()),
            new_number: None,
            challenge: None,
            ip: Some("2001:db8::1".into()),
            user_agent: Some(user_agent.into()),
        }
    }

    fn filter(query: &str) -> Result<(Filter, Format), Problem> {
        asked(query, &HeaderMap::new())
    }

    #[test]
    fn every_filter_is_read() {
        let query = "member=ada&action=number_changed&from=2026-01-02T03%3A04%3A05%2B01%3A00\
            &to=2026-02-01T00:00:00Z&limit=7&format=csv";
        let (filter, format) = filter(&format!("{query}&cursor={}", cursor(41))).unwrap();
        assert_eq!(format, Format::Csv);
        assert_eq!(filter.member.unwrap().as_str(), "ada");
        assert_eq!(filter.action.as_deref(), Some("number_changed"));
        assert_eq!(filter.from, Some(datetime!(2026-01-02 02:04:05 UTC)));
        assert_eq!(filter.to, Some(datetime!(2026-02-01 0:00 UTC)));
        assert_eq!((filter.before, filter.limit), (Some(41), 7));
    }

    #[test]
    fn a_wrong_a_strange_and_a_repeated_parameter_are_named() {
        for (query, field) in [
            ("member=a.b", "member"),
            ("action=Number", "action"),
            ("action=", "action"),
            ("from=yesterday", "from"),
            ("to=0001-01-01T00:00:00Z", "to"),
            ("cursor=41", "cursor"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("format=xml", "format"),
            ("kind=x", "kind"),
            ("limit=5&limit=5", "limit"),
        ] {
            let problem = filter(query).unwrap_err();
            assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
            assert_eq!(problem.member("field"), Some(&json!(field)), "{query}");
        }
    }

    #[test]
    fn csv_is_sent_to_who_accepts_it_and_the_query_wins() {
        let accept = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            HeaderMap::from_iter([(header::ACCEPT, value)])
        };
        let format = |value, query| asked(query, &accept(value)).unwrap().1;
        assert_eq!(format("text/csv", ""), Format::Csv);
        assert_eq!(format("text/html, text/csv;q=0.9", ""), Format::Csv);
        assert_eq!(format("application/json, text/csv", ""), Format::Json);
        assert_eq!(format("*/*", ""), Format::Json);
        assert_eq!(format("text/csv", "format=json"), Format::Json);
    }

    #[test]
    fn the_link_asks_the_same_from_the_next_row_on() {
        let rows = vec![row(9, "x"), row(7, "x")];
        let sent = Page { rows, next: Some(7) };
        let query = "from=2026-01-02T03:04:05%2B01:00&limit=2&cursor=AAAAAAAAABQ";
        let response = page("/v1/accounts/acme/activity", query, &sent, Format::Csv);
        let link = response.headers()[header::LINK].to_str().unwrap().to_owned();
        let (url, rest) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rest, "; rel=\"next\"");
        let (before, after) = (filter(query).unwrap().0, url.split_once('?').unwrap().1);
        assert_eq!(filter(after).unwrap().0, Filter { before: Some(7), ..before });
    }

    #[test]
    fn a_cell_is_never_a_formula_and_never_two_cells() {
        for (text, wanted) in [
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("\tx", "\"'\tx\""),
            ("＝1", "\"'＝1\""),
            ("a,b\r\nc", "\"a,b\r\nc\""),
            ("•••23", "\"•••23\""),
        ] {
            assert_eq!(cell(text), wanted);
        }
        let sheet = csv(&[row(1, "=cmd|' /C calc'!A0")]);
        let lines: Vec<&str> = sheet.split("\r\n").collect();
        assert_eq!(lines[0].split(',').count(), COLUMNS.len());
        assert_eq!(
            lines[1],
            "1,\"2026-01-02T03:04:05Z\",\"acme\",\"ada\",\"bob\",\"number_changed\",\"admin\",\
             \"•••23\",,,\"2001:db8::1\",\"'=cmd|' /C calc'!A0\""
        );
        assert_eq!(lines[2..], [""]);
    }

    #[test]
    fn the_csv_has_every_member_of_the_json() {
        let members = json!(row(1, "x"));
        assert_eq!(members.as_object().unwrap().len(), COLUMNS.len());
        assert!(COLUMNS.iter().all(|column| members.get(column).is_some()));
    }
}
