//! The binary of the simulator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// `stepup-harness`, beside the product. Cargo builds it here and not before, since it builds the binaries
/// of a test's own package only.
pub fn harness() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_stepup")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "-p", "stepup-harness"]);
        build.arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "stepup-harness does not build");
        profile.join("stepup-harness")
    });
    &BINARY
}
