//! `kvpath-agent learn`: where a build of NIXL that is in no table keeps what is recorded, found out by running transfers with it, in a
//! process that can reach nothing. Never by itself: it runs code that the agent did not bring.

pub mod child;
pub mod kept;
mod sandbox;
mod target;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use crate::capture::nixl::builds::{self, LayoutEntry, ProbeKind};
use crate::capture::nixl::{release, shape};
use crate::discover::library::Library;
use crate::elf::Elf;
use kept::{Learned, Plugin};
use sandbox::{Ended, NOT_CONFINED};
use target::Target;

/// The command that the confined process runs.
pub const CHILD: &str = "learn-child";
/// The C interface, beside the library.
const CAPI: &str = "libnixl_capi.so";
/// The libraries, as the table names them.
const NIXL: &str = "libnixl.so";
const PLUGIN: &str = "libplugin_UCX.so";

/// Learns a library, keeps what was found, and says where.
///
/// # Errors
/// What it cannot be learned for.
pub fn run(named: &str, folder: &Path, most: Duration) -> anyhow::Result<ExitCode> {
    let target = target::of(named).map_err(|why| anyhow!(why))?;
    let path = target.library.path.clone();
    let data = target.library.read().with_context(|| path.clone())?;
    let elf = Elf::parse(&data).with_context(|| path.clone())?;
    let Some(build_id) = elf.build_id() else {
        bail!("{path} has no Build ID, by which its layout could be kept: build NIXL with -Wl,--build-id");
    };
    let mut out = std::io::stdout().lock();
    if let Some(known) = builds::find(&build_id) {
        writeln!(out, "{path}: Build ID {build_id} is NIXL {}, which is known already", known.build.nixl())?;
        return Ok(ExitCode::SUCCESS);
    }
    let functions = functions(&target.library, NIXL, &elf).map_err(|why| anyhow!("{path}: {why}"))?;
    let capi = target.library.beside(CAPI).map_err(|error| {
        anyhow!("{path}: there is no {CAPI} beside it ({error}), by which it would be run: NIXL has it from 1.0 on")
    })?;
    let layout = measure(&target, &capi.path, most).map_err(|why| anyhow!("{path} was not learned: {why}"))?;
    let mut probes = builds::abi(functions).into_iter().flat_map(|abi| builds::probes(abi, NIXL));
    let has_strides = probes.any(|probe| probe.kind == ProbeKind::PrepareStrided);
    if layout.strided_bytes.is_some() != has_strides {
        bail!("{path} was not learned: its lists with strides are not those of NIXL {functions}");
    }
    let nixl = release::of(&target.library)
        .map_or_else(|_| "of unknown release".to_owned(), |(release, _)| release.to_string());
    let by = format!("kvpath-agent {}", env!("CARGO_PKG_VERSION"));
    let plugin = plugin(&target.library);
    let learned = Learned { build_id, nixl, functions: functions.to_owned(), plugin, by, layout };
    let file = kept::keep(folder, &learned).with_context(|| folder.display().to_string())?;
    writeln!(
        out,
        "{path}: Build ID {}, NIXL {}: learned, kept in {}; recordings that begin from now on read it there",
        learned.build_id,
        learned.nixl,
        file.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The ABI of the table whose functions a library has: that of the release that it names, else the newest.
fn functions(library: &Library, name: &str, elf: &Elf<'_>) -> Result<&'static str, String> {
    let named = release::of(library).ok().and_then(|(release, _)| builds::abi_of(&release.version, name));
    let mut why = None;
    for abi in named.into_iter().chain((0..builds::abis()).rev()) {
        match shape::fits(elf, abi, name) {
            Ok(_) => return builds::abi_name(abi).ok_or_else(|| "an ABI without a name".to_owned()),
            Err(error) => why = why.or(Some(error)),
        }
    }
    Err(format!("it has not the functions that are probed: {}", why.unwrap_or_default()))
}

/// The plugin beside it, if arrivals can be recorded there.
fn plugin(nixl: &Library) -> Option<Plugin> {
    let library = nixl.beside(&format!("plugins/{PLUGIN}")).ok()?;
    let data = library.read().ok()?;
    let elf = Elf::parse(&data).ok()?;
    let functions = functions(&library, PLUGIN, &elf).ok()?;
    Some(Plugin { build_id: elf.build_id()?, functions: functions.to_owned() })
}

fn measure(target: &Target, capi: &str, most: Duration) -> Result<LayoutEntry, String> {
    let set = |name: &'static str, value: &str| (name, value.to_owned());
    let mut variables = vec![
        // UCX's ib module loads a copy of libnl, which crashes in its exit handler; there are no devices for it anyway.
        set("UCX_TLS", "tcp"),
        set("UCX_MODULES", "^ib"),
        set("UCX_VFS_ENABLE", "n"),
        set("UCX_LOG_LEVEL", "fatal"),
        set("NIXL_LOG_LEVEL", "ERROR"),
        set("CUDA_VISIBLE_DEVICES", ""),
        set("HOME", "/"),
    ];
    variables.extend(target.variables.clone());
    let ended = sandbox::run(target.inside, &["kvpath-agent", CHILD, capi], &variables, most);
    let ended = ended.map_err(|error| format!("no process can be made to run it in, which takes root: {error}"))?;
    understood(&ended, most)
}

/// What the confined process has found. It ran foreign code, so nothing is believed that could not be.
fn understood(ended: &Ended, most: Duration) -> Result<LayoutEntry, String> {
    let said = ended.errors.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let said: String = said.chars().filter(|c| !c.is_control()).take(300).collect();
    let Some(status) = ended.status else {
        return Err(format!("it did not come to an end within {} s (--limit)", most.as_secs_f64()));
    };
    match status.code() {
        Some(0) => {}
        Some(NOT_CONFINED) => return Err(format!("it could not be confined, so it was not run: {said}")),
        Some(child::FAILED) => return Err(said),
        Some(code) => return Err(format!("it ended with exit code {code}: {said}")),
        None => return Err(format!("it crashed ({status}): {said}")),
    }
    // UCX may have said something before.
    let last = ended.out.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let layout: LayoutEntry = serde_json::from_slice(last).map_err(|error| format!("it gives no layout: {error}"))?;
    layout.check()?;
    Ok(layout)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn ended(status: Option<i32>, out: &str, errors: &str) -> Result<LayoutEntry, String> {
        let status = status.map(ExitStatus::from_raw);
        understood(&Ended { status, out: out.into(), errors: errors.into() }, Duration::from_secs(2))
    }

    #[test]
    fn what_a_confined_process_says_is_not_believed_as_it_is() {
        let good = builds::layout_entry(0).unwrap();
        let json = serde_json::to_string(&good).unwrap();
        assert_eq!(ended(Some(0), &format!("UCX WARN\n{json}\n"), ""), Ok(good));
        let far = json.replace("\"handle_op\":100", "\"handle_op\":1000000");
        for (status, out, errors, words) in [
            (None, json.as_str(), "", "within 2 s"),
            (Some(11), &json, "", "crashed"),
            (Some(3 << 8), &json, "a\nsize: 0 places instead of one\n", "size: 0 places"),
            (Some(4 << 8), &json, "limits: error 001", "not be confined"),
            (Some(7 << 8), &json, "\u{1b}[31mred", "exit code 7: [31mred"),
            (Some(0), "", "", "no layout"),
            (Some(0), &far, "", "handle_op"),
        ] {
            let why = ended(status, out, errors).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
