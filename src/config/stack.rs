//! The stacks of the process's threads.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The stack of every thread that asks for no size of its own, in bytes. Only what is used of it
/// takes memory.
///
/// The AMQP client reads a message's headers by recursion, on a thread whose stack nobody can set,
/// and a stack that overflows ends the process. A level costs up to 1.9 kB (10 kB in a debug build)
/// and 5 bytes of the message; a header travels in one frame. So this is room for the deepest one in
/// RabbitMQ's default of 131072 bytes (40 MB), and, in a debug build, in the 8192 bytes that our own
/// brokers are set to (14 MB).
pub const THREAD_STACK_BYTES: usize = 64 * 1024 * 1024;

/// What the standard library takes the size from, once, when the first thread is made.
const VARIABLE: &str = "RUST_MIN_STACK";

/// Starts this program anew in its own place (same process id, same arguments) with deep stacks,
/// unless it has them. To be called before any thread is made.
///
/// # Errors
/// A sentence for the operator, when the program cannot be started anew.
pub fn ensure_deep_stacks() -> Result<(), String> {
    let given = env::var_os(VARIABLE).and_then(|bytes| bytes.to_str()?.parse().ok());
    if given.is_some_and(|bytes: usize| bytes >= THREAD_STACK_BYTES) {
        return Ok(());
    }
    let bytes = THREAD_STACK_BYTES.to_string();
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    // Comes back only if it fails.
    let error = env::current_exe().map_or_else(
        |error| error,
        |program| Command::new(program).arg0(name).args(arguments).env(VARIABLE, &bytes).exec(),
    );
    Err(format!("cannot start itself with deep stacks ({error}): set {VARIABLE}={bytes}"))
}
