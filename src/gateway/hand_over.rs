//! A request body that knows whether it was handed to the network.
//!
//! An HTTP client's error says what went wrong, not whether the request had gone out by then; and
//! a request that timed out may still be picked up by the connection's own task a moment later.
//! Here both sides settle it on one atomic word: the connection takes the body, or the caller
//! withdraws it, never both.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use zeroize::Zeroizing;

const WAITING: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// The caller's end.
pub(super) struct HandOver(Arc<AtomicU8>);

impl HandOver {
    /// A body, and the end that can withdraw it. The body's buffer is zeroised when the client
    /// drops it; what the client copied into its own write buffer is beyond reach.
    pub(super) fn new(content: Zeroizing<Vec<u8>>) -> (Self, reqwest::Body) {
        let state = Arc::new(AtomicU8::new(WAITING));
        let body =
            TrackedBody { content: Some(Bytes::from_owner(content)), state: Arc::clone(&state) };
        (Self(state), reqwest::Body::wrap(body))
    }

    /// Takes the body back. `true`: no part of it went out, and none ever will. `false`: the
    /// connection had taken it, so the other side may have read all of it.
    pub(super) fn withdraw(&self) -> bool {
        settle(&self.0, WITHDRAWN)
    }
}

struct TrackedBody {
    content: Option<Bytes>,
    state: Arc<AtomicU8>,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = self.content.take().map(|content| {
            if settle(&self.state, TAKEN) {
                Ok(Frame::data(content))
            } else {
                Err(io::Error::other("the request was withdrawn"))
            }
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.content.as_ref().map_or(0, |content| content.len() as u64))
    }
}

/// Moves from waiting to `outcome`, if nobody was faster.
fn settle(state: &AtomicU8, outcome: u8) -> bool {
    state.compare_exchange(WAITING, outcome, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn pair() -> (HandOver, TrackedBody) {
        let state = Arc::new(AtomicU8::new(WAITING));
        let content = Some(Bytes::from_static(b"text"));
        (HandOver(Arc::clone(&state)), TrackedBody { content, state })
    }

    fn poll(body: &mut TrackedBody) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_body_that_was_taken_cannot_be_withdrawn() {
        let (hand_over, mut body) = pair();
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Ok(_)))));
        assert!(!hand_over.withdraw());
        assert!(matches!(poll(&mut body), Poll::Ready(None)));
    }

    #[test]
    fn a_body_that_was_withdrawn_is_never_given_out() {
        let (hand_over, mut body) = pair();
        assert!(hand_over.withdraw());
        assert!(matches!(poll(&mut body), Poll::Ready(Some(Err(_)))));
    }
}
