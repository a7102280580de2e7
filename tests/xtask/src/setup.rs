//! Installs what is missing: Debian packages, bpf-linker, NIXL wheels. Run again, it does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project;
use crate::shell::{Result, has, run, succeeds};

/// What is there after setting up, and why the rest is not.
pub(crate) struct Setup {
    /// Why the agent and the workload cannot be built, if so.
    pub(crate) no_build: Option<String>,
    /// Why there is no NIXL to run, if so.
    pub(crate) no_nixl: Option<String>,
    /// Why other releases of NIXL cannot be run, if so.
    pub(crate) no_other_nixl: Option<String>,
    /// Why Mooncake cannot be run, if so.
    pub(crate) no_mooncake: Option<String>,
    libclang: Option<PathBuf>,
}

/// Sets up; what cannot be installed is remembered with its reason, not fatal: the analyzer builds without.
pub(crate) fn ready() -> Setup {
    if std::env::consts::ARCH != "x86_64" {
        let why = format!("the agent knows x86-64 alone, and this is {}", std::env::consts::ARCH);
        return Setup {
            no_build: Some(why.clone()),
            no_nixl: Some(why),
            no_other_nixl: None,
            no_mooncake: None,
            libclang: None,
        };
    }
    let packages = debian_packages();
    let libclang = libclang();
    let linker = bpf_linker();
    let missing = match (&packages, &libclang, &linker) {
        (Err(why), ..) => Some(why.clone()),
        (_, None, _) => Some("libclang.so not found (Debian package libclang-dev)".to_owned()),
        (.., Err(why)) => Some(why.clone()),
        _ => None,
    };
    let no_nixl = wheel("nixl-cu12", project::NIXL, &project::nixl()).err();
    Setup { no_build: missing, no_nixl, no_other_nixl: None, no_mooncake: None, libclang }
}

/// The same, with the wheels that only tests need.
pub(crate) fn ready_to_test() -> Setup {
    let mut setup = ready();
    if setup.no_nixl.is_none() {
        let other = project::OTHER_NIXL.iter();
        setup.no_other_nixl = other
            .filter_map(|(package, release)| wheel(package, release, &project::other_nixl(package, release)).err())
            .reduce(|all, why| format!("{all}; {why}"));
        setup.no_mooncake = mooncake().err();
    }
    mount_tracefs();
    setup
}

/// Where the kernel describes its tracepoints, which counting sockets and the scheduler's times asks for. systemd mounts it; what has
/// no systemd may have none. Tests that need it skip where it is not.
fn mount_tracefs() {
    let there = Path::new("/sys/kernel/tracing");
    if there.is_dir() && !there.join("events").is_dir() && is_root() {
        println!("mounting tracefs at {}", there.display());
        if let Err(why) = run(Command::new("mount").args(["-t", "tracefs", "tracefs"]).arg(there)) {
            println!("tracefs: {why}");
        }
    }
}

impl Setup {
    /// Says what is there.
    pub(crate) fn print(&self) {
        let say = |what: &str, why: &Option<String>| match why {
            None => println!("{what}: ready"),
            Some(why) => println!("{what}: not available: {why}"),
        };
        say("build of agent and workload (Debian packages, bpf-linker)", &self.no_build);
        say(&format!("NIXL {}", project::NIXL), &self.no_nixl);
        say("other releases of NIXL, for tests", self.no_nixl.as_ref().map_or(&self.no_other_nixl, |_| &self.no_nixl));
        say("Mooncake, for tests", self.no_nixl.as_ref().map_or(&self.no_mooncake, |_| &self.no_nixl));
    }

    /// A cargo command with the environment that the build needs.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(project::root()).env("CARGO_TARGET_DIR", project::target());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let tools = std::iter::once(project::tools().join("bin")).chain(std::env::split_paths(&path));
        if let Ok(path) = std::env::join_paths(tools) {
            cargo.env("PATH", path);
        }
        // bindgen asks libclang, which does not bring the compiler's own headers; gcc does.
        if let Some(include) = gcc_include() {
            cargo.env("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{include}"));
        }
        if let Some(folder) = self.libclang.as_ref().and_then(|library| library.parent()) {
            cargo.env("LIBCLANG_PATH", folder);
        }
        cargo.env("KVPATH_NIXL", project::nixl());
        cargo.env("KVPATH_MOONCAKE", project::mooncake());
        let other = project::OTHER_NIXL.iter().map(|(package, release)| project::other_nixl(package, release));
        if let Ok(folders) = std::env::join_paths(other) {
            cargo.env("KVPATH_OTHER_NIXL", folders);
        }
        cargo
    }

    /// Builds every binary; the analyzer alone where the rest cannot be built.
    pub(crate) fn build(&self) -> Result<()> {
        let mut cargo = self.cargo();
        cargo.args(["build", "--profile", "ci", "--locked"]).args(self.buildable());
        if let Some(why) = &self.no_build {
            println!("skipped: agent and workload are not built: {why}");
        }
        run(&mut cargo)
    }

    /// What can be built here, as arguments for cargo.
    pub(crate) fn buildable(&self) -> &'static [&'static str] {
        match self.no_build {
            None => &["--workspace"],
            Some(_) => &["--workspace", "--exclude", "kvpath-agent", "--exclude", "kvpath-workload"],
        }
    }
}

