//! Every call in the order of acceptance, and the phones and mailboxes that follow from it.
//!
//! With a file, each record is one JSON line, handed to the operating system before the call is
//! answered: it outlives the process, not the machine.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// How a message reaches its recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Channel {
    /// To a phone.
    Sms,
    /// To a mailbox.
    Email,
}

/// What the ledger says of one call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Position in the ledger, from 1.
    pub seq: usize,
    /// When the call was judged.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How it came.
    pub channel: Channel,
    /// Number or address; none if the call could not be read or trusted.
    pub to: Option<String>,
    /// The sender's own name for the message.
    pub reference: Option<String>,
    /// Our name for the message, if accepted.
    pub provider_ref: Option<String>,
    /// Whether we took responsibility for it.
    pub accepted: bool,
    /// Whether it appears on the phone or in the mailbox.
    pub shown: bool,
    /// Whether an accepted message was sent to us again.
    pub repeat: bool,
    /// The fault that was applied.
    pub fault: Option<Cow<'static, str>>,
    /// HTTP status or SMTP code; none if the call was not answered.
    pub answer: Option<u16>,
}

/// What a phone or mailbox shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Content {
    /// Sender of a mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Recipient of a mail, as its header names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Subject of a mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The message.
    pub text: String,
}

impl Content {
    fn bytes(&self) -> usize {
        let header = |field: &Option<String>| field.as_ref().map_or(0, String::len);
        header(&self.from) + header(&self.to) + header(&self.subject) + self.text.len()
    }
}

/// One line of the ledger's file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The public part.
    #[serde(flatten)]
    pub entry: Entry,
    /// The carrier's idempotency key, on the record of the message's acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<String>,
    /// Present if shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

impl Record {
    /// The record of a call that was not accepted; the caller sets what is different.
    pub fn new(channel: Channel, at: OffsetDateTime) -> Self {
        let entry = Entry {
            seq: 0,
            at,
            channel,
            to: None,
            reference: None,
            provider_ref: None,
            accepted: false,
            shown: false,
            repeat: false,
            fault: None,
            answer: None,
        };
        Self { entry, webhook_id: None, content: None }
    }
}

/// How much is kept.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Shown messages.
    pub messages: usize,
    /// Records, with those of repeats and of calls that were not accepted.
    pub records: usize,
    /// Bytes of shown messages.
    pub content_bytes: usize,
}

impl Limits {
    /// The limits of the running simulator.
    pub const STANDARD: Self =
        Self { messages: 1_000_000, records: 2_000_000, content_bytes: 512 * 1024 * 1024 };
}

/// Why a call cannot be recorded, and therefore not be accepted.
#[derive(Debug)]
pub(super) enum Unrecorded {
    /// A limit is reached.
    Full,
    /// The file cannot be written.
    File(std::io::Error),
}

impl fmt::Display for Unrecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the simulator is full; DELETE /ledger empties it"),
            Self::File(error) => write!(f, "the simulator's ledger file: {error}"),
        }
    }
}

/// Positions of the shown messages in the ledger, by recipient.
pub(super) type Inboxes = BTreeMap<String, Vec<usize>>;

/// The records and what is derived from them.
pub(super) struct Ledger {
    records: Vec<Arc<Record>>,
    phones: Inboxes,
    mailboxes: Inboxes,
    /// Provider references by idempotency key.
    answers: HashMap<String, String>,
    shown_messages: usize,
    shown_bytes: usize,
    limits: Limits,
    file: Option<LedgerFile>,
}

impl Ledger {
    /// An empty ledger, or the one that `path` holds.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened or read, holds something else than a ledger, or another
    /// process has it open.
    pub fn open(path: Option<&Path>, limits: Limits) -> Result<Self, String> {
        let mut ledger = Self {
            records: Vec::new(),
            phones: Inboxes::new(),
            mailboxes: Inboxes::new(),
            answers: HashMap::new(),
            shown_messages: 0,
            shown_bytes: 0,
            limits,
            file: None,
        };
        if let Some(path) = path {
            let at = |error| format!("STEPUP_SIM_LEDGER_FILE: {}: {error}", path.display());
            ledger.file = Some(LedgerFile::open(path, |record| ledger.keep(record)).map_err(at)?);
        }
        Ok(ledger)
    }

