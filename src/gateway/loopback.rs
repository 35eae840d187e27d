//! Raw TCP servers on loopback, for the tests of this folder; some speak TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority that no system trusts. It has signed one certificate, for 127.0.0.1 and until 2120, and
/// its key was thrown away.
pub(super) const CA_FILE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/src/gateway/loopback/ca.pem");

/// A server's side of TLS, with that certificate.
pub(super) fn tls() -> TlsAcceptor {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("loopback/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("loopback/server.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
}

/// Runs `behaviour` for each connection, counted from 0. It ends with the test's runtime.
pub(super) async fn serve<F, Fut>(behaviour: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(behaviour(stream, connection));
        }
    });
    address
}

/// An address on which nothing listens.
pub(super) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Keeps the connection open and says nothing more.
pub(super) async fn never_answer(mut stream: impl AsyncRead + Unpin) {
    while stream.read(&mut [0; 1024]).await.is_ok_and(|bytes| bytes > 0) {}
    std::future::pending::<()>().await;
}

/// What a mail server does at a step, instead of the usual reply.
#[derive(Clone, Copy)]
pub(super) enum Act {
    Say(&'static str),
    Close,
    Hang,
}

/// A step (`greeting`, a command's first word, or `.`) and what happens there.
pub(super) type Acts = Vec<(&'static str, Act)>;

/// The lines a mail server received, after `connection N` for each connection.
pub(super) type Transcript = Arc<Mutex<Vec<String>>>;

/// A mail server: `first` belongs to its first connection, `later` to all that follow.
pub(super) async fn mail_server(first: Acts, later: Acts) -> (SocketAddr, Transcript) {
    let transcript = Transcript::default();
    let lines = Arc::clone(&transcript);
    let address = serve(move |stream, number| {
        lines.lock().unwrap().push(format!("connection {number}"));
        let acts = if number == 0 { first.clone() } else { later.clone() };
        converse(stream, acts, Arc::clone(&lines))
    })
    .await;
    (address, transcript)
}

/// A mail server that speaks TLS from the start, to whoever trusts its certificate.
pub(super) async fn mail_server_over_tls() -> SocketAddr {
    serve(|stream, _| async move {
        if let Ok(stream) = tls().accept(stream).await {
            converse(stream, Acts::new(), Transcript::default()).await;
        }
    })
    .await
}

async fn converse<S>(stream: S, acts: Acts, transcript: Transcript)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let mut step = "greeting".to_owned();
    loop {
        let act = acts.iter().find(|(name, _)| *name == step).map(|(_, act)| *act);
        let usual = match step.as_str() {
            "greeting" => "220 mx.example ESMTP\r\n",
            "DATA" => "354 go on\r\n",
            "." => "250 2.0.0 Ok: queued as 4Fz3K\r\n",
            _ => "250 ok\r\n",
        };
        let text = match act.unwrap_or(Act::Say(usual)) {
            Act::Say(text) => text,
            Act::Close => return,
            Act::Hang => return never_answer(stream.into_inner()).await,
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        loop {
            let mut line = String::new();
            if !stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                return;
            }
            let line = line.trim_end_matches("\r\n").to_owned();
            transcript.lock().unwrap().push(line.clone());
            // After 354 come the lines of a message, up to the one with a dot.
            if !text.starts_with("354") || line == "." {
                step = line.split(' ').next().unwrap().to_owned();
                break;
            }
        }
    }
}
