//! `./x deny`: licences, bans and sources of dependencies, by cargo-deny and deny.toml. Not part of `./x test`: cargo-deny takes
//! minutes to build, and what it checks changes only with the lock files.

use std::process::Command;

use crate::project;
use crate::setup;
use crate::shell::{Result, run};

/// What is checked where nothing else is asked for; the database of advisories would have to be fetched.
const CHECKS: [&str; 3] = ["licenses", "bans", "sources"];

/// Checks the dependencies of all three workspaces; `words` name other checks: `advisories`.
pub(crate) fn deny(words: &[String]) -> Result<()> {
    let cargo_deny = setup::tool("cargo-deny", project::CARGO_DENY)?;
    let checks: Vec<&str> = if words.is_empty() { CHECKS.to_vec() } else { words.iter().map(String::as_str).collect() };
    for workspace in ["", "bench", "ebpf"] {
        let manifest = project::root().join(workspace).join("Cargo.toml");
        println!("{}", manifest.display());
        let mut deny = Command::new(&cargo_deny);
        deny.current_dir(project::root()).args(["--locked", "--manifest-path"]).arg(manifest);
        deny.arg("--config").arg(project::root().join("deny.toml")).args(["check", "--hide-inclusion-graph"]);
        run(deny.args(&checks))?;
    }
    Ok(())
}
