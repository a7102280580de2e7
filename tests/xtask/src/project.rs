//! Where things lie.

use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The target folder, which `./x` sets.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Tools that the build needs and cargo can install.
pub(crate) fn tools() -> PathBuf {
    target().join("tools")
}

/// The NIXL wheel, unpacked.
pub(crate) fn nixl() -> PathBuf {
    target().join(format!("nixl-{NIXL}"))
}

/// Another wheel of NIXL, unpacked.
pub(crate) fn other_nixl(package: &str, release: &str) -> PathBuf {
    target().join(format!("{package}-{release}"))
}

/// The wheel of Mooncake, unpacked.
pub(crate) fn mooncake() -> PathBuf {
    target().join(format!("mooncake-{}", MOONCAKE.1))
}

/// A binary of the quick profile.
pub(crate) fn binary(name: &str) -> PathBuf {
    target().join("ci").join(name)
}

/// The last version whose BPF backend is the compiler's own LLVM; later ones need LLVM's development packages.
pub(crate) const BPF_LINKER: &str = "0.10.4";
/// What checks dependencies.
pub(crate) const CARGO_DENY: &str = "0.20.2";
/// The NIXL that the live tests and the demo run.
pub(crate) const NIXL: &str = "1.5.1";
/// The Mooncake that the live tests run, without CUDA.
pub(crate) const MOONCAKE: (&str, &str) = ("mooncake-transfer-engine-non-cuda", "0.3.13.post1");
/// Wheels that the live tests run besides: one of each layout in the agent's table, both packages. (A release's two packages
/// hold the same builds: docs/builds.md.)
pub(crate) const OTHER_NIXL: [(&str, &str); 4] =
    [("nixl-cu13", "1.0.1"), ("nixl-cu12", "1.3.2"), ("nixl-cu13", "1.4.1"), ("nixl-cu13", "1.5.1")];
