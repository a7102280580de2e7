//! Writes the truth as it comes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::{RequestTruth, RunTruth};

/// Why the truth could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct TruthError {
    /// File or folder.
    pub path: PathBuf,
    /// What the file system said.
    pub error: std::io::Error,
}

/// The files of a run's truth.
#[derive(Debug)]
pub struct TruthWriter {
    folder: PathBuf,
    requests: BufWriter<File>,
}

impl TruthWriter {
    /// Opens `RUN/truth`.
    ///
    /// # Errors
    /// The folder or file cannot be made.
    pub fn new(run: &Path) -> Result<Self, TruthError> {
        let folder = run.join("truth");
        std::fs::create_dir_all(&folder).map_err(|error| TruthError { path: folder.clone(), error })?;
        let path = folder.join("requests.jsonl");
        let file = File::create(&path).map_err(|error| TruthError { path, error })?;
        Ok(Self { folder, requests: BufWriter::with_capacity(1 << 20, file) })
    }

    /// Appends a request.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn request(&mut self, request: &RequestTruth) -> Result<(), TruthError> {
        let path = self.folder.join("requests.jsonl");
        serde_json::to_writer(&mut self.requests, request)
            .map_err(std::io::Error::from)
            .and_then(|()| self.requests.write_all(b"\n"))
            .map_err(|error| TruthError { path, error })
    }

    /// Writes the run as a whole.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(mut self, run: &RunTruth) -> Result<(), TruthError> {
        let path = self.folder.join("requests.jsonl");
        self.requests.flush().map_err(|error| TruthError { path, error })?;
        let path = self.folder.join("run.json");
        let text = serde_json::to_string_pretty(run).map_err(std::io::Error::from);
        text.and_then(|text| std::fs::write(&path, text + "\n")).map_err(|error| TruthError { path, error })
    }
}
