//! What may not change while the product is rebuilt: the wire, and the messages that a version before
//! has left in the queues.
//!
//! - `frozen/wire.json`: requests, commands, events, settings, metrics, exchanges and queues. What is
//!   listed must still be so; what is new passes without an edit of the file. A field that a message
//!   needs and an argument of a queue can be neither added nor taken away.
//! - `frozen/messages.json`: messages as they stand in queues, the rows that they are about, and how
//!   each ends. The test puts them there before any process runs, and none may be lost.
//!
//! Both are written from the product itself, by the version whose wire they hold:
//!
//! ```sh
//! FREEZE=write cargo test -p stepup-workers --test it frozen::record -- --nocapture
//! ```
//!
//! Do that only to freeze another version: a difference is a break of what runs elsewhere.

mod declared;
mod messages;
mod record;
mod taken;
mod wire;

use std::path::{Path, PathBuf};

use serde_json::Value;

const WIDTH: usize = 110;

fn path(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("tests/it/frozen").join(name)
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

fn write(name: &str, value: &Value) {
    std::fs::write(path(name), format!("{}\n", pretty(value, 0))).unwrap();
}

/// JSON with all on one line that has room on one, and each row of a table.
fn pretty(value: &Value, depth: usize) -> String {
    let short = value.to_string();
    let fits = short.len() + 2 * depth <= WIDTH || depth > 3;
    let (open, lines, close) = match value {
        Value::Object(members) if !fits => {
            let line =
                |(name, value)| format!("{}: {}", Value::from(name), pretty(value, depth + 1));
            ("{", members.iter().map(|(name, value)| line((name.as_str(), value))).collect(), "}")
        }
        Value::Array(values) if !fits => {
            ("[", values.iter().map(|value| pretty(value, depth + 1)).collect::<Vec<_>>(), "]")
        }
        _ => return short,
    };
    let indent = "  ".repeat(depth);
    format!("{open}\n{indent}  {}\n{indent}{close}", lines.join(&format!(",\n{indent}  ")))
}
