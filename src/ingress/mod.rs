//! FLOOR 5. HTTP for apps that do not speak AMQP: a thin door in front of the broker.
//!
//! A request is authenticated, read strictly, published with confirm, and answered with the outcome;
//! or with 202 when it is stored and the outcome takes longer. There is no 2xx without a confirm.
//! `docs/http.md` describes every endpoint. TLS is the matter of the proxy in front.

mod accept;
mod activity;
mod answer;
mod auth;
mod connections;
mod endpoint;
mod field;
mod openapi;
mod problem;
mod route;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, DefaultBodyLimit, FromRequest, Path, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, get, on};
use axum::{Json, Router};
use futures_util::FutureExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use accept::IDEMPOTENCY_KEY_MAX;
pub use auth::ApiKey;
pub use connections::Limits;
pub use field::GUESS_MAX;
pub use openapi::document as openapi;
pub use problem::Problem;

use crate::broker::{Answer, Requester};
use crate::domain::activity::{Filter, Page};
use crate::domain::id::{AccountId, AppName, MemberId};
use crate::domain::keys::PublicKey;
use crate::failpoint::{self, Point, reach};
use crate::fault::Fault;
use crate::message::Outgoing;
use crate::observe;
use endpoint::Endpoint;
use route::{ACTIVITY, CHALLENGE, ENDPOINTS, OPENAPI, REVIEW, route, routes};

/// The name in the log.
const NAME: &str = "ingress";

/// The largest body, in bytes.
pub const BODY_MAX: usize = 16 * 1024;

/// The longest a request may take from its head to its answer, besides the wait for the outcome:
/// reading the body, and the 5 s of a confirm. After that, 503. With the usual wait of 3 s a request
/// is over before a stopping process has drained.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(6);

/// The longest a body may take.
const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// Publishes requests and waits for outcomes.
pub trait Asks: Send + Sync + 'static {
    /// Publishes `outgoing` for `app` with confirm, then waits up to `wait` for its outcome.
    /// `correlation` is new for each call.
    ///
    /// # Errors
    /// Any fault means: no confirm, so it is unknown whether the request is stored.
    fn ask(
        &self,
        outgoing: Outgoing,
        app: &AppName,
        correlation: Uuid,
        wait: Duration,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send;
}

impl Asks for Requester {
    async fn ask(
        &self,
        outgoing: Outgoing,
        app: &AppName,
        correlation: Uuid,
        wait: Duration,
    ) -> Result<Answer, Fault> {
        self.request(outgoing, app.as_str(), correlation, wait).await
    }
}

/// Reads what is stored.
pub trait Views: Send + Sync + 'static {
    /// The challenge `id`, or the one that the request `id` led to, as JSON; `None` if it is unknown
    /// or belongs to another app.
    ///
    /// # Errors
    /// When it cannot be read now.
    fn challenge(
        &self,
        app: &AppName,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<Value>, Fault>> + Send;

    /// The review `id` of an account, with the members behind `after`, as JSON; `None` if it is
    /// unknown or belongs to another app.
    ///
    /// # Errors
    /// When it cannot be read now.
    fn review(
        &self,
        app: &AppName,
        account: &AccountId,
        id: Uuid,
        after: &str,
    ) -> impl Future<Output = Result<Option<Value>, Fault>> + Send;

    /// A page of the account's Activity report; `None` if the account is unknown or belongs to
    /// another app.
    ///
    /// # Errors
    /// When it cannot be read now.
    fn activity(
        &self,
        app: &AppName,
        account: &AccountId,
        filter: &Filter,
    ) -> impl Future<Output = Result<Option<Page>, Fault>> + Send;
}

/// What the endpoints work with. Clones share it.
pub struct State<A, V>(Arc<Parts<A, V>>);

struct Parts<A, V> {
    asks: A,
    views: V,
    api_keys: Vec<ApiKey>,
    seal: PublicKey,
    answer_wait: Duration,
}

impl<A, V> Clone for State<A, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A, V> State<A, V> {
    /// `seal` is the key that secrets are sealed to; `answer_wait` how long an outcome is awaited
    /// after the confirm before 202 is answered.
    pub fn new(
        asks: A,
        views: V,
        api_keys: Vec<ApiKey>,
        seal: PublicKey,
        answer_wait: Duration,
    ) -> Self {
        Self(Arc::new(Parts { asks, views, api_keys, seal, answer_wait }))
    }
}

/// The members of the path, by name.
type PathMembers = Result<Path<Vec<(String, String)>>, PathRejection>;

/// Every endpoint.
pub fn router<A: Asks, V: Views>(state: State<A, V>) -> Router {
    let not_allowed = || async {
        let detail = "this path does not take this method: see the header Allow";
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    };
    let deadline = REQUEST_DEADLINE + state.0.answer_wait;
    ENDPOINTS
        .iter()
        .fold(Router::new(), |router, (path, method, endpoint)| {
            router.route(path, asking(*method, endpoint))
        })
        .route(CHALLENGE, get(view::<A, V>))
        .route(REVIEW, get(review::<A, V>))
        .route(ACTIVITY, get(report::<A, V>))
        .route(OPENAPI, get(openapi::serve))
        .method_not_allowed_fallback(not_allowed)
        .fallback(|| async { Problem::not_found() })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(move |request, next| guard(deadline, request, next)))
        .with_state(state)
}

