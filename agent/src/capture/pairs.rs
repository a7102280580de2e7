//! Entries and returns of functions of a file, attached together by one program for each.

use std::path::Path;

use aya::Ebpf;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};

use crate::capture::error::AttachError;

/// A function to attach to.
#[derive(Debug, Clone, Copy)]
pub struct AttachPoint {
    /// Offset in the file.
    pub offset: u64,
    /// What the programs are told.
    pub cookie: u64,
    /// Whether the return is attached to as well.
    pub has_return: bool,
}

/// Programs for entries and for returns, by name.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// On entries.
    pub entry: &'static str,
    /// On returns.
    pub returns: &'static str,
}

/// What is attached to a file.
#[derive(Debug, Default)]
pub struct Links {
    /// How many points there are.
    pub points: usize,
    returns: Option<UProbeLinkId>,
    entries: Option<UProbeLinkId>,
}

impl Pair {
    /// Loads both programs.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn load(self, ebpf: &mut Ebpf) -> Result<(), AttachError> {
        [self.entry, self.returns].into_iter().try_for_each(|name| Ok(program(ebpf, name)?.load()?))
    }

    /// Attaches to functions of a file, in the processes of `scope`: if all, in every one that maps it now or later.
    ///
    /// # Errors
    /// The kernel refuses; then nothing is attached.
    pub fn attach(
        self,
        ebpf: &mut Ebpf,
        file: &Path,
        spots: &[AttachPoint],
        scope: UProbeScope,
    ) -> Result<Links, AttachError> {
        let points = |returns: bool| -> Vec<UProbeAttachPoint<'_>> {
            let wanted = spots.iter().filter(|spot| !returns || spot.has_return);
            wanted
                .map(|spot| UProbeAttachPoint {
                    location: UProbeAttachLocation::AbsoluteOffset(spot.offset),
                    cookie: Some(spot.cookie),
                })
                .collect()
        };
        let (returns, entries) = (points(true), points(false));
        let mut links = Links { points: returns.len() + entries.len(), ..Links::default() };
        // Returns first: an entry without its return would leave entries behind.
        if !returns.is_empty() {
            links.returns = Some(program(ebpf, self.returns)?.attach(returns, file, scope)?);
        }
        if !entries.is_empty() {
            match program(ebpf, self.entry)?.attach(entries, file, scope) {
                Ok(link) => links.entries = Some(link),
                Err(error) => {
                    self.detach(ebpf, links)?;
                    return Err(error.into());
                }
            }
        }
        Ok(links)
    }

    /// Takes probes off.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn detach(self, ebpf: &mut Ebpf, links: Links) -> Result<(), AttachError> {
        for (name, link) in [(self.entry, links.entries), (self.returns, links.returns)] {
            if let Some(link) = link {
                program(ebpf, name)?.detach(link)?;
            }
        }
        Ok(())
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, AttachError> {
    ebpf.program_mut(name).ok_or(AttachError::Missing(name))?.try_into().map_err(AttachError::Program)
}
