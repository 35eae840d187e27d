//! HTTP connections that can be hung up in place of an answer.
//!
//! Neither axum nor hyper lets a handler close its connection without answering. So the handler
//! marks the wire, and the first write of the answer fails, which ends the connection.

use std::{
    io::{Error, ErrorKind, IoSlice, Result},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// A handler's hold on the connection its request came by.
#[derive(Clone, Default)]
pub(super) struct Wire(Arc<AtomicBool>);

impl Wire {
    /// Closes the connection when the handler returns; its answer is not sent.
    pub fn hang_up(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_hung_up(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Wire {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Self {
        stream.io().wire.clone()
    }
}

/// Accepts connections, each with its [`Wire`].
pub(super) struct WireListener(pub TcpListener);

impl Listener for WireListener {
    type Io = WiredStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without it an answer may wait for the client's delayed acknowledgement; no more than
        // latency is lost when it cannot be set.
        let _ = stream.set_nodelay(true);
        (WiredStream { stream, wire: Wire::default() }, address)
    }

    fn local_addr(&self) -> Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A TCP stream whose writes fail once its [`Wire`] is hung up.
pub(super) struct WiredStream {
    stream: TcpStream,
    wire: Wire,
}

impl WiredStream {
    fn writable(&mut self) -> Result<Pin<&mut TcpStream>> {
        if self.wire.is_hung_up() {
            return Err(Error::new(ErrorKind::ConnectionAborted, "hung up on purpose"));
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for WiredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
