//! What becomes of a mail that came by SMTP.

use std::time::Duration;

use mail_parser::MessageParser;

use super::{
    faults::Fault,
    ledger::{Channel, Content, Record, Unrecorded},
    state::{State, new_provider_ref, now},
};

/// The header with the sender's own name for the mail.
const REFERENCE: &str = "X-Stepup-Reference";

/// Sender and recipients as the SMTP commands gave them.
pub(super) struct Envelope {
    /// Empty for a bounce.
    pub from: String,
    /// In the ledger's spelling, each once.
    pub recipients: Vec<String>,
}

/// The answer to the end of DATA.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// One line, after `delay`.
    Reply { text: String, delay: Duration },
    /// None; the connection stays open.
    Hang,
    /// None; the connection closes.
    HangUp,
}

/// Accepts a mail for all its recipients or for none, as there is one answer for all of them.
///
/// `mail` is none if it was too large. If the recipients have several faults, the one that keeps
/// the mail out goes first, then the first one.
pub(super) fn judge(state: &State, envelope: Envelope, mail: Option<&[u8]>) -> Answer {
    let Some(mail) = mail else {
        let text = "552 5.3.4 mail too large";
        return refuse(state, &envelope, text).unwrap_or_else(|reason| temporary(&reason));
    };
    let (reference, content) = parse(mail, &envelope.from);
    accept(state, &envelope, reference, &content).unwrap_or_else(|reason| temporary(&reason))
}

fn accept(
    state: &State,
    envelope: &Envelope,
    reference: Option<String>,
    content: &Content,
) -> Result<Answer, Unrecorded> {
    let provider_ref = new_provider_ref();
    let at = now();
    let mut books = state.books();
    let recipients = envelope.recipients.iter();
    let faults: Vec<_> = recipients.clone().map(|to| books.faults.take(to)).collect();
    let ordered = || faults.iter().flatten();
    let spoiled = ordered().find(|fault| !fault.accepts());
    let answer = answer(spoiled.or_else(|| ordered().next()), &provider_ref);
    let records = recipients.clone().zip(&faults).map(|(to, fault)| {
        let mut record = Record::new(Channel::Email, at);
        record.entry.to = Some(to.clone());
        record.entry.reference.clone_from(&reference);
        record.entry.fault = fault.as_ref().map(|fault| fault.name().into());
        record.entry.answer = code(&answer);
        if spoiled.is_none() {
            record.entry.provider_ref = Some(provider_ref.clone());
            record.entry.accepted = true;
            record.entry.shown = *fault != Some(Fault::Lose);
            record.content = record.entry.shown.then(|| content.clone());
        }
        record
    });
    books.ledger.append(records.collect())?;
    drop(books);
    recipients.for_each(|to| state.ring(to));
    Ok(answer)
}

fn answer(fault: Option<&Fault>, provider_ref: &str) -> Answer {
    let delay = fault.map(Fault::delay).unwrap_or_default();
    let text = match fault {
        None | Some(Fault::Slow { .. } | Fault::Lose) => {
            format!("250 2.0.0 accepted as {provider_ref}")
        }
        Some(Fault::Status { .. } | Fault::Throttle { .. }) => "451 4.3.0 try again later".into(),
        Some(Fault::Refuse) => "550 5.1.1 no such mailbox".into(),
        Some(Fault::Hang) => return Answer::Hang,
        Some(Fault::HangUp) => return Answer::HangUp,
    };
    Answer::Reply { text, delay }
}

fn refuse(state: &State, envelope: &Envelope, text: &str) -> Result<Answer, Unrecorded> {
    let answer = Answer::Reply { text: text.into(), delay: Duration::ZERO };
    let at = now();
    let records = envelope.recipients.iter().map(|to| {
        let mut record = Record::new(Channel::Email, at);
        record.entry.to = Some(to.clone());
        record.entry.answer = code(&answer);
        record
    });
    state.books().ledger.append(records.collect())?;
    Ok(answer)
}

fn temporary(reason: &Unrecorded) -> Answer {
    Answer::Reply { text: format!("452 4.3.1 {reason}"), delay: Duration::ZERO }
}

fn code(answer: &Answer) -> Option<u16> {
    match answer {
        Answer::Reply { text, .. } => text.get(..3)?.parse().ok(),
        Answer::Hang | Answer::HangUp => None,
    }
}

/// The reference, and what a mailbox shows. A mail that cannot be read is shown as it came.
fn parse(mail: &[u8], envelope_from: &str) -> (Option<String>, Content) {
    let Some(message) = MessageParser::default().parse(mail) else {
        let text = String::from_utf8_lossy(mail).into_owned();
        let from = Some(envelope_from.into());
        let content = Content { from, text, ..Content::default() };
        return (None, content);
    };
    let reference = message.header(REFERENCE).and_then(|value| value.as_text());
    let from = message.from().and_then(|from| from.first()).and_then(|from| from.address());
    let to = message.to().and_then(|to| to.first()).and_then(|to| to.address());
    let content = Content {
        to: to.map(str::to_owned),
        from: Some(from.unwrap_or(envelope_from).to_owned()),
        subject: message.subject().map(str::to_owned),
        text: message.body_text(0).unwrap_or_default().replace("\r\n", "\n"),
    };
    (reference.map(|reference| reference.trim().to_owned()), content)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_mail_of_encoded_words_and_quoted_printable_is_decoded() {
        let mail = b"From: Shop <shop@example.org>\r\n\
            To: ana@example.org\r\n\
            x-stepup-reference:  0198d7a0-0000-7000-8000-000000000001\r\n\
            Subject: =?utf-8?b?SWhyIENvZGUgZsO8cg==?= =?utf-8?q?_Zo=C3=AB?=\r\n\
            MIME-Version: 1.0\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\
            \r\n\
            F=C3=BCr Sie:=\r\n 123456\r\nbis bald\r\n";
        let (reference, content) = parse(mail, "bounce@example.org");
        assert_eq!(reference.as_deref(), Some("0198d7a0-0000-7000-8000-000000000001"));
        assert_eq!(content.from.as_deref(), Some("shop@example.org"));
        assert_eq!(content.subject.as_deref(), Some("Ihr Code für Zoë"));
        assert_eq!(content.text, "Für Sie: 123456\nbis bald\n");
    }

    #[test]
    fn the_text_part_of_a_mail_with_alternatives_is_shown() {
        let mail = b"Content-Type: multipart/alternative; boundary=x\r\n\r\n\
            --x\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: base64\r\n\r\nw6TDtsO8\r\n\
            --x\r\nContent-Type: text/html\r\n\r\n<b>no</b>\r\n--x--\r\n";
        let (reference, content) = parse(mail, "bounce@example.org");
        assert_eq!((reference, content.subject), (None, None));
        assert_eq!(content.from.as_deref(), Some("bounce@example.org"));
        assert_eq!(content.text, "äöü");
    }

    #[test]
    fn garbage_does_not_stop_the_parser() {
        for mail in [&b""[..], b"\r\n", b"\xff\xfe\0", b"Subject", b"Content-Type: multipart/x"] {
            let (_, content) = parse(mail, "a@b");
            assert_eq!(content.from.as_deref(), Some("a@b"));
        }
    }
}
