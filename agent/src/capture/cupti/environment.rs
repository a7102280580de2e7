//! The variables that have CUDA and NVTX load our library into a program.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kvpath_ring::file::{FOLDER_VARIABLE, LEVEL_VARIABLE};
use kvpath_schema::wire::ring::Level;

/// File name of the library; it lies beside the agent.
pub const LIBRARY: &str = "libkvpath_inject.so";

/// The library beside this program, if it is there.
pub fn library() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join(LIBRARY);
    path.is_file().then_some(path)
}

/// Names and values, with the folder of the rings where it is not the usual one.
pub fn variables(library: &Path, folder: Option<&Path>, level: Level) -> Vec<(&'static str, OsString)> {
    let mut variables = vec![
        ("CUDA_INJECTION64_PATH", library.as_os_str().to_owned()),
        ("NVTX_INJECTION64_PATH", library.as_os_str().to_owned()),
        (LEVEL_VARIABLE, level.text().into()),
    ];
    variables.extend(folder.map(|folder| (FOLDER_VARIABLE, folder.as_os_str().to_owned())));
    variables
}
