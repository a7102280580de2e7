//! From what lies there to runs.

use std::path::Path;

use kvpath_schema::segment::SegmentError;
use kvpath_schema::store::{Manifest, Store};

use super::damage::{Damaged, is_damage};
use super::find::{IMPORTED, Object, Objects, find, in_store, labels};
use super::{Run, Segment};
use crate::error::LoadError;

impl Run {
    /// Opens the run that `name` names: a folder, a glob, or one `.parquet` file. Segments that cannot be read are left out.
    ///
    /// # Errors
    /// Nothing there, no segment that can be read, one of another version, or several runs.
    pub fn open(name: &str) -> Result<Self, LoadError> {
        Self::only(name, Self::open_all(name, false)?)
    }

    /// Opens every run that `name` names, ordered; at least one. With `is_strict`, damage is an error, now and later.
    ///
    /// # Errors
    /// As [`Run::open`]; any segment that cannot be read, if that is not accepted.
    pub fn open_all(name: &str, is_strict: bool) -> Result<Vec<Self>, LoadError> {
        open(name, find(name)?, is_strict)
    }

    /// Opens the run in a store.
    ///
    /// # Errors
    /// As [`Run::open`].
    pub fn of_store(store: &Store) -> Result<Self, LoadError> {
        let name = store.root().display().to_string();
        Self::only(&name, open(&name, in_store(store)?, false)?)
    }

    /// The one run of those.
    ///
    /// # Errors
    /// They are several.
    pub fn only(name: &str, mut runs: Vec<Self>) -> Result<Self, LoadError> {
        if runs.len() != 1 {
            return Err(LoadError::SeveralRuns { run: name.to_owned(), count: runs.len(), names: names(&runs) });
        }
        Ok(runs.remove(0))
    }

    /// Of several runs the one of that label.
    ///
    /// # Errors
    /// There is none.
    pub fn labelled(name: &str, label: &str, runs: Vec<Self>) -> Result<Self, LoadError> {
        let names = names(&runs);
        let found = runs.into_iter().find(|run| run.label == label);
        found.ok_or_else(|| LoadError::NoSuchRun { run: name.to_owned(), label: label.to_owned(), names })
    }

    fn add(&mut self, object: Object) -> Result<(), SegmentError> {
        match object.location.extension() {
            Some("partial") => self.partial.push(object.path),
            extension if extension == Some("parquet") || object.is_named => self.segments.push(Segment::of(object)?),
            _ if Manifest::is_at(&object.location) => {
                self.manifests.push(Manifest::get(&object.store, &object.location)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// What was imported into a run counts instead of what an earlier kvpath put among the recorded segments.
    fn supersede(&mut self) {
        let folder = self.root.join(IMPORTED);
        let is_imported = |path: &Path| path.starts_with(&folder);
        let key = |segment: &Segment| (segment.meta.host.clone(), segment.meta.source.clone());
        let imported: Vec<(String, String)> =
            self.segments.iter().filter(|segment| is_imported(&segment.path)).map(key).collect();
        self.segments.retain(|segment| is_imported(&segment.path) || !imported.contains(&key(segment)));
    }
}

fn open(name: &str, found: Objects, is_strict: bool) -> Result<Vec<Run>, LoadError> {
    let (mut runs, mut lost, mut first) = (Vec::new(), Run::default(), None);
    for (root, objects) in found {
        let mut run = Run { name: root.display().to_string(), root, is_strict, ..Run::default() };
        for object in objects {
            let path = object.path.clone();
            match run.add(object) {
                Err(error) if is_strict || !is_damage(&error) => return Err(error.into()),
                Err(error) => {
                    run.damaged.push(Damaged::of(&path, &error));
                    first.get_or_insert(error);
                }
                Ok(()) => {}
            }
        }
        run.supersede();
        if run.segments.is_empty() {
            lost.damaged.append(&mut run.damaged);
            lost.partial.append(&mut run.partial);
        } else {
            runs.push(run);
        }
    }
    let labels = labels(&runs.iter().map(|run| run.root.as_path()).collect::<Vec<&Path>>());
    let mut runs: Vec<Run> = runs.into_iter().zip(labels).map(|(run, label)| Run { label, ..run }).collect();
    if let [only] = runs.as_mut_slice() {
        name.trim_end_matches('/').clone_into(&mut only.name);
    }
    let Some(head) = runs.first_mut() else {
        return Err(first.map_or_else(|| LoadError::Empty(name.to_owned()), LoadError::from));
    };
    // What is of no run that can be read is told with the first.
    head.damaged.append(&mut lost.damaged);
    head.partial.append(&mut lost.partial);
    Ok(runs)
}

/// Labels for people.
fn names(runs: &[Run]) -> String {
    let labels: Vec<&str> = runs.iter().take(MOST_NAMES).map(|run| run.label.as_str()).collect();
    labels.join(", ") + if runs.len() > MOST_NAMES { ", …" } else { "" }
}

/// Runs that an error names.
const MOST_NAMES: usize = 20;
