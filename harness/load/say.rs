//! What a run says while it goes on.

use stepup::fault::Fault;
use stepup_workers::cli::output::complain;

pub(super) fn say(text: &str) {
    complain(&format!("load: {text}"));
}

pub(super) fn fault<T>(result: Result<T, Fault>) -> Result<T, String> {
    result.map_err(|fault| fault.to_string())
}
