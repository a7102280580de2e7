//! How a join was found, and how sure that makes it.

/// How a join was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By order in its own lane.
    Order,
    /// By an id that the recording holds.
    Id,
    /// By the last use of a handle.
    Handle,
    /// By its neighbour in the order of calls, for the call was not recorded.
    Neighbour,
    /// n-th to n-th.
    Count,
    /// By the times of both ends.
    Time,
    /// By what serving engines are known to do.
    Engine,
    /// By how the stages of a pipeline follow each other, where no record shows how the one waited for the other.
    Structure,
    /// By records of which some are missing: what came later may be among those.
    Partial,
}

impl Method {
    /// Name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Id => "id",
            Self::Handle => "handle",
            Self::Neighbour => "neighbour",
            Self::Count => "count",
            Self::Time => "time",
            Self::Engine => "engine",
            Self::Structure => "structure",
            Self::Partial => "partial",
        }
    }

    /// How sure such a join is, 0 to 1: 1 follows from CUDA's or NIXL's own rules and ids; the others are our judgement of
    /// what can go wrong with them.
    #[must_use]
    pub const fn confidence(self) -> f64 {
        match self {
            Self::Order | Self::Id => 1.0,
            Self::Count => 0.9,
            Self::Handle | Self::Time => 0.7,
            Self::Neighbour => 0.6,
            Self::Engine | Self::Structure => 0.5,
            Self::Partial => 0.3,
        }
    }
}
