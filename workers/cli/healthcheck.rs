//! `stepup healthcheck`: asks the process in the same container whether it is ready, as an exit code and
//! one line. The image has no shell and no other HTTP client.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use stepup::config;

/// Longer than `/readyz` waits for a broker and a database that are both silent.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// More than any answer.
const ANSWER_BYTES: u64 = 16 * 1024;

/// Asks the process that has this environment.
///
/// # Errors
/// One line that says why it is not ready.
pub fn run() -> Result<String, String> {
    ask(config::metrics_addr()?, "/readyz")
}

/// Asks a process whether it is ready.
///
/// # Errors
/// One line that says why it is not.
pub fn ask(address: SocketAddr, path: &str) -> Result<String, String> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let answer =
        answer(address, path).map_err(|error| format!("{address} gives no answer: {error}"))?;
    judged(&answer).map_err(|why| format!("{address} is not ready: {why}"))
}

/// What listens on every address is asked on the loopback.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn answer(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

/// The body of an answer as one line, if its status is 200.
fn judged(answer: &str) -> Result<String, String> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("it speaks no HTTP")?;
    let said = body.lines().collect::<Vec<_>>().join("; ");
    match head.split(' ').nth(1) {
        Some("200") => Ok(said),
        _ if said.is_empty() => Err(head.lines().next().unwrap_or_default().to_owned()),
        _ => Err(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_with_status_200_is_ready() {
        let answer = |status: &str, body: &str| format!("HTTP/1.0 {status}\r\na: b\r\n\r\n{body}");
        assert_eq!(judged(&answer("200 OK", "ready\n")), Ok("ready".into()));
        let why = judged(&answer("503 Service Unavailable", "starting\nthe database is down\n"));
        assert_eq!(why, Err("starting; the database is down".into()));
        assert_eq!(judged(&answer("404 Not Found", "")), Err("HTTP/1.0 404 Not Found".into()));
        assert!(judged("220 mail.example ESMTP\r\n").is_err());
        assert!(judged("").is_err());
    }

    #[test]
    fn what_listens_everywhere_is_asked_on_the_loopback() {
        for (listens, asked) in [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.7", "10.0.0.7")]
        {
            assert_eq!(reachable(listens.parse().unwrap()), asked.parse::<IpAddr>().unwrap());
        }
    }
}
