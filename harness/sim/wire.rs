//! HTTP connections that can be hung up in place of an answer, or closed while they are kept.
//!
//! Neither axum nor hyper lets a handler close its connection without answering. So the handler
//! marks the wire, and the first write of the answer fails, which ends the connection. A kept
//! connection is closed by its next read: with an error that leaves a new request unread, or
//! with an end of the stream.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep_until},
};

use super::{connections::Connections, state::State};

/// A handler's hold on the connection its request came by.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<Marks>);

#[derive(Default)]
struct Marks {
    hung_up: AtomicBool,
    carrier: AtomicBool,
}

impl Wire {
    /// Closes the connection when the handler returns; its answer is not sent.
    pub fn hang_up(&self) {
        self.0.hung_up.store(true, Ordering::Release);
    }

    /// The connection has brought a message for the carrier.
    pub fn is_for_the_carrier(&self) {
        self.0.carrier.store(true, Ordering::Release);
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Self {
        stream.io().wire.clone()
    }
}

/// Accepts connections, each with its [`Wire`].
pub(super) struct WireListener {
    pub listener: TcpListener,
    pub state: Arc<State>,
}

impl Listener for WireListener {
    type Io = WiredStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Without it an answer may wait for the client's delayed acknowledgement; no more than
        // latency is lost when it cannot be set.
        let _ = stream.set_nodelay(true);
        let (wire, state) = (Wire::default(), Arc::clone(&self.state));
        (WiredStream { stream, wire, state, answered_at: None, idle: None }, address)
    }

    fn local_addr(&self) -> Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A TCP stream whose writes fail once its [`Wire`] is hung up, and that ends while it is kept, if that
/// is ordered.
pub(super) struct WiredStream {
    stream: TcpStream,
    wire: Wire,
    state: Arc<State>,
    /// Since when the carrier's connection is idle.
    answered_at: Option<Instant>,
    /// When it has been so for too long.
    idle: Option<Pin<Box<Sleep>>>,
}

impl WiredStream {
    fn writable(&mut self) -> Result<Pin<&mut TcpStream>> {
        if self.wire.0.hung_up.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::ConnectionAborted, "hung up on purpose"));
        }
        if self.wire.0.carrier.load(Ordering::Acquire) {
            self.answered_at = Some(Instant::now());
        }
        Ok(Pin::new(&mut self.stream))
    }

    fn connections(&self) -> &Connections {
        &self.state.connections
    }

    /// Whether a kept connection has been idle for too long; wakes the reader when it has.
    fn poll_idle(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let until = self.answered_at.zip(self.connections().idle_max());
        let Some(until) = until.map(|(since, idle_max)| since + idle_max) else {
            self.idle = None;
            return Poll::Pending;
        };
        let idle = self.idle.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if idle.deadline() != until {
            idle.as_mut().reset(until);
        }
        idle.as_mut().poll(context)
    }
}

impl AsyncRead for WiredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.answered_at.is_some() {
            if self.poll_idle(context).is_ready() {
                // Nothing is read: to the server this is the end of the stream.
                return Poll::Ready(Ok(()));
            }
            if self.connections().drops_kept() {
                let mut first = [0];
                ready!(self.stream.poll_peek(context, &mut ReadBuf::new(&mut first)))?;
                return Poll::Ready(Err(Error::new(ErrorKind::ConnectionAborted, "dropped")));
            }
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.answered_at = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WiredStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.writable()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.writable()?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
