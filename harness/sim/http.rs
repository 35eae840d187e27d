//! The HTTP API: carrier, faults, connections, phones, mailboxes, ledger, page.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State as Shared},
    http::{StatusCode, header::CACHE_CONTROL},
    response::{Html, IntoResponse, Response},
    routing::{get, post, put},
};
use serde_json::{Value, json};

use super::{
    carrier, connections,
    faults::{EVERYBODY, Order},
    feed,
    ledger::{Channel, Record},
    page,
    problem::{Problem, code, number},
    state::{State, recipient},
};

const MAX_BODY_BYTES: usize = 64 * 1024;
const MAX_WAIT_SECONDS: u64 = 60;
const DEFAULT_PAGE: u64 = 1_000;
const MAX_PAGE: u64 = 10_000;

/// How many messages the page shows.
const PAGE_MESSAGES: usize = 60;

/// Every route of the simulator. The requests must carry [`super::wire::Wire`] as connect info.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", get(front_page))
        .route("/livez", get(async || "ok\n"))
        .route("/carrier/messages", post(carrier::post))
        .route("/faults", get(list_faults).delete(heal_all))
        .route("/faults/{recipient}", put(order_fault).delete(heal))
        .route("/connections", get(connections).put(order_connections).delete(keep_connections))
        .route("/phones", get(list_phones))
        .route("/phones/{number}", get(phone))
        .route("/phones/{number}/next", get(next_text))
        .route("/mailboxes", get(list_mailboxes))
        .route("/mailboxes/{address}", get(mailbox))
        .route("/mailboxes/{address}/next", get(next_mail))
        .route("/ledger", get(ledger).delete(clear))
        .route("/ledger/stream", get(feed::get))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state)
}

fn position(query: Option<&str>) -> Result<usize, Problem> {
    let after = number(query, "after")?.unwrap_or_default();
    Ok(usize::try_from(after).unwrap_or(usize::MAX))
}

fn known(text: &str, channel: Channel) -> Result<String, Problem> {
    match recipient(text) {
        Some((found, name)) if found == channel => Ok(name),
        _ => Err(Problem::bad_request("the path does not end in a phone number or an address")),
    }
}

// ---- faults

fn fault_key(text: String) -> Result<String, Problem> {
    if text == EVERYBODY {
        return Ok(text);
    }
    let name = recipient(&text).map(|(_, name)| name);
    name.ok_or_else(|| Problem::bad_request("faults are for a number, an address or *"))
}

async fn list_faults(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "faults": state.books().faults.orders() }))
}

async fn order_fault(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let key = fault_key(name)?;
    let order: Order = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("no fault: {error}")))?;
    order.check().map_err(Problem::bad_request)?;
    state.books().faults.order(key, order);
    Ok(StatusCode::NO_CONTENT)
}

async fn heal(
    Shared(state): Shared<Arc<State>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let key = fault_key(name)?;
    state.books().faults.heal(&key);
    Ok(StatusCode::NO_CONTENT)
}

async fn heal_all(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.books().faults.heal_all();
    StatusCode::NO_CONTENT
}

// ---- connections

async fn connections(Shared(state): Shared<Arc<State>>) -> Json<connections::Order> {
    Json(state.connections.ordered())
}

async fn order_connections(
    Shared(state): Shared<Arc<State>>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let order: connections::Order = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("no order: {error}")))?;
    order.check().map_err(Problem::bad_request)?;
    state.connections.order(order);
    Ok(StatusCode::NO_CONTENT)
}

async fn keep_connections(Shared(state): Shared<Arc<State>>) -> StatusCode {
    state.connections.order(connections::Order::default());
    StatusCode::NO_CONTENT
}

// ---- phones and mailboxes

async fn list_phones(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "phones": counts(&state, Channel::Sms, "number") }))
}

async fn list_mailboxes(Shared(state): Shared<Arc<State>>) -> Json<Value> {
    Json(json!({ "mailboxes": counts(&state, Channel::Email, "address") }))
}

