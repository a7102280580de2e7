//! Layouts that were learned: a file each, named after the Build ID, in a folder that can be copied to other hosts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::capture::nixl::builds::LayoutEntry;

/// Where they are kept by root, and below `$XDG_STATE_HOME` by others.
const FOLDER: &str = "kvpath/layouts";
const STATE: &str = "/var/lib";
/// Longest file that is read.
const MOST: u64 = 64 << 10;

/// What was learned of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Build ID of `libnixl.so`.
    pub build_id: String,
    /// What it says of itself, for people.
    pub nixl: String,
    /// Name of the ABI in the table whose functions it has.
    pub functions: String,
    /// Its UCX plugin, if that is where it should be.
    pub plugin: Option<Plugin>,
    /// The program that has measured it.
    pub by: String,
    /// Where it keeps what is read.
    pub layout: LayoutEntry,
}

/// A plugin, which has no layout of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Build ID.
    pub build_id: String,
    /// Name of the ABI in the table whose functions it has.
    pub functions: String,
}

impl Learned {
    /// The name of the table for a library that this is about, and of the ABI whose functions it has.
    pub fn functions_of(&self, build_id: &str) -> Option<(&'static str, &str)> {
        let plugin = self.plugin.as_ref().filter(|plugin| plugin.build_id == build_id);
        let nixl = (self.build_id == build_id).then_some(("libnixl.so", self.functions.as_str()));
        nixl.or_else(|| Some(("libplugin_UCX.so", plugin?.functions.as_str())))
    }
}

/// The folder that is used where none is named.
pub fn default_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.unwrap_or_else(|| PathBuf::from(STATE)).join(FOLDER)
}

/// Writes a file; gives its path.
///
/// # Errors
/// The folder or the file cannot be written.
pub fn keep(folder: &Path, learned: &Learned) -> io::Result<PathBuf> {
    let text = serde_json::to_string_pretty(learned).map_err(io::Error::other)?;
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{}.json", learned.build_id));
    // Whole or not at all, also for one that reads it now.
    let partial = folder.join(format!("{}.partial", learned.build_id));
    fs::write(&partial, text + "\n")?;
    fs::rename(&partial, &path)?;
    Ok(path)
}

/// All files of a folder that are what they should be; others are named with what is wrong. A folder that is not there holds none.
///
/// # Errors
/// The folder cannot be read.
pub fn all(folder: &Path) -> io::Result<(Vec<Learned>, Vec<String>)> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
        entries => entries?,
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for path in paths {
        match read(&path) {
            Ok(learned) => found.push(learned),
            Err(why) => wrong.push(format!("{}: {why}", path.display())),
        }
    }
    Ok((found, wrong))
}

fn read(path: &Path) -> Result<Learned, String> {
    let about = fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > MOST {
        return Err("no layout that was learned".to_owned());
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let learned: Learned = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    learned.layout.check()?;
    let name = path.file_stem().and_then(|name| name.to_str());
    if name == Some(&learned.build_id) { Ok(learned) } else { Err("is named after another Build ID".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::nixl::builds;

    fn learned() -> Learned {
        Learned {
            build_id: "0a".repeat(20),
            nixl: "1.5.1".to_owned(),
            functions: "1.5.0".to_owned(),
            plugin: Some(Plugin { build_id: "0b".repeat(20), functions: "1.2.0".to_owned() }),
            by: "kvpath-agent 0".to_owned(),
            layout: builds::layout_entry(3).unwrap(),
        }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = keep(&folder.path().join("a/b"), &learned()).unwrap();
        assert!(path.ends_with(format!("{}.json", "0a".repeat(20))));
        assert_eq!(all(&folder.path().join("a/b")).unwrap(), (vec![learned()], vec![]));
        assert_eq!(all(&folder.path().join("none")).unwrap(), (vec![], vec![]));
    }

    #[test]
    fn a_build_id_says_which_library_it_is_of() {
        let learned = learned();
        assert_eq!(learned.functions_of(&"0a".repeat(20)), Some(("libnixl.so", "1.5.0")));
        assert_eq!(learned.functions_of(&"0b".repeat(20)), Some(("libplugin_UCX.so", "1.2.0")));
        assert_eq!(learned.functions_of(&"0c".repeat(20)), None);
    }

    #[test]
    fn what_is_none_is_named_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = keep(folder.path(), &learned()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        for (name, text) in [
            ("empty.json", String::new()),
            ("other.json", text.clone()),
            ("far.json", text.replace("\"handle_op\": 180", "\"handle_op\": 180000")),
            ("odd.json", text.replace("\"meta_bytes\": 32", "\"meta_bytes\": 7")),
            ("more.json", text.replace("handle_op", "handle_opp")),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::write(folder.path().join("README"), "").unwrap();
        let (found, wrong) = all(folder.path()).unwrap();
        assert_eq!((found.len(), wrong.len()), (1, 5), "{wrong:?}");
    }
}