    /// Numbers and keeps `records`, all or none. When it returns they are written.
    pub fn append(&mut self, mut records: Vec<Record>) -> Result<(), Unrecorded> {
        let contents = || records.iter().filter_map(|record| record.content.as_ref());
        let bytes: usize = contents().map(Content::bytes).sum();
        if self.records.len() + records.len() > self.limits.records
            || self.shown_messages + contents().count() > self.limits.messages
            || self.shown_bytes + bytes > self.limits.content_bytes
        {
            return Err(Unrecorded::Full);
        }
        for (seq, record) in (self.records.len() + 1..).zip(&mut records) {
            record.entry.seq = seq;
        }
        if let Some(file) = &mut self.file {
            file.write(&records).map_err(Unrecorded::File)?;
        }
        records.into_iter().for_each(|record| self.keep(record));
        Ok(())
    }

    fn keep(&mut self, record: Record) {
        let position = self.records.len();
        let entry = &record.entry;
        if let (Some(content), Some(to)) = (&record.content, &entry.to) {
            self.shown_messages += 1;
            self.shown_bytes += content.bytes();
            let inboxes = match entry.channel {
                Channel::Sms => &mut self.phones,
                Channel::Email => &mut self.mailboxes,
            };
            match inboxes.get_mut(to) {
                Some(inbox) => inbox.push(position),
                None => drop(inboxes.insert(to.clone(), vec![position])),
            }
        }
        if let (Some(id), Some(provider_ref)) = (&record.webhook_id, &entry.provider_ref) {
            self.answers.insert(id.clone(), provider_ref.clone());
        }
        self.records.push(Arc::new(record));
    }

    /// Forgets everything, also in the file. Numbering begins anew.
    pub fn clear(&mut self) -> Result<(), Unrecorded> {
        if let Some(file) = &mut self.file {
            file.truncate(0).map_err(Unrecorded::File)?;
        }
        self.records.clear();
        self.phones.clear();
        self.mailboxes.clear();
        self.answers.clear();
        (self.shown_messages, self.shown_bytes) = (0, 0);
        Ok(())
    }