fn gcc_include() -> Option<String> {
    let out = Command::new("gcc").arg("-print-file-name=include").output().ok()?;
    Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
}

/// Compiler, and libclang for bindgen. Installed by apt-get where that and root are at hand.
fn debian_packages() -> Result<()> {
    let mut wanted = Vec::new();
    if !has("gcc") || !has("g++") {
        wanted.extend(["gcc", "g++", "libc6-dev"]);
    }
    if libclang().is_none() {
        wanted.push("libclang-dev");
    }
    install(&wanted)
}

/// Installs Debian packages, if any are wanted.
fn install(wanted: &[&str]) -> Result<()> {
    if wanted.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install by hand: apt-get install {}", wanted.join(" "));
    if !has("apt-get") || !is_root() {
        return Err(format!("missing packages, and no root with apt-get here; {by_hand}"));
    }
    println!("installing: {}", wanted.join(" "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run(apt().args(["update", "-q"])).map_err(|why| format!("{why}; {by_hand}"))?;
    run(apt().args(["install", "-q", "-y", "--no-install-recommends"]).args(wanted))
        .map_err(|why| format!("{why}; {by_hand}"))
}

/// What makes and runs the guest of `./x vm`. Debian's keys, because the guest is a Debian on other systems too.
pub(crate) fn virtual_machine() -> Result<()> {
    if !has("dpkg-deb") {
        return Err("the guest is made of Debian packages, by Debian's or Ubuntu's tools: no dpkg-deb here".to_owned());
    }
    let keys = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").is_file();
    let programs =
        [("qemu-system-x86_64", "qemu-system-x86"), ("modprobe", "kmod"), ("cpio", "cpio"), ("xz", "xz-utils")];
    let mut wanted: Vec<&str> =
        programs.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !keys {
        wanted.push("debian-archive-keyring");
    }
    install(&wanted)
}

/// The newest libclang on this machine.
fn libclang() -> Option<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/lib/x86_64-linux-gnu"), PathBuf::from("/usr/lib64")];
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders.extend(llvm.map(|entry| entry.path().join("lib")).filter(|path| path.to_string_lossy().contains("llvm-")));
    let mut found: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // libclang-cpp is another library.
            name.starts_with("libclang.so")
                || name.starts_with("libclang-") && !name.starts_with("libclang-cpp") && name.contains(".so")
        })
        .collect();
    found.sort();
    found.pop()
}

fn bpf_linker() -> Result<()> {
    tool("bpf-linker", project::BPF_LINKER).map(|_| ())
}

/// A tool that cargo installs, once for each version; gives the program.
pub(crate) fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let root = project::tools();
    let program = root.join("bin").join(name);
    if is_version(&program, version) {
        return Ok(program);
    }
    println!("building {name} {version}, once");
    let scratch = project::target().join("tools-build");
    let installed = run(Command::new("cargo")
        .current_dir(project::root())
        .args(["install", name, "--locked", "--version", version, "--root"])
        .arg(&root)
        .env("CARGO_TARGET_DIR", &scratch)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off"));
    // Only the binary is needed; what it was built from is a few hundred megabytes.
    let _ = std::fs::remove_dir_all(&scratch);
    installed.map(|()| program)
}

fn is_version(program: &Path, version: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(version))
}

/// A wheel's libraries; its Python code is not run, so any Python 3 serves.
fn wheel(package: &str, release: &str, folder: &Path) -> Result<()> {
    let library = folder.join(format!(".{}.mesonpy.libs/libnixl.so", package.replace('-', "_")));
    if library.is_file() {
        return Ok(());
    }
    if !succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        install(&["python3-pip"])?;
    }
    println!("fetching {package} {release} from PyPI, once");
    let partial = project::target().join("nixl.partial");
    let _ = std::fs::remove_dir_all(&partial);
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:"])
        .args(["--implementation", "cp", "--python-version", "3.11", "--target"])
        .arg(&partial)
        .arg(format!("{package}=={release}")))?;
    // Nearly half of it, and no part of NIXL's transfers.
    let _ = std::fs::remove_dir_all(partial.join(package.replace("nixl-", "nixl_ep_")));
    // What an interrupted run left.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::rename(&partial, folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if library.is_file() { Ok(()) } else { Err(format!("{} is not in the wheel", library.display())) }
}

/// Mooncake for the Python of this machine, which runs it, and the libraries that it wants.
fn mooncake() -> Result<()> {
    let (package, release) = project::MOONCAKE;
    let folder = project::mooncake();
    let loads = || {
        let import = "import sys; sys.path.insert(0, sys.argv[1]); import mooncake.engine";
        succeeds(Command::new("python3").args(["-c", import]).arg(&folder))
    };
    if loads() {
        return Ok(());
    }
    if !succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        install(&["python3-pip"])?;
    }
    // Also where what is there is for another Python.
    println!("fetching {package} {release} from PyPI, once");
    let partial = project::target().join("mooncake.partial");
    let _ = std::fs::remove_dir_all(&partial);
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--only-binary=:all:", "--target"])
        .arg(&partial)
        .arg(format!("{package}=={release}")))?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&partial, &folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    if !loads() {
        install(&["libibverbs1", "libnl-3-200", "libnl-route-3-200", "libnuma1", "libcurl4"])?;
    }
    if loads() { Ok(()) } else { Err(format!("python3 cannot import what lies in {}", folder.display())) }
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0")))
}
