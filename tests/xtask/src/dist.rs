//! `./x dist`: the programs for use, with man pages and completions, in one archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project;
use crate::setup::Setup;
use crate::shell::{Result, output, run};

/// The programs; `libkvpath_inject.so` must lie beside the agent.
const PROGRAMS: [&str; 2] = ["kvpath", "kvpath-agent"];
const LIBRARY: &str = "libkvpath_inject.so";
/// Pages that go along.
const DOCUMENTS: [&str; 5] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE", "deploy/agent.toml"];
/// Where each shell looks for completions, `NAME` being the program's.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/NAME"),
    ("zsh", "share/zsh/site-functions/_NAME"),
    ("fish", "share/fish/vendor_completions.d/NAME.fish"),
];

/// Builds the binaries for use, and packs them.
pub(crate) fn dist(setup: &Setup) -> Result<()> {
    if let Some(why) = &setup.no_build {
        return Err(why.clone());
    }
    run(setup.cargo().args(["build", "--workspace", "--profile", "dist", "--locked"]))?;
    let archive = pack(&project::target().join("dist"))?;
    println!("{}", archive.display());
    Ok(())
}

/// Packs what lies in the folder of built programs, into an archive there: `bin/` and `share/`, as below `/usr/local`.
fn pack(built: &Path) -> Result<PathBuf> {
    let name = format!("kvpath-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let (scratch, archive) = (built.join("archive"), built.join(format!("{name}.tar.gz")));
    let _ = std::fs::remove_dir_all(&scratch);
    let root = scratch.join(&name);
    for file in PROGRAMS.iter().chain([&LIBRARY]) {
        copy(&built.join(file), &root.join("bin").join(file))?;
    }
    for document in DOCUMENTS {
        let from = project::root().join(document);
        copy(&from, &root.join("share/doc/kvpath").join(from.file_name().unwrap_or_default()))?;
    }
    let man = root.join("share/man/man1");
    folder(&man)?;
    for program in PROGRAMS {
        run(Command::new(built.join(program)).arg("man").arg(&man))?;
        for (shell, place) in COMPLETIONS {
            let text = output(Command::new(built.join(program)).args(["completions", shell]))?;
            let path = root.join(place.replace("NAME", program));
            folder(path.parent().unwrap_or(&root))?;
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--file"])
        .arg(&archive);
    run(tar.arg("--directory").arg(&scratch).arg(&name))?;
    let _ = std::fs::remove_dir_all(&scratch);
    Ok(archive)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    folder(to.parent().unwrap_or(to))?;
    std::fs::copy(from, to).map(|_| ()).map_err(|error| format!("{}: {error}", from.display()))
}

fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Stands for a program: prints which completions it was asked for, and writes a page.
    const PROGRAM: &str =
        "#!/bin/sh\ncase $1 in completions) echo \"$2 of $0\";; man) echo page >\"$2/$(basename $0).1\";; esac\n";

    #[test]
    fn the_archive_holds_programs_pages_and_completions() {
        let built = std::env::temp_dir().join(format!("kvpath-xtask-dist-{}", std::process::id()));
        folder(&built).unwrap();
        for file in PROGRAMS.iter().chain([&LIBRARY]) {
            std::fs::write(built.join(file), PROGRAM).unwrap();
            std::fs::set_permissions(built.join(file), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let archive = pack(&built).unwrap();
        let list = output(Command::new("tar").arg("--list").arg("--file").arg(&archive)).unwrap();
        let zsh = "share/zsh/site-functions/_kvpath-agent";
        let member = format!("kvpath-{}-x86_64-linux/{zsh}", env!("CARGO_PKG_VERSION"));
        let text = output(Command::new("tar").args(["-xzO", "-f"]).arg(&archive).arg(member)).unwrap();
        std::fs::remove_dir_all(&built).unwrap();
        assert!(text.starts_with("zsh of ") && text.trim_end().ends_with("kvpath-agent"), "{text}");
        let files: Vec<&str> = list.lines().filter_map(|line| line.split_once('/')).map(|(_, file)| file).collect();
        for file in [
            "bin/kvpath",
            "bin/kvpath-agent",
            "bin/libkvpath_inject.so",
            "share/man/man1/kvpath.1",
            "share/man/man1/kvpath-agent.1",
            "share/bash-completion/completions/kvpath",
            "share/fish/vendor_completions.d/kvpath.fish",
            "share/doc/kvpath/agent.toml",
            zsh,
        ] {
            assert!(files.contains(&file), "{file} is not in the archive: {files:?}");
        }
    }
}