    /// How the message with this idempotency key was answered when it was accepted.
    pub fn provider_ref_for(&self, webhook_id: &str) -> Option<&str> {
        self.answers.get(webhook_id).map(String::as_str)
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Up to `limit` records after the first `after`, oldest first.
    pub fn page(&self, after: usize, limit: usize) -> Vec<Arc<Record>> {
        self.records.iter().skip(after).take(limit).cloned().collect()
    }

    /// The last `limit` shown messages, newest first.
    pub fn latest(&self, limit: usize) -> Vec<Arc<Record>> {
        let shown = self.records.iter().rev().filter(|record| record.content.is_some());
        shown.take(limit).cloned().collect()
    }

    /// The phones or mailboxes that ever got a message.
    pub fn inboxes(&self, channel: Channel) -> &Inboxes {
        match channel {
            Channel::Sms => &self.phones,
            Channel::Email => &self.mailboxes,
        }
    }

    /// The messages of one phone or mailbox, oldest first.
    pub fn messages(&self, channel: Channel, recipient: &str) -> Vec<Arc<Record>> {
        let positions = self.inboxes(channel).get(recipient).map_or(&[][..], Vec::as_slice);
        positions.iter().map(|position| Arc::clone(&self.records[*position])).collect()
    }

    /// One message of a phone or mailbox, counted from 0.
    pub fn message(&self, channel: Channel, recipient: &str, index: usize) -> Option<Arc<Record>> {
        let position = *self.inboxes(channel).get(recipient)?.get(index)?;
        Some(Arc::clone(&self.records[position]))
    }
}

/// The file, always a whole number of lines long.
struct LedgerFile {
    file: File,
    bytes: u64,
}

impl LedgerFile {
    fn open(path: &Path, mut keep: impl FnMut(Record)) -> Result<Self, String> {
        // Readable by the owner only: it holds what phones and mailboxes hold.
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| error.to_string())?;
        file.try_lock().map_err(|error| error.to_string())?;
        let mut opened = Self { file, bytes: 0 };
        let mut reader = BufReader::new(&opened.file);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
            // A last line without its end was being written when the process died: it was never
            // answered for.
            if !line.ends_with(b"\n") {
                break;
            }
            let record = serde_json::from_slice(&line);
            keep(record.map_err(|error| format!("line {number} is no record: {error}"))?);
            opened.bytes += read as u64;
        }
        opened.truncate(opened.bytes).map_err(|error| error.to_string())?;
        Ok(opened)
    }

    fn write(&mut self, records: &[Record]) -> std::io::Result<()> {
        let mut lines = Vec::with_capacity(512 * records.len());
        for record in records {
            serde_json::to_writer(&mut lines, record)?;
            lines.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&lines) {
            // Part of a line would spoil the next one.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> std::io::Result<()> {
        self.file.set_len(bytes)?;
        self.bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write,
        path::{Path, PathBuf},
    };

    use time::OffsetDateTime;

    use super::{Channel, Content, Ledger, Limits, Record, Unrecorded};

    fn shown(to: &str, text: &str) -> Record {
        let mut record = Record::new(Channel::Sms, OffsetDateTime::UNIX_EPOCH);
        record.entry.to = Some(to.into());
        record.entry.provider_ref = Some(format!("ref-{text}"));
        record.webhook_id = Some(format!("id-{text}"));
        record.content = Some(Content { text: text.into(), ..Content::default() });
        record
    }

    fn file(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sim-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    fn open(path: &Path) -> Ledger {
        Ledger::open(Some(path), Limits::STANDARD).unwrap()
    }

    #[test]
    fn a_reopened_ledger_holds_what_was_written_but_for_a_torn_last_line() {
        let path = file("reopened");
        let mut ledger = open(&path);
        ledger.append(vec![shown("+1", "a"), shown("+2", "b")]).unwrap();
        ledger.append(vec![Record::new(Channel::Email, OffsetDateTime::UNIX_EPOCH)]).unwrap();
        drop(ledger);
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"seq\":4").unwrap();

        let mut ledger = open(&path);
        assert_eq!(ledger.page(0, 10).len(), 3);
        assert_eq!(ledger.provider_ref_for("id-b"), Some("ref-b"));
        assert_eq!(ledger.messages(Channel::Sms, "+1").len(), 1);
        ledger.append(vec![shown("+1", "c")]).unwrap();
        drop(ledger);

        let ledger = open(&path);
        let seqs: Vec<_> = ledger.page(1, 10).iter().map(|record| record.entry.seq).collect();
        assert_eq!(seqs, [2, 3, 4]);
        assert!(ledger.message(Channel::Sms, "+1", 1).is_some());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_cleared_ledger_stays_empty_when_it_is_reopened() {
        let path = file("cleared");
        let mut ledger = open(&path);
        ledger.append(vec![shown("+1", "a")]).unwrap();
        ledger.clear().unwrap();
        ledger.append(vec![shown("+1", "b")]).unwrap();
        drop(ledger);
        let ledger = open(&path);
        assert_eq!(ledger.page(0, 10)[0].entry.seq, 1);
        assert_eq!(ledger.provider_ref_for("id-a"), None);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_that_is_in_use_or_no_ledger_is_refused() {
        let path = file("refused");
        let ledger = open(&path);
        assert!(Ledger::open(Some(&path), Limits::STANDARD).is_err());
        drop(ledger);
        fs::write(&path, "no ledger\n").unwrap();
        let error = Ledger::open(Some(&path), Limits::STANDARD).err().unwrap();
        assert!(error.contains("line 1"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "no ledger\n");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_full_ledger_refuses_whole_calls_and_keeps_what_it_has() {
        for limits in [
            Limits { messages: 2, ..Limits::STANDARD },
            Limits { records: 2, ..Limits::STANDARD },
            Limits { content_bytes: 2, ..Limits::STANDARD },
        ] {
            let mut ledger = Ledger::open(None, limits).unwrap();
            ledger.append(vec![shown("+1", "a")]).unwrap();
            let two = vec![shown("+1", "b"), shown("+1", "c")];
            assert!(matches!(ledger.append(two), Err(Unrecorded::Full)));
            assert_eq!(ledger.messages(Channel::Sms, "+1").len(), 1);
            ledger.append(vec![shown("+1", "b")]).unwrap();
            assert_eq!(ledger.latest(1)[0].content.as_ref().unwrap().text, "b");
        }
    }
}
