//! The library that is to be learned, and on whose behalf it is run.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::sandbox::Inside;
use crate::capture::nixl::builds;
use crate::discover::library::Library;
use crate::discover::maps;

/// Variables of a process that decide which libraries it finds.
const VARIABLES: [&str; 2] = ["LD_LIBRARY_PATH", "NIXL_PLUGIN_DIR"];

/// A library, and what it is run as.
#[derive(Debug)]
pub struct Target {
    pub library: Library,
    pub inside: Inside,
    pub variables: Vec<(&'static str, String)>,
}

/// What a user names: a pid, else a file.
///
/// # Errors
/// There is no such process or file, or the process maps no library of NIXL.
pub fn of(named: &str) -> Result<Target, String> {
    match named.parse() {
        Ok(pid) if pid > 0 => of_process(pid),
        _ => of_file(Path::new(named)),
    }
}

fn of_process(pid: i32) -> Result<Target, String> {
    let error = |error: std::io::Error| format!("pid {pid}: {error}");
    let text = fs::read(format!("/proc/{pid}/maps")).map_err(error)?;
    let text = String::from_utf8_lossy(&text);
    let is_nixl = |name: &str| builds::library_of(name) == Some("libnixl.so");
    let mapping = maps::executable(&text).find(|mapping| is_nixl(mapping.file_name()));
    let mapping = mapping.ok_or_else(|| format!("pid {pid} maps no library of NIXL: name one that does, or a file"))?;
    let library = Library::of_mapping(pid, &mapping).map_err(error)?;
    let status = fs::read(format!("/proc/{pid}/status")).map_err(error)?;
    let status = String::from_utf8_lossy(&status);
    let id = |of: &str| effective(&status, of).ok_or_else(|| format!("pid {pid} has no {of}"));
    let inside = Inside { pid: Some(pid), uid: id("Uid:")?, gid: id("Gid:")? };
    let environment = fs::read(format!("/proc/{pid}/environ")).map_err(error)?;
    Ok(Target { library, inside, variables: wanted(&environment) })
}

fn of_file(path: &Path) -> Result<Target, String> {
    let error = |error: std::io::Error| format!("{}: {error}", path.display());
    let path: PathBuf = fs::canonicalize(path).map_err(error)?;
    let library = Library::open(&path).map_err(error)?;
    let about = fs::metadata(&path).map_err(error)?;
    let own = VARIABLES.iter().filter_map(|name| Some((*name, std::env::var(name).ok()?)));
    Ok(Target { library, inside: Inside { pid: None, uid: about.uid(), gid: about.gid() }, variables: own.collect() })
}

/// The second of the ids in a line of `/proc/PID/status`.
fn effective(status: &str, line: &str) -> Option<u32> {
    status.lines().find_map(|text| text.strip_prefix(line))?.split_whitespace().nth(1)?.parse().ok()
}

fn wanted(environment: &[u8]) -> Vec<(&'static str, String)> {
    let text = String::from_utf8_lossy(environment);
    let value =
        |name: &str| text.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    VARIABLES.iter().filter_map(|name| Some((*name, value(name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_who_it_is_and_where_its_libraries_are() {
        assert_eq!(effective("Name:\tx\nUid:\t1000\t1001\t1002\t1003\n", "Uid:"), Some(1001));
        assert_eq!(effective("Uid:\t1000", "Gid:"), None);
        let variables = wanted(b"A=1\0LD_LIBRARY_PATH=/opt/ucx/lib\0LD_PRELOAD=x\0");
        assert_eq!(variables, [("LD_LIBRARY_PATH", "/opt/ucx/lib".to_owned())]);
    }

    #[test]
    fn what_is_no_nixl_is_refused() {
        let own = std::process::id().to_string();
        assert!(of(&own).unwrap_err().contains("maps no library of NIXL"));
        assert!(of("/no/such/file").unwrap_err().contains("/no/such/file"));
    }
}
