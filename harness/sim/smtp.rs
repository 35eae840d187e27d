//! The SMTP server: as much of RFC 5321 as mail clients use, without TLS.

use std::{io::Result, ops::ControlFlow, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{
    carrier::HANG,
    ledger::Channel,
    mail::{self, Answer, Envelope},
    smtp_line::{Connection, MAX_MAIL_BYTES},
    state::{State, recipient},
};

/// Connections at a time; one more is turned away.
const MAX_CONNECTIONS: usize = 1_024;

/// Recipients of one mail.
const MAX_RECIPIENTS: usize = 100;

/// Rejected commands after which a connection is closed.
const MAX_REJECTED: u32 = 20;

/// Wait after an accept failed, as when file descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves connections for ever; dropping the future closes them all.
pub(super) async fn serve(listener: &TcpListener, state: &Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "sim: no SMTP connection could be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let crowded = connections.len() >= MAX_CONNECTIONS;
        connections.spawn(converse(stream, Arc::clone(state), crowded));
    }
}

async fn converse(stream: TcpStream, state: Arc<State>, crowded: bool) {
    let mut connection = Connection::new(stream);
    let ended = if crowded {
        connection.send("421 4.3.2 too many connections\r\n").await
    } else {
        Session::new(connection, state).run().await
    };
    if let Err(error) = ended {
        tracing::debug!(kind = ?error.kind(), "sim: an SMTP connection ended early");
    }
}

struct Session {
    connection: Connection,
    state: Arc<State>,
    greeted: bool,
    authenticated: bool,
    envelope: Option<Envelope>,
    rejected: u32,
}

type Flow = Result<ControlFlow<()>>;

impl Session {
    fn new(connection: Connection, state: Arc<State>) -> Self {
        let authenticated = state.smtp_credentials.is_none();
        Self { connection, state, greeted: false, authenticated, envelope: None, rejected: 0 }
    }

    async fn run(mut self) -> Result<()> {
        self.connection.send("220 stepup-sim ESMTP\r\n").await?;
        while self.rejected < MAX_REJECTED {
            let flow = match self.connection.command().await? {
                Some(line) => self.obey(&line).await?,
                None => self.reply("500 5.5.2 line too long").await?,
            };
            if flow.is_break() {
                return Ok(());
            }
        }
        self.connection.send("421 4.7.0 too many rejected commands\r\n").await
    }

    async fn reply(&mut self, answer: &str) -> Flow {
        if answer.starts_with('5') {
            self.rejected += 1;
        }
        self.connection.send(&format!("{answer}\r\n")).await?;
        Ok(ControlFlow::Continue(()))
    }

