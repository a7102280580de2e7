//! Names of what ran, each once, and what kind of work they are.

use std::collections::HashMap;
use std::sync::Arc;

use crate::analysis::lanes::Work;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A kernel that computes.
    Compute,
    /// An NCCL kernel that sends or receives.
    PointToPoint,
    /// Another NCCL kernel.
    Collective,
    /// A copy.
    Copy,
    /// A copy from one device to another.
    PeerCopy,
    /// A memset.
    Memset,
    /// A CUDA graph as a whole.
    GraphRun,
    /// A CUDA call.
    Call,
    /// `makeXferReq`.
    Make,
    /// `postXferReq`.
    Post,
    /// A range that a program named (NVTX), where calls were not recorded.
    Range,
}

impl Class {
    /// The raw table that holds it.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Compute | Self::PointToPoint | Self::Collective => "kernels",
            Self::Copy | Self::PeerCopy => "memcpys",
            Self::Memset => "memsets",
            Self::GraphRun => "graph_launches",
            Self::Call => "api_calls",
            Self::Make | Self::Post => "nixl_transfers",
            Self::Range => "nvtx_ranges",
        }
    }

    /// Whether it computes for a model: what a stage is for.
    #[must_use]
    pub fn is_compute(self) -> bool {
        matches!(self, Self::Compute | Self::GraphRun)
    }
}

/// Names by number.
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<(Arc<str>, Class)>,
    by_text: HashMap<(Class, Arc<str>), u32>,
}

impl Names {
    /// The number of a kernel's name.
    pub fn kernel(&mut self, text: &str) -> u32 {
        let class = match Work::of(text) {
            Work::Compute => Class::Compute,
            Work::PointToPoint => Class::PointToPoint,
            Work::Collective => Class::Collective,
        };
        self.intern(class, text)
    }

    /// The number of a name of that class.
    pub fn intern(&mut self, class: Class, text: &str) -> u32 {
        let text: Arc<str> = text.into();
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        *self.by_text.entry((class, Arc::clone(&text))).or_insert_with(|| {
            self.texts.push((text, class));
            next
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.texts.len()).unwrap_or(u32::MAX)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self, number: u32) -> &Arc<str> {
        &self.texts[number as usize].0
    }

    /// Its class.
    #[must_use]
    pub fn class(&self, number: u32) -> Class {
        self.texts[number as usize].1
    }
}