fn counts(state: &State, channel: Channel, key: &str) -> Vec<Value> {
    let books = state.books();
    let inboxes = books.ledger.inboxes(channel).iter();
    inboxes.map(|(name, messages)| json!({ key: name, "count": messages.len() })).collect()
}

async fn phone(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
) -> Result<Json<Value>, Problem> {
    let number = known(&number, Channel::Sms)?;
    let messages = messages(&state, Channel::Sms, &number);
    Ok(Json(json!({ "number": number, "messages": messages })))
}

async fn mailbox(
    Shared(state): Shared<Arc<State>>,
    Path(address): Path<String>,
) -> Result<Json<Value>, Problem> {
    let address = known(&address, Channel::Email)?;
    let messages = messages(&state, Channel::Email, &address);
    Ok(Json(json!({ "address": address, "messages": messages })))
}

fn messages(state: &State, channel: Channel, recipient: &str) -> Vec<Value> {
    let records = state.books().ledger.messages(channel, recipient);
    records.iter().enumerate().map(|(index, record)| message(index, record)).collect()
}

/// A shown message as its reader sees it.
fn message(index: usize, record: &Record) -> Value {
    let content = record.content.clone().unwrap_or_default();
    let mut message = json!({
        "index": index,
        "id": record.entry.provider_ref,
        "at": page::rfc3339(record.entry.at),
        "text": content.text,
    });
    if let Some(code) = code(&content.text) {
        message["code"] = code.into();
    }
    if record.entry.channel == Channel::Email {
        message["from"] = content.from.into();
        message["to"] = content.to.into();
        message["subject"] = content.subject.into();
    }
    message
}

async fn next_text(
    Shared(state): Shared<Arc<State>>,
    Path(number): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    next(&state, Channel::Sms, &number, query.as_deref()).await
}

async fn next_mail(
    Shared(state): Shared<Arc<State>>,
    Path(address): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    next(&state, Channel::Email, &address, query.as_deref()).await
}

async fn next(
    state: &State,
    channel: Channel,
    text: &str,
    query: Option<&str>,
) -> Result<Response, Problem> {
    let recipient = known(text, channel)?;
    let index = position(query)?;
    let wait_seconds = number(query, "wait")?.unwrap_or_default().min(MAX_WAIT_SECONDS);
    let wait = Duration::from_secs(wait_seconds);
    Ok(match state.message(channel, &recipient, index, wait).await {
        Some(record) => Json(message(index, &record)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

// ---- ledger and page

async fn ledger(
    Shared(state): Shared<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let after = position(query.as_deref())?;
    let limit = number(query.as_deref(), "limit")?.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE);
    let records = state.books().ledger.page(after, limit as usize);
    let entries: Vec<_> = records.iter().map(|record| &record.entry).collect();
    Ok(Json(json!({ "entries": entries, "next": after.saturating_add(entries.len()) })))
}

async fn clear(Shared(state): Shared<Arc<State>>) -> Result<StatusCode, Problem> {
    let cleared = state.books().ledger.clear();
    cleared.map_err(|reason| Problem::unavailable(&reason))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn front_page(Shared(state): Shared<Arc<State>>) -> Response {
    let latest = state.books().ledger.latest(PAGE_MESSAGES);
    ([(CACHE_CONTROL, "no-store")], Html(page::render(&latest))).into_response()
}

#[cfg(test)]
mod tests {
    use super::{code, number};

    #[test]
    fn the_code_is_on_the_last_line_bound_to_a_domain() {
        for (text, expected) in [
            ("Your code is 1.\n\n@shop.example #123456", Some("123456")),
            ("@shop.example #123456 @frame.example\n", Some("123456")),
            ("@shop.example #123456\nbye", None),
            ("mail a@shop.example #123456", None),
            ("@ #123456", None),
            ("@shop.example #", None),
            ("", None),
        ] {
            assert_eq!(code(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_query_number_is_optional_but_must_be_one() {
        assert_eq!(number(Some("after=3&wait=4"), "wait").unwrap(), Some(4));
        assert_eq!(number(Some("after=3"), "wait").unwrap(), None);
        assert_eq!(number(None, "wait").unwrap(), None);
        assert!(number(Some("wait=soon"), "wait").is_err());
    }
}