    async fn obey(&mut self, line: &str) -> Flow {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" | "HELO" if rest.is_empty() => self.reply("501 5.5.4 who are you?").await,
            "HELO" => {
                (self.greeted, self.envelope) = (true, None);
                self.reply("250 stepup-sim").await
            }
            "EHLO" => {
                (self.greeted, self.envelope) = (true, None);
                let answer = format!(
                    "250-stepup-sim\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
                     250-SIZE {MAX_MAIL_BYTES}\r\n250 AUTH PLAIN LOGIN"
                );
                self.reply(&answer).await
            }
            "AUTH" => self.authenticate(rest).await,
            "MAIL" => {
                let answer = self.begin(rest);
                self.reply(answer).await
            }
            "RCPT" => {
                let answer = self.add_recipient(rest);
                self.reply(answer).await
            }
            "DATA" => self.data().await,
            "RSET" => {
                self.envelope = None;
                self.reply("250 2.0.0 forgotten").await
            }
            "NOOP" => self.reply("250 2.0.0 still here").await,
            "VRFY" => self.reply("252 2.5.0 try to send").await,
            "QUIT" => {
                self.connection.send("221 2.0.0 bye\r\n").await?;
                Ok(ControlFlow::Break(()))
            }
            _ => self.reply("500 5.5.1 unknown command").await,
        }
    }

    fn begin(&mut self, rest: &str) -> &'static str {
        if !self.greeted || self.envelope.is_some() {
            return "503 5.5.1 bad sequence of commands";
        }
        if !self.authenticated {
            return "530 5.7.0 authentication required";
        }
        let Some((from, parameters)) = path(rest, "FROM:") else {
            return "501 5.5.4 expected MAIL FROM:<address>";
        };
        for parameter in parameters.split_ascii_whitespace() {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_uppercase().as_str() {
                "SIZE" => match value.parse::<usize>() {
                    Ok(size) if size <= MAX_MAIL_BYTES => {}
                    Ok(_) => return "552 5.3.4 mail too large",
                    Err(_) => return "501 5.5.4 SIZE must be a number",
                },
                "BODY" | "SMTPUTF8" | "AUTH" => {}
                _ => return "555 5.5.4 unknown parameter",
            }
        }
        self.envelope = Some(Envelope { from: from.to_owned(), recipients: Vec::new() });
        "250 2.1.0 sender ok"
    }

    fn add_recipient(&mut self, rest: &str) -> &'static str {
        let Some(envelope) = &mut self.envelope else {
            return "503 5.5.1 MAIL first";
        };
        if envelope.recipients.len() >= MAX_RECIPIENTS {
            return "452 4.5.3 too many recipients";
        }
        match path(rest, "TO:").and_then(|(address, _)| recipient(address)) {
            Some((Channel::Email, address)) => {
                if !envelope.recipients.contains(&address) {
                    envelope.recipients.push(address);
                }
                "250 2.1.5 recipient ok"
            }
            _ => "501 5.1.3 expected RCPT TO:<address>",
        }
    }

    async fn data(&mut self) -> Flow {
        if self.envelope.as_ref().is_none_or(|envelope| envelope.recipients.is_empty()) {
            return self.reply("503 5.5.1 MAIL and RCPT first").await;
        }
        self.connection.send("354 end with a single dot\r\n").await?;
        let mail = self.connection.mail().await?;
        let Some(envelope) = self.envelope.take() else { return Ok(ControlFlow::Break(())) };
        match mail::judge(&self.state, envelope, mail.as_deref()) {
            Answer::Reply { text, delay } => {
                sleep(delay).await;
                self.connection.send(&format!("{text}\r\n")).await?;
                Ok(ControlFlow::Continue(()))
            }
            Answer::HangUp => Ok(ControlFlow::Break(())),
            Answer::Hang => {
                self.connection.wait_for_end(HANG).await;
                Ok(ControlFlow::Break(()))
            }
        }
    }

    async fn authenticate(&mut self, rest: &str) -> Flow {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let initial = (!initial.is_empty()).then(|| initial.trim().to_owned());
        let presented = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let response = self.challenge("", initial).await?;
                response.and_then(|response| {
                    let mut parts = response.splitn(3, '\0').skip(1).map(str::to_owned);
                    parts.next().zip(parts.next())
                })
            }
            "LOGIN" => {
                let user = self.challenge("VXNlcm5hbWU6", initial).await?;
                match user {
                    Some(user) => {
                        let password = self.challenge("UGFzc3dvcmQ6", None).await?;
                        password.map(|password| (user, password))
                    }
                    None => None,
                }
            }
            _ => return self.reply("504 5.5.4 PLAIN or LOGIN").await,
        };
        let Some(presented) = presented else {
            return self.reply("501 5.5.2 malformed response").await;
        };
        if self.state.smtp_credentials.as_ref().is_some_and(|expected| *expected != presented) {
            return self.reply("535 5.7.8 wrong user or password").await;
        }
        self.authenticated = true;
        self.reply("235 2.7.0 welcome").await
    }

    /// The decoded response to a base64 `prompt`, or `initial` if it came with the command; none
    /// for anything but base64 of UTF-8, as is the `*` that cancels.
    async fn challenge(&mut self, prompt: &str, initial: Option<String>) -> Result<Option<String>> {
        let response = match initial {
            Some(response) => response,
            None => {
                self.connection.send(&format!("334 {prompt}\r\n")).await?;
                self.connection.command().await?.unwrap_or_default()
            }
        };
        let decoded = STANDARD.decode(response).ok();
        Ok(decoded.and_then(|bytes| String::from_utf8(bytes).ok()))
    }
}

/// The address between angle brackets after `keyword`, and the parameters after it.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (found, rest) = rest.split_at_checked(keyword.len())?;
    let path = found.eq_ignore_ascii_case(keyword).then_some(rest)?;
    path.trim_start().strip_prefix('<')?.split_once('>')
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_path_is_between_angle_brackets() {
        assert_eq!(path("FROM:<a@b> SIZE=1", "FROM:"), Some(("a@b", " SIZE=1")));
        assert_eq!(path("from: <>", "FROM:"), Some(("", "")));
        for rest in ["", "FROM:", "FROM:a@b", "TO:<a@b>", "FROM:<a@b", "FRÖM:<a@b>"] {
            assert_eq!(path(rest, "FROM:"), None, "{rest}");
        }
    }
}
