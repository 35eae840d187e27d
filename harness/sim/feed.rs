//! `GET /ledger/stream`: every message from now on, as it is accepted, one JSON object a line.
//!
//! For a reader of thousands of messages a second, which polling phones one by one is not. The
//! times are the simulator's own. A slow reader misses nothing: it reads on in the ledger.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{RawQuery, State as Shared},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    ledger::{Channel, Record},
    problem::{Problem, code, number},
    state::State,
};

/// Records looked at in one piece: it bounds the answer's memory and the time the books are held.
const PIECE_RECORDS: usize = 500;

/// A message on its way to its reader.
#[derive(Serialize)]
struct Line<'a> {
    seq: usize,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    channel: Channel,
    to: Option<&'a str>,
    reference: Option<&'a str>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
}

/// Streams what is shown on phones and in mailboxes, from `after` (a position in the ledger) or from
/// now, for as long as the reader stays.
pub(super) async fn get(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let after = match number(query.as_deref(), "after")? {
        Some(after) => usize::try_from(after).unwrap_or(usize::MAX),
        None => state.books().ledger.len(),
    };
    let pieces = stream::unfold((state, after), async |(state, after)| {
        let (piece, after) = next(&state, after).await;
        Some((Ok::<Bytes, Infallible>(piece), (state, after)))
    });
    let content_type = HeaderValue::from_static("application/x-ndjson");
    Ok(([(CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response())
}

/// Waits for messages after position `after`. Returns their lines, and the position behind them.
async fn next(state: &State, mut after: usize) -> (Bytes, usize) {
    loop {
        // Listening before looking: what comes in between is heard.
        let mut news = std::pin::pin!(state.news());
        news.as_mut().enable();
        let records = {
            let ledger = &state.books().ledger;
            // It may have been emptied meanwhile.
            after = after.min(ledger.len());
            ledger.page(after, PIECE_RECORDS)
        };
        after += records.len();
        let lines = lines(&records);
        if !lines.is_empty() {
            return (lines.into(), after);
        }
        if records.is_empty() {
            news.await;
        }
    }
}

fn lines(records: &[Arc<Record>]) -> Vec<u8> {
    let mut lines = Vec::new();
    for Record { entry, content, .. } in records.iter().map(AsRef::as_ref) {
        let Some(content) = content else { continue };
        let line = Line {
            seq: entry.seq,
            at: entry.at,
            channel: entry.channel,
            to: entry.to.as_deref(),
            reference: entry.reference.as_deref(),
            text: &content.text,
            code: code(&content.text),
        };
        // Texts, numbers and a date always serialise.
        if serde_json::to_writer(&mut lines, &line).is_ok() {
            lines.push(b'\n');
        }
    }
    lines
}
