//! What programs say of a request themselves.

use crate::cell::Name;

crate::define_table! {
    /// A span of time that a client, router or engine reports for a request. The span `request` of service `client` runs from
    /// the request's arrival to its first token at the client: the ends of its critical path. Of a request that failed a span
    /// `failed` runs from the same start to when the client gave it up or had an error, if that is known.
    Raw spans: Span, Spans, sorted by [start_ns] {
        /// Start, ns.
        start_ns: i64 => Delta,
        /// Length, ns; null where the end was not reported.
        dur_ns: Option<i64> => Split,
        /// Who says it: `client`, or the service's name.
        service: Name => Dict,
        /// What was done: `request`, or the span's name.
        name: Name => Dict,
        /// Request id, as the serving engine has it or as the client gave it.
        request: Option<String> => Plain,
    }
}
