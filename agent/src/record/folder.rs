//! The folder of a run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::AgentError;

/// A folder that is new or empty. A recording that does not begin leaves nothing behind: dropping this removes the
/// folders that were made for it, while they are empty.
#[derive(Debug)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    made: Vec<PathBuf>,
}

/// Makes sure of a new or empty folder: the one that was named, else one named after the time.
///
/// # Errors
/// It holds something, or cannot be made.
pub fn prepare(named: Option<&Path>, time: &str) -> Result<Folder, AgentError> {
    let path = named.map_or_else(|| PathBuf::from(format!("kvpath-run-{time}")), Path::to_owned);
    let mut folder = Folder { path, made: Vec::new() };
    match folder.make() {
        Ok(true) => Ok(folder),
        Ok(false) => Err(AgentError::NotEmpty(folder.path.clone())),
        Err(error) => Err(AgentError::Folder { path: folder.path.clone(), error }),
    }
}

impl Folder {
    /// Gives whether it is empty.
    fn make(&mut self) -> io::Result<bool> {
        let missing = self.path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        self.made = missing.map(Path::to_owned).collect();
        fs::create_dir_all(&self.path)?;
        Ok(fs::read_dir(&self.path)?.next().is_none())
    }
}

impl Folder {
    /// Removes what the recording has written so far.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("node=") {
                // What stays is seen as a folder that is not empty.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for path in &self.made {
            // Not removed once a segment is in it.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("a/run");
        let made = prepare(Some(&run), "").unwrap();
        assert_eq!(made.path, run);
        fs::write(run.join("x"), "").unwrap();
        let error = prepare(Some(&run), "").unwrap_err().to_string();
        assert!(error.contains("a/run is not empty") && error.contains("--out"), "{error}");
        drop(made);
        assert!(run.join("x").exists());
    }

    #[test]
    fn folders_that_stay_empty_are_removed_if_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        drop(prepare(Some(&folder.path().join("a/run")), "").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        fs::create_dir(folder.path().join("b")).unwrap();
        drop(prepare(Some(&folder.path().join("b")), "").unwrap());
        assert!(folder.path().join("b").exists(), "it was there before");
    }
}
