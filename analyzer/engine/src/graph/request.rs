//! What a walk knows of the request whose path it looks for.

/// A forward pass of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassOf {
    /// Process that ran it.
    pub process: i64,
    /// `stages.stage_id`.
    pub stage: i32,
    /// `chunks.chunk`.
    pub chunk: i32,
    /// From its first kernel to its last, ns.
    pub span: (i64, i64),
}

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `requests.request`.
    pub number: i32,
    /// Id by the serving engine.
    pub id: Option<String>,
    /// When it arrived, else its first record, ns: where its path begins.
    pub source_ns: i64,
    /// Whether `source_ns` is when it arrived.
    pub has_arrival: bool,
    /// When its first token was out, by the client's account, ns.
    pub first_token_ns: Option<i64>,
    /// It is no request but a span of one process: its path ends with the last work in it.
    pub is_range: bool,
    /// Its prefill passes, by stage and chunk.
    pub passes: Vec<PassOf>,
    /// Rows of `nixl_transfers` that carry its KV.
    pub transfers: Vec<u32>,
    /// Decode's registrations for it: positions in [`super::Transfers::registrations`].
    pub registrations: Vec<u32>,
    /// Whether decode gets requests only when prefill is done with them, as some routers do: so it was with all of the run.
    pub waits_for_prefill: bool,
    /// Start of the first decode kernel that may read its KV, ns.
    pub decode_start_ns: Option<i64>,
    /// The process that decodes.
    pub decode: Option<i64>,
}
