//! What the integration tests share: where the binaries and the fixtures lie.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A binary of the workspace, built beside the tests.
///
/// # Panics
/// Where it was not built: `cargo test` alone does not build the binaries of other crates.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests lie in TARGET/PROFILE/deps");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not built; run `./x test`, or `cargo build --workspace` first", path.display());
    path
}

/// `kvpath`, ready for its arguments.
#[must_use]
pub fn kvpath() -> Command {
    Command::new(binary("kvpath"))
}

/// A file or folder of `tests/fixtures`.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
