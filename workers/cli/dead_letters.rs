//! `stepup dead-letters`.

use clap::Subcommand;
use stepup::broker::dead::{self, DeadView};
use stepup::config::Need;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::connect::{broker, configured, keyring};
use crate::cli::output::print;

/// What can be done with dead letters.
#[derive(Subcommand)]
pub enum DeadLetters {
    /// One line each: id, reason, key, worker, detail; separated by tabs.
    List {
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// All that is known of one; not its body, which may hold anything.
    Show {
        /// Its id, as `list` shows it, or its message_id.
        id: String,
        /// Show the body too, opened with STEPUP_KEYS.
        #[arg(long)]
        open: bool,
    },
    /// Publish one again, as if it came for the first time.
    Replay {
        /// Its id, as `list` shows it, or its message_id.
        id: String,
    },
    /// Throw one away.
    Drop {
        /// Its id, as `list` shows it, or its message_id.
        id: String,
    },
}

/// Reads or handles dead letters.
///
/// # Errors
/// When the broker is away or there is no such letter.
pub async fn run(command: DeadLetters) -> Result<(), String> {
    let config = configured(&[Need::Broker])?;
    let broker = broker(&config, "stepup-dead-letters")?;
    let done = match command {
        DeadLetters::List { limit } => {
            let letters = dead::list(&broker, limit).await.map_err(|fault| fault.to_string())?;
            letters.iter().for_each(|letter| print(&line(letter)));
            if letters.len() < limit {
                print(&format!("{} dead letters", letters.len()));
            } else {
                print(&format!("the first {limit} dead letters; for more: --limit"));
            }
            true
        }
        DeadLetters::Show { id, open } => {
            let found = dead::show(&broker, &id).await.map_err(|fault| fault.to_string())?;
            if let Some((letter, body)) = &found {
                print(&sheet(letter));
                if open {
                    let body = if letter.sealed { opened(body)? } else { body.clone() };
                    print(&format!("body          {}", shown(&String::from_utf8_lossy(&body))));
                }
            }
            found.is_some()
        }
        DeadLetters::Replay { id } => {
            dead::replay(&broker, &id, opened).await.map_err(|fault| fault.to_string())?
        }
        DeadLetters::Drop { id } => {
            dead::drop(&broker, &id).await.map_err(|fault| fault.to_string())?
        }
    };
    if done { Ok(()) } else { Err("no such dead letter".to_owned()) }
}

/// The body of a sealed dead letter.
fn opened(sealed: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(sealed).map_err(|_| "is not sealed".to_owned())?;
    let clear = keyring()?.open_request(text).map_err(|why| why.to_string())?;
    Ok(clear.to_vec())
}

fn line(letter: &DeadView) -> String {
    let DeadView { id, reason, key, worker, detail, .. } = letter;
    [id, reason, key, worker, detail].map(|text| shown(text)).join("\t")
}

fn sheet(letter: &DeadView) -> String {
    let time = |time: Option<OffsetDateTime>| {
        time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let rows = [
        ("id", letter.id.clone()),
        ("message_id", text(&letter.message_id)),
        ("key", letter.key.clone()),
        ("reason", letter.reason.clone()),
        ("detail", letter.detail.clone()),
        ("worker", letter.worker.clone()),
        ("queue", letter.queue.clone()),
        ("attempts", letter.attempt.to_string()),
        ("first seen", time(letter.first_seen)),
        ("published at", time(letter.published_at)),
        ("user", text(&letter.user)),
        ("app", text(&letter.app)),
        (
            "body",
            format!(
                "{} bytes, {}",
                letter.bytes,
                if letter.sealed { "sealed" } else { "as published" }
            ),
        ),
    ];
    rows.map(|(name, value)| format!("{name:<14}{}", shown(&value))).join("\n")
}

/// A text of a stranger as a terminal may have it: what would steer the terminal is escaped, and so
/// is the backslash, so that nothing looks like an escape that is none. `-` for nothing.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        assert_eq!(shown("\u{1b}[2J\r\n\tx"), "\\u{1b}[2J\\r\\n\\tx");
        assert_eq!(shown("\u{202e}evil\u{7f}\u{9b}1m"), "\\u{202e}evil\\u{7f}\\u{9b}1m");
        assert_eq!(shown("\\u{1b}"), "\\\\u{1b}");
        assert_eq!(shown(r#"it's "quoted", é and 家"#), r#"it's "quoted", é and 家"#);
        assert_eq!(shown(""), "-");
    }
}
