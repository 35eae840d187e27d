//! Raw TCP servers on loopback, for the tests of this folder.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

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
pub(super) async fn never_answer(mut stream: TcpStream) {
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

async fn converse(stream: TcpStream, acts: Acts, transcript: Transcript) {
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
