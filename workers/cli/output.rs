//! What a command says to the one who typed it.

use std::io::{self, ErrorKind, Write};
use std::process;

/// The exit code that a shell shows for a program that SIGPIPE has ended. It is no success: the rest of
/// `stepup audit verify`, for example, was not said.
const CLOSED: i32 = 141;

/// Prints a line of a command's answer. A reader that wants no more of it, such as `head`, ends the
/// command without a word.
pub fn print(text: &str) {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(CLOSED),
        Err(error) => {
            complain(&format!("stepup: cannot print: {error}"));
            process::exit(1);
        }
    }
}

/// Prints a line about a command that is no part of its answer: an error, progress.
pub fn complain(text: &str) {
    // There is no other place to say that this one is closed.
    let _ = writeln!(io::stderr(), "{text}");
}
