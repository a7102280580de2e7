//! `./x miri` and `./x asan`: what the compiler cannot see of orderings and of memory. Not part of `./x test`: Miri needs a
//! nightly toolchain, and both build their dependencies anew.

use std::process::Command;

use crate::project;
use crate::setup::Setup;
use crate::shell::{Result, run, succeeds};

/// The nightly whose Miri runs the ring's tests; of the same version as the pinned toolchain, or later.
const NIGHTLY: &str = "nightly-2026-07-01";
/// The target must be named for `RUSTFLAGS` to leave build scripts and macros alone.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The ring's tests under Miri, which checks the orderings between producer and reader.
pub(crate) fn miri() -> Result<()> {
    let ready = succeeds(Command::new("rustup").args(["run", NIGHTLY, "cargo", "miri", "--version"]));
    if !ready {
        let install = ["toolchain", "install", NIGHTLY, "--profile", "minimal", "-c", "miri", "-c", "rust-src"];
        run(Command::new("rustup").args(install))?;
    }
    let mut miri = Command::new("rustup");
    miri.current_dir(project::root()).env("CARGO_TARGET_DIR", project::target());
    // The environment of the cargo that runs this program names the pinned toolchain.
    miri.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    run(miri.args(["run", NIGHTLY, "cargo", "miri", "test", "--locked", "--package", "kvpath-ring", "--test", "ring"]))
}

/// The tests of the injected library, its mocks and the ring with `AddressSanitizer` in all of them.
pub(crate) fn asan(setup: &Setup) -> Result<()> {
    let cargo = |verb: &str| {
        let mut cargo = setup.cargo();
        // `-Zsanitizer` is not stable, but its runtime comes with the pinned toolchain. It lies in the program, which
        // must export it to the libraries that it loads.
        let flags = "-Zsanitizer=address -Cforce-frame-pointers=yes -Clink-arg=-Wl,--export-dynamic";
        // In a folder of its own: build scripts that look at RUSTC_BOOTSTRAP would have everything built anew afterwards.
        cargo.env("CARGO_TARGET_DIR", project::target().join("asan"));
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
        cargo.args([verb, "--profile", "ci", "--locked", "--target", TARGET]);
        cargo.args(["--package", "kvpath-ring", "--package", "kvpath-inject", "--package", "kvpath-mocks"]);
        cargo
    };
    // The tests load both libraries; cargo test does not build another crate's.
    run(&mut cargo("build"))?;
    run(&mut cargo("test"))
}
