//! `./x lint`: format, clippy and documentation, warnings denied, of all three workspaces.

use std::process::Command;

use crate::project;
use crate::setup::Setup;
use crate::shell::{Result, has, run};

/// What agent/build.rs builds the BPF programs for.
const BPF_TARGET: &str = "bpfel-unknown-none";

/// Checks format, lints and documentation.
pub(crate) fn lint(setup: &Setup) -> Result<()> {
    run(setup.cargo().args(["fmt", "--all", "--check"]))?;
    for apart in ["ebpf", "bench"] {
        run(Command::new("cargo").args(["fmt", "--check"]).current_dir(project::root().join(apart)))?;
    }
    let mut clippy = setup.cargo();
    clippy.args(["clippy", "--all-targets", "--profile", "ci", "--locked", "--quiet"]).args(setup.buildable());
    run(clippy.args(["--", "--deny", "warnings"]))?;
    let mut doc = setup.cargo();
    doc.args(["doc", "--no-deps", "--document-private-items", "--profile", "ci", "--locked", "--quiet"])
        .args(setup.buildable());
    // These pages are for those who change kvpath: private modules are in them, and an overview may name them.
    run(doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links"))?;
    if has("actionlint") {
        run(Command::new("actionlint").current_dir(project::root()))?;
    } else {
        println!("skipped: .github/workflows is not checked: no actionlint on the path");
    }
    Ok(())
}

/// Clippy over the benchmarks and the BPF programs, which build their dependencies anew: `./x lint` alone does.
pub(crate) fn apart(setup: &Setup) -> Result<()> {
    if setup.no_build.is_some() {
        return Ok(());
    }
    run(&mut bench(setup))?;
    run(&mut ebpf(setup))
}

/// Clippy over the benchmarks, which are a workspace of their own.
fn bench(setup: &Setup) -> Command {
    let mut clippy = setup.cargo();
    clippy.current_dir(project::root().join("bench"));
    clippy.args(["clippy", "--all-targets", "--profile", "ci", "--locked", "--quiet", "--", "--deny", "warnings"]);
    clippy
}

/// Clippy over the BPF programs: for their target, whose core is not prebuilt. Not pedantic: what it says of casts and of
/// inlining is against what the verifier needs.
fn ebpf(setup: &Setup) -> Command {
    let mut clippy = setup.cargo();
    clippy.current_dir(project::root().join("ebpf"));
    // In a folder of its own: build scripts that look at RUSTC_BOOTSTRAP would have everything built anew afterwards.
    clippy.env("CARGO_TARGET_DIR", project::target().join("lint-ebpf")).env("RUSTC_BOOTSTRAP", "1");
    // As aya-build says it to the programs.
    clippy.env("CARGO_ENCODED_RUSTFLAGS", "--cfg=bpf_target_arch=\"x86_64\"");
    clippy.args(["clippy", "--release", "--locked", "--quiet", "--target", BPF_TARGET, "-Z", "build-std=core"]);
    clippy.args(["--", "--deny", "warnings"]);
    clippy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What forges run is what a user runs.
    #[test]
    fn the_workflow_runs_the_tests() {
        let path = project::root().join(".github/workflows/test.yml");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(!text.contains('\t'), "YAML is not indented by tabs");
        let steps: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("run: ")).collect();
        assert!(steps.iter().any(|line| line.trim_end().ends_with("./x test")), "{steps:?}");
    }
}