/// Serves until `stop` is cancelled; requests that run then are finished.
pub async fn serve<A: Asks, V: Views>(
    listener: TcpListener,
    state: State<A, V>,
    limits: Limits,
    stop: CancellationToken,
) {
    failpoint::announce(NAME, failpoint::INGRESS);
    observe::http_started(routes());
    let deadline = REQUEST_DEADLINE + state.0.answer_wait;
    connections::serve(listener, router(state), limits, deadline, stop).await;
}

/// What holds for every request: a deadline, an answer even after a panic, nothing cached, and one
/// count. Neither path nor body is logged.
async fn guard(deadline: Duration, request: Request, next: Next) -> Response {
    let (began, route) = (Instant::now(), route(request.uri().path()));
    // What a panic leaves half done is this request's own and is dropped with it.
    let answering = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(deadline, answering).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => Problem::internal().into_response(),
        Err(_elapsed) => Problem::unavailable().into_response(),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(fault) = response.extensions().get::<Fault>() {
        observe::http_failed(route, fault);
    }
    observe::http_answered(route, response.status().as_u16(), began.elapsed());
    response
}

fn asking<A: Asks, V: Views>(
    method: MethodFilter,
    endpoint: &'static Endpoint,
) -> MethodRouter<State<A, V>> {
    let handle =
        move |extract::State(state): extract::State<State<A, V>>,
              path: PathMembers,
              request: Request| async move { ask(&state.0, endpoint, path, request).await };
    on(method, handle)
}

async fn ask<A: Asks, V: Views>(
    parts: &Parts<A, V>,
    endpoint: &'static Endpoint,
    path: PathMembers,
    request: Request,
) -> Result<Response, Problem> {
    let app = auth::authenticate(request.headers(), &parts.api_keys)?;
    let Path(path) = path.map_err(|_| Problem::not_found())?;
    accept::require_json(request.headers())?;
    let headers = request.headers().clone();
    let id = accept::message_id(&headers, &app, drawn_id())?;
    let body = tokio::time::timeout(BODY_DEADLINE, Bytes::from_request(request, &())).await;
    let body = body.map_err(|_elapsed| {
        let detail = format!("the body did not come within {} s", BODY_DEADLINE.as_secs());
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
    })?;
    let body = body.map_err(|why| match why.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body is over {BODY_MAX} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
        }
        _ => Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body broke off"),
    })?;
    let accepted = accept::accept(endpoint, path, &headers, &body, &app, id, &parts.seal)?;
    reach(NAME, Point::Received).await.map_err(Problem::fault)?;
    let outgoing = accepted.outgoing.clone();
    let asked = parts.asks.ask(outgoing, &app, drawn_id(), parts.answer_wait).await;
    let answer = asked.map_err(Problem::fault)?;
    reach(NAME, Point::Answered).await.map_err(Problem::fault)?;
    match answer {
        Answer::Replied(outcome) => {
            Ok(Json(answer::replied(endpoint.key, &outcome)?).into_response())
        }
        Answer::Accepted => Ok(answer::pending(&accepted)),
    }
}

fn drawn_id() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

async fn view<A: Asks, V: Views>(
    extract::State(State(parts)): extract::State<State<A, V>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let app = auth::authenticate(&headers, &parts.api_keys)?;
    let id = path.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
    let id = id.ok_or_else(Problem::not_found)?;
    let found = parts.views.challenge(&app, id).await.map_err(Problem::fault)?;
    found.map(Json).ok_or_else(Problem::not_found)
}

async fn review<A: Asks, V: Views>(
    extract::State(State(parts)): extract::State<State<A, V>>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    let app = auth::authenticate(&headers, &parts.api_keys)?;
    let Path((account, id)) = path.map_err(|_| Problem::not_found())?;
    let account = AccountId::parse(&account).map_err(|_| Problem::not_found())?;
    let id = Uuid::try_parse(&id).map_err(|_| Problem::not_found())?;
    let after = match uri.query().map(|query| query.strip_prefix("after=")) {
        None => None,
        Some(after) => {
            Some(after.and_then(|name| MemberId::parse(name).ok()).ok_or_else(|| {
                Problem::field("after", "the query may be `after`, the last member of a page")
            })?)
        }
    };
    let after = after.as_ref().map_or("", MemberId::as_str);
    let found = parts.views.review(&app, &account, id, after).await.map_err(Problem::fault)?;
    found.map(Json).ok_or_else(Problem::not_found)
}

async fn report<A: Asks, V: Views>(
    extract::State(State(parts)): extract::State<State<A, V>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let app = auth::authenticate(&headers, &parts.api_keys)?;
    // Whatever is no account looks like one that is not known.
    let account = path.ok().and_then(|Path(text)| AccountId::parse(&text).ok());
    let account = account.ok_or_else(Problem::not_found)?;
    let query = uri.query().unwrap_or_default();
    let (filter, format) = activity::asked(query, &headers)?;
    let found = parts.views.activity(&app, &account, &filter).await.map_err(Problem::fault)?;
    let page = found.ok_or_else(Problem::not_found)?;
    Ok(activity::page(uri.path(), query, &page, format))
}

#[cfg(test)]
mod tests;
