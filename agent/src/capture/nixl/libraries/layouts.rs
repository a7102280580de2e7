//! The layouts of libraries, of the table and beyond it.

use kvpath_schema::tables::capture::RecordingState;
use kvpath_schema::tables::nixl::LayoutSource;

use super::super::attach::Programs;
use super::super::builds::{self, LayoutEntry};
use super::super::examine::{Basis, Examined};
use super::super::release::Release;
use super::NixlLibraries;
use crate::capture::Context;
use crate::capture::error::AttachError;
use crate::discover::library::{FileId, Library};
use crate::states::Subject;

/// A layout that is assumed of the libraries of an installation.
pub(super) struct Assumed {
    pub(super) release: Release,
    /// The file that names the release.
    from: FileId,
    /// Index in the map of layouts.
    pub(super) layout: u32,
    pub(super) libraries: Vec<(FileId, String, usize)>,
    /// Why it is not theirs.
    contradicted: Option<String>,
}

impl NixlLibraries {
    /// The layout to read a library by, as its index.
    pub(super) fn layout_of(
        &mut self,
        examined: &Examined,
        programs: &mut Programs,
    ) -> Result<u32, (RecordingState, String)> {
        let (layout, release, from) = match &examined.basis {
            Basis::Table { layout, .. } => return Ok(*layout),
            Basis::Unknown(why) => return Err((RecordingState::UnknownBuild, why.clone())),
            Basis::Learned { build_id, layout, .. } => return self.recall(build_id, *layout, programs),
            Basis::Release { layout, release, from } => (*layout, release, *from),
        };
        let known = self.assumed.iter().find(|assumed| assumed.from == from && assumed.release == *release);
        if let Some(assumed) = known {
            let off = assumed.contradicted.as_ref().map(|why| (RecordingState::Contradicted, why.clone()));
            return off.map_or(Ok(assumed.layout), Err);
        }
        let layout = added(programs.add_judged(layout))?;
        let (release, libraries) = (release.clone(), Vec::new());
        self.assumed.push(Assumed { release, from, layout, libraries, contradicted: None });
        Ok(layout)
    }

    /// The layout of a build that was learned, as its index.
    fn recall(
        &mut self,
        build_id: &str,
        layout: LayoutEntry,
        programs: &mut Programs,
    ) -> Result<u32, (RecordingState, String)> {
        if let Some(layout) = self.recalled.get(build_id) {
            return Ok(*layout);
        }
        let index = added(programs.add(layout.to_layout()))?;
        self.recalled.insert(build_id.to_owned(), index);
        Ok(index)
    }

    /// How a layout is known.
    pub fn source_of(&self, layout: u32) -> LayoutSource {
        if self.assumed().any(|assumed| assumed == layout) {
            LayoutSource::Assumed
        } else if self.recalled.values().any(|recalled| *recalled == layout) {
            LayoutSource::Measured
        } else {
            LayoutSource::Table
        }
    }

    /// Indices of the layouts that are assumed.
    pub fn assumed(&self) -> impl Iterator<Item = u32> {
        self.assumed.iter().map(|assumed| assumed.layout)
    }

    /// Says that posts agree with an assumed layout.
    pub fn believed(&self, layout: u32, posts: u32, context: &mut Context) {
        let Some(assumed) = self.assumed.iter().find(|assumed| assumed.layout == layout) else { return };
        for (_, path, points) in &assumed.libraries {
            let text = format!(
                "NIXL {}, {points} points: this build is in no table, its layout is assumed, and ",
                assumed.release
            );
            let text = text
                + &match posts {
                    0 => "no whole post came to judge it by".to_owned(),
                    1 => "a post agrees with it".to_owned(),
                    _ => format!("{posts} posts agree with it"),
                };
            context.facts.say("nixl", format!("layout {path}"), text.as_str());
            context.set(Subject::library("nixl", path.as_str()), RecordingState::Recording, text);
        }
    }

    /// Takes all probes off the libraries whose layout is not what was assumed, for good.
    pub fn contradicted(&mut self, layout: u32, why: &str, programs: &mut Programs, context: &mut Context) {
        let Some(assumed) = self.assumed.iter_mut().find(|assumed| assumed.layout == layout) else { return };
        let text = format!("its layout is not that of NIXL {}, which it says it is: {why}", assumed.release);
        assumed.contradicted = Some(text.clone());
        let files: Vec<FileId> = assumed.libraries.iter().map(|(file, ..)| *file).collect();
        let is_one = |library: &Library| files.contains(&library.id);
        let reason = format!("{text}; {}", builds::LEARN);
        self.give_up(is_one, RecordingState::Contradicted, &text, &reason, programs, context);
    }
}

/// The index of a layout that was added, or why there is none.
fn added(layout: Result<Option<u32>, AttachError>) -> Result<u32, (RecordingState, String)> {
    match layout {
        Ok(Some(layout)) => Ok(layout),
        Ok(None) => Err((RecordingState::Unavailable, "there are too many such builds here".to_owned())),
        Err(error) => Err((RecordingState::Refused, error.to_string())),
    }
}
