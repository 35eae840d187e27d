//! Lines of an SMTP connection: read with a bound and a deadline, written at once.

use std::{
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long a client may take for one line, and to take one answer.
const LINE_TIME: Duration = Duration::from_secs(60);

/// The largest mail, in bytes; announced as `SIZE`.
pub(super) const MAX_MAIL_BYTES: usize = 1024 * 1024;

/// After this many bytes of a mail that is too large its end is no longer awaited.
const MAX_DISCARDED_BYTES: usize = 16 * MAX_MAIL_BYTES;

/// The longest command line, by RFC 4954 for the sake of AUTH.
const MAX_COMMAND_BYTES: usize = 12_288;

/// One connection. What was read ahead stays in it, so clients may pipeline.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Takes over a socket.
    pub fn new(stream: TcpStream) -> Self {
        // No more than latency is lost when it cannot be set.
        let _ = stream.set_nodelay(true);
        Self(BufReader::new(stream))
    }

    /// Sends one complete answer, its last line's end included.
    pub async fn send(&mut self, answer: &str) -> Result<()> {
        let sending = self.0.get_mut().write_all(answer.as_bytes());
        timeout(LINE_TIME, sending).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
    }

    /// The next command without its end; none when it was too long.
    ///
    /// # Errors
    ///
    /// When the client left, was silent for too long, or the connection broke.
    pub async fn command(&mut self) -> Result<Option<String>> {
        let line = self.line(MAX_COMMAND_BYTES).await?;
        Ok(line.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    /// A mail up to the line with a single dot, dots unstuffed; none when it was too large.
    ///
    /// # Errors
    ///
    /// As [`Self::command`].
    pub async fn mail(&mut self) -> Result<Option<Vec<u8>>> {
        let mut mail = Vec::new();
        let mut received_bytes = 0;
        let mut too_large = false;
        loop {
            let Some(line) = self.line(MAX_MAIL_BYTES).await? else {
                received_bytes += MAX_MAIL_BYTES;
                too_large = true;
                continue;
            };
            if matches!(&line[..], b".\r\n" | b".\n") {
                return Ok((!too_large).then_some(mail));
            }
            received_bytes += line.len();
            if received_bytes > MAX_DISCARDED_BYTES {
                return Err(Error::from(ErrorKind::FileTooLarge));
            }
            let content = line.strip_prefix(b".").unwrap_or(&line);
            if mail.len() + content.len() > MAX_MAIL_BYTES {
                too_large = true;
            } else if !too_large {
                mail.extend_from_slice(content);
            }
        }
    }

    /// Returns when the client has left, or after `limit`; whatever it says meanwhile is ignored.
    pub async fn wait_for_end(&mut self, limit: Duration) {
        let mut ignored = [0; 512];
        let end = async { while !matches!(self.0.read(&mut ignored).await, Ok(0) | Err(_)) {} };
        // Both ends mean the same to the caller.
        let _ = timeout(limit, end).await;
    }

    /// The next line with its end; none for one longer than `limit`, which is read to its end.
    async fn line(&mut self, limit: usize) -> Result<Option<Vec<u8>>> {
        let reading = async {
            let mut line = Vec::new();
            let mut too_long = false;
            let mut read_bytes = 0;
            loop {
                let available = self.0.fill_buf().await?;
                if available.is_empty() {
                    return Err(Error::from(ErrorKind::UnexpectedEof));
                }
                let end = available.iter().position(|byte| *byte == b'\n');
                let taken = end.map_or(available.len(), |end| end + 1);
                too_long |= line.len() + taken > limit;
                if !too_long {
                    line.extend_from_slice(&available[..taken]);
                }
                self.0.consume(taken);
                read_bytes += taken;
                if read_bytes > MAX_DISCARDED_BYTES {
                    return Err(Error::from(ErrorKind::FileTooLarge));
                }
                if end.is_some() {
                    return Ok((!too_long).then_some(line));
                }
            }
        };
        timeout(LINE_TIME, reading).await.map_err(|_| Error::from(ErrorKind::TimedOut))?
    }
}
