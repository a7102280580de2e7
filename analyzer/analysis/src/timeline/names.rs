//! Names of what ran, each once, and what kind of work they are.

use std::collections::HashMap;
use std::sync::Arc;

use super::communication;

/// What an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// A kernel that computes.
    Compute,
    /// A kernel that brings received KV into another layout ([`super::relayout`]).
    Relayout,
    /// A kernel that collects KV of which a copy brings it into host memory to be handed over ([`super::staging`]).
    StagingGather,
    /// A kernel that puts KV where it belongs that was handed over in host memory.
    StagingSpread,
    /// An NCCL kernel that sends or receives.
    PointToPoint,
    /// Another kernel that moves data between GPUs.
    Collective,
    /// A copy.
    Copy,
    /// A copy of KV from a GPU into host memory, to be handed over.
    StagedOut,
    /// A copy of KV to a GPU that was handed over in host memory.
    StagedIn,
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
    /// Of a kernel, by name. Communication includes waiting for the peer, so it is never counted as compute.
    #[must_use]
    pub fn of_kernel(name: &str) -> Self {
        communication::class(name).unwrap_or(Self::Compute)
    }

    /// The raw table that holds it.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Compute
            | Self::Relayout
            | Self::StagingGather
            | Self::StagingSpread
            | Self::PointToPoint
            | Self::Collective => "kernels",
            Self::Copy | Self::StagedOut | Self::StagedIn | Self::PeerCopy => "memcpys",
            Self::Memset => "memsets",
            Self::GraphRun => "graph_launches",
            Self::Call => "api_calls",
            Self::Make | Self::Post => "nixl_transfers",
            Self::Range => "nvtx_ranges",
        }
    }

    /// Whether it is of a hand-off at the receiver, not of the model that runs there.
    #[must_use]
    pub fn is_of_handoff(self) -> bool {
        matches!(self, Self::Relayout | Self::StagingGather | Self::StagingSpread | Self::StagedOut | Self::StagedIn)
    }

    /// Whether it computes for a model: what a stage is for.
    #[must_use]
    pub fn is_compute(self) -> bool {
        matches!(self, Self::Compute | Self::GraphRun)
    }
}

/// Names of kernels and calls, each stored once and referred to by number.
#[derive(Debug, Default)]
pub struct OpNames {
    texts: Vec<OpName>,
    by_text: HashMap<(Class, Arc<str>), u32>,
    by_shape: HashMap<(u32, Shape), u32>,
    /// The shape that each name had last, and its number: neighbours are mostly alike.
    last: Vec<(Shape, u32)>,
}

/// Grid and block of a kernel; 0 where they were not recorded.
pub type Shape = [i32; 6];

#[derive(Debug)]
struct OpName {
    text: Arc<str>,
    class: Class,
    /// Number of the name without a shape.
    base: u32,
    shape: Shape,
}

impl OpNames {
    /// The number of a kernel's name.
    pub fn kernel(&mut self, text: &str) -> u32 {
        self.intern(Class::of_kernel(text), text)
    }

    /// The number of a name of that class.
    pub fn intern(&mut self, class: Class, text: &str) -> u32 {
        let text: Arc<str> = text.into();
        if let Some(number) = self.by_text.get(&(class, Arc::clone(&text))) {
            return *number;
        }
        let number = self.count();
        self.by_text.insert((class, Arc::clone(&text)), number);
        self.add(OpName { text, class, base: number, shape: [0; 6] });
        number
    }

    /// The number of a name of that class, if it has one.
    #[must_use]
    pub fn find(&self, class: Class, text: &str) -> Option<u32> {
        self.by_text.get(&(class, text.into())).copied()
    }

    /// The number of a kernel of that name and shape.
    pub fn shaped(&mut self, base: u32, shape: Shape) -> u32 {
        if shape == [0; 6] {
            return base;
        }
        if let Some((_, number)) = self.last.get(base as usize).filter(|(last, _)| *last == shape) {
            return *number;
        }
        let number = if let Some(number) = self.by_shape.get(&(base, shape)) {
            *number
        } else {
            let number = self.count();
            let OpName { text, class, .. } = &self.texts[base as usize];
            let (text, class) = (Arc::clone(text), *class);
            self.add(OpName { text, class, base, shape });
            self.by_shape.insert((base, shape), number);
            number
        };
        self.last[base as usize] = (shape, number);
        number
    }

    /// The number of the same kernel as one of another class.
    pub(super) fn reclassed(&mut self, number: u32, class: Class) -> u32 {
        let (text, shape) = (Arc::clone(self.text(number)), self.shape(number));
        let base = self.intern(class, &text);
        self.shaped(base, shape)
    }

    fn add(&mut self, known: OpName) {
        self.texts.push(known);
        self.last.push(([0; 6], 0));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.texts.len()).unwrap_or(u32::MAX)
    }

    /// Its text.
    #[must_use]
    pub fn text(&self, number: u32) -> &Arc<str> {
        &self.texts[number as usize].text
    }

    /// Its class.
    #[must_use]
    pub fn class(&self, number: u32) -> Class {
        self.texts[number as usize].class
    }

    /// Its shape, if it is a kernel's and was recorded.
    #[must_use]
    pub fn shape(&self, number: u32) -> Shape {
        self.texts[number as usize].shape
    }

    /// The number of the same name without its shape.
    #[must_use]
    pub fn base(&self, number: u32) -> u32 {
        self.texts[number as usize].base
    }
}
