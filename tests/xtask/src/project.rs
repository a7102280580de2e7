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

/// A binary of the quick profile.
pub(crate) fn binary(name: &str) -> PathBuf {
    target().join("ci").join(name)
}

/// The last version whose BPF backend is the compiler's own LLVM; later ones need LLVM's development packages.
pub(crate) const BPF_LINKER: &str = "0.10.4";
/// The NIXL that the live tests and the demo run.
pub(crate) const NIXL: &str = "1.5.1";
