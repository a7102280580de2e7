//! Builds the BPF programs of `ebpf/`, which lies outside of the workspace because its target is another.
#![expect(unsafe_code, reason = "setting an environment variable is unsafe in edition 2024")]

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// The toolchain that `rust-toolchain.toml` pins; its LLVM must be the one that bpf-linker was built for.
const TOOLCHAIN: &str = "1.98.0";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=../schema/src/wire");
    if Command::new("bpf-linker").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("cargo::error=bpf-linker is not on PATH, so the BPF programs cannot be built: run `./x setup`");
        return ExitCode::FAILURE;
    }
    // SAFETY: a build script that has started no thread yet.
    unsafe {
        // For `-Z build-std`: there is no prebuilt core for this target.
        std::env::set_var("RUSTC_BOOTSTRAP", "1");
        // Each line that the inner cargo prints would be a warning of this build.
        std::env::set_var("CARGO_TERM_QUIET", "true");
    }
    // Asked for now, not when this script was compiled: a target folder may serve another checkout.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&here).join("../ebpf");
    // Cargo looks for the package from where it runs, and `ebpf/` is a workspace of its own.
    if let Err(error) = std::env::set_current_dir(&root) {
        println!("cargo::error={}: {error}", root.display());
        return ExitCode::FAILURE;
    }
    let package = aya_build::Package {
        name: "kvpath-ebpf",
        root_dir: root.to_str().unwrap_or("../ebpf"),
        ..aya_build::Package::default()
    };
    match aya_build::build_ebpf([package], aya_build::Toolchain::Custom(TOOLCHAIN)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=building ebpf/ failed (`./x setup` installs its tools): {error:#}");
            ExitCode::FAILURE
        }
    }
}
