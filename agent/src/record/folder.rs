//! The folder of a run.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::AgentError;

/// Makes sure of a new or empty folder: the one that was named, else one named after the time.
///
/// # Errors
/// It holds something, or cannot be made.
pub fn prepare(named: Option<&Path>, time: &str) -> Result<PathBuf, AgentError> {
    let path = named.map_or_else(|| PathBuf::from(format!("kvpath-run-{time}")), Path::to_owned);
    let failed = |error| AgentError::Folder { path: path.clone(), error };
    fs::create_dir_all(&path).map_err(failed)?;
    if fs::read_dir(&path).map_err(failed)?.next().is_some() {
        return Err(AgentError::NotEmpty(path));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("a/run");
        assert_eq!(prepare(Some(&run), "").unwrap(), run);
        fs::write(run.join("x"), "").unwrap();
        let error = prepare(Some(&run), "").unwrap_err().to_string();
        assert!(error.contains("a/run is not empty") && error.contains("--out"), "{error}");
    }
}
