//! What a name names: a folder of one run or of several, a glob, one segment, or an address.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kvpath_schema::store::{Location, Store};

use super::foreign;
use crate::error::LoadError;

/// Folder of a run for what was added to it afterwards, beside what was recorded.
pub const IMPORTED: &str = "imported";

/// An object of a run.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub path: PathBuf,
    pub store: Store,
    pub location: Location,
    /// Whether the user named it, and not what it lies in.
    pub is_named: bool,
}

/// The objects of runs, by the run's own folder.
pub(super) type Objects = BTreeMap<PathBuf, Vec<Object>>;

/// Those of every run below `name`.
pub(super) fn find(name: &str) -> Result<Objects, LoadError> {
    let mut found = Vec::new();
    if name.contains("://") {
        found.extend(list(&Store::at(name)?)?);
    } else {
        for root in roots(name)? {
            if root.is_dir() {
                found.extend(list(&Store::folder(root))?);
            } else {
                found.extend(file(root));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.dedup_by(|a, b| a.path == b.path);
    if let [one] = found.as_slice()
        && one.is_named
        && let Some(refusal) = foreign::refusal(&one.path)
    {
        return Err(refusal);
    }
    Ok(by_run(found))
}

/// Those in a store.
pub(super) fn in_store(store: &Store) -> Result<Objects, LoadError> {
    Ok(by_run(list(store)?))
}

fn by_run(objects: Vec<Object>) -> Objects {
    let mut runs = Objects::new();
    for object in objects {
        runs.entry(run_of(&object.path)).or_default().push(object);
    }
    runs
}

fn roots(name: &str) -> Result<Vec<PathBuf>, LoadError> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(vec![path]);
    }
    if !name.contains(['*', '?', '[']) {
        return Err(LoadError::Missing(name.to_owned()));
    }
    let found: Vec<PathBuf> = glob::glob(name)
        .map_err(|error| LoadError::Glob { pattern: name.to_owned(), error })?
        .filter_map(Result::ok)
        .collect();
    if found.is_empty() { Err(LoadError::Missing(name.to_owned())) } else { Ok(found) }
}

fn list(store: &Store) -> Result<Vec<Object>, LoadError> {
    let object = |location| Object { path: store.path(&location), store: store.clone(), location, is_named: false };
    Ok(store.list()?.into_iter().map(object).collect())
}

/// One file that was named itself, whatever its ending.
fn file(path: PathBuf) -> Option<Object> {
    let location = Location::parse(path.file_name()?.to_str()?).ok()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(Object { store: Store::folder(folder), path, location, is_named: true })
}

/// The folder of the run that an object is of: the one that holds `node=`, also by way of [`IMPORTED`].
fn run_of(path: &Path) -> PathBuf {
    let is_node = |folder: &&Path| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("node="));
    let root = path.ancestors().find(is_node).or(path.parent()).and_then(Path::parent).unwrap_or(Path::new(""));
    let is_imported = root.file_name().is_some_and(|name| name == IMPORTED);
    let root = if is_imported { root.parent().unwrap_or(root) } else { root };
    if root.as_os_str().is_empty() { PathBuf::from(".") } else { root.to_owned() }
}

/// Names that tell those folders apart: what follows the folder that they have in common.
pub(super) fn labels(roots: &[&Path]) -> Vec<String> {
    let Some(first) = roots.first() else { return Vec::new() };
    let common = first.ancestors().find(|folder| roots.iter().all(|root| root.starts_with(folder) && root != folder));
    let common = common.unwrap_or(Path::new(""));
    let own = |root: &&Path| root.strip_prefix(common).unwrap_or(root).display().to_string();
    roots.iter().map(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_the_folder_that_holds_nodes() {
        for (path, run) in [
            ("a/run/node=h/source=x/t.parquet", "a/run"),
            ("a/run/imported/node=h/source=client/spans.parquet", "a/run"),
            ("node=h/source=x/t.parquet", "."),
            ("s3://bucket/run/node=h/source=x/t.parquet", "s3://bucket/run"),
        ] {
            assert_eq!(run_of(Path::new(path)), Path::new(run), "{path}");
        }
    }

    #[test]
    fn labels_are_as_long_as_is_needed() {
        let labels = |roots: &[&str]| labels(&roots.iter().map(Path::new).collect::<Vec<_>>());
        assert_eq!(labels(&["x/a", "x/b"]), ["a", "b"]);
        assert_eq!(labels(&["x/a/run", "x/b/run"]), ["a/run", "b/run"]);
        assert_eq!(labels(&["x/a", "x/a/b"]), ["a", "a/b"]);
        assert_eq!(labels(&["a", "b"]), ["a", "b"]);
    }
}
