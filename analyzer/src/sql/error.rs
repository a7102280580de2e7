//! What can go wrong with a query, always as one line.

use std::sync::Arc;

use datafusion::error::DataFusionError;

use super::catalog;
use super::params::ParamError;
use kvpath_analysis::error::LoadError;
use kvpath_analysis::model::derived::Derived;

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No query of that name.
    #[error("no query is called `{name}`{}; `kvpath queries list` names them all", did_you_mean(.near.as_deref()))]
    UnknownQuery {
        /// As given.
        name: String,
        /// The nearest name.
        near: Option<String>,
    },
    /// No table of that name.
    #[error("no table is called `{name}`{}; `kvpath schema` names them all", did_you_mean(.near.as_deref()))]
    UnknownTable {
        /// As given.
        name: String,
        /// The nearest name.
        near: Option<String>,
    },
    /// A function where a table is expected.
    #[error("`{0}` is computed for one request: {0}(0) by its number, {0}('id') by its id")]
    NeedsRequest(String),
    /// A statement that is not a query.
    #[error("{0} is refused: a run is never modified, only SELECT, EXPLAIN, DESCRIBE and SHOW are answered")]
    Forbidden(String),
    /// Parameters.
    #[error(transparent)]
    Params(#[from] ParamError),
    /// The query is wrong.
    #[error("the query does not plan: {0}")]
    Plan(String),
    /// The memory limit.
    #[error(
        "the query needs more than its memory limit of {limit}: {evidence}; raise --memory-limit, or narrow the query"
    )]
    Memory {
        /// The limit.
        limit: String,
        /// What could not be had.
        evidence: String,
    },
    /// What a derived table is computed from cannot be read.
    #[error("the query failed: {0}")]
    Read(Arc<LoadError>),
    /// Failed while it ran.
    #[error("the query failed: {0}")]
    Execution(String),
}

impl SqlError {
    /// No table is called `name`.
    #[must_use]
    pub fn unknown_table(name: &str) -> Self {
        let bare = name.rsplit('.').next().unwrap_or(name);
        if Derived::named(bare).is_some_and(Derived::is_of_request) {
            return Self::NeedsRequest(bare.to_owned());
        }
        Self::UnknownTable { name: name.escape_debug().to_string(), near: nearest(bare, catalog::table_names()) }
    }
}

fn did_you_mean(near: Option<&str>) -> String {
    near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default()
}

/// The candidate that a misspelt name most likely meant; none where every candidate is far off.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance = datafusion::common::utils::datafusion_strsim::levenshtein;
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance * 2 <= candidate.len())
        .map(|(_, candidate)| candidate.to_owned())
}

/// The cause at the root of an engine error, on one line.
fn cause(error: &DataFusionError) -> String {
    let root = error.find_root();
    let text = match root {
        DataFusionError::External(error) => error.to_string(),
        // Its message is a debug print of the field; its display has "Did you mean".
        DataFusionError::SchemaError(error, _) => error.to_string(),
        other => other.message().into_owned(),
    };
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error of planning.
pub(super) fn planning(error: &DataFusionError) -> SqlError {
    SqlError::Plan(cause(error))
}

/// An error of running under a memory limit of `limit` bytes.
pub(super) fn running(error: &DataFusionError, limit: usize) -> SqlError {
    if let DataFusionError::External(error) = error.find_root()
        && let Some(error) = error.downcast_ref::<Arc<LoadError>>()
    {
        return SqlError::Read(Arc::clone(error));
    }
    let evidence = cause(error);
    let memory = |evidence| SqlError::Memory { limit: super::memory::show(limit), evidence };
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => memory(evidence),
        // Each spilled piece is an open file, and there are the more of them the less memory there is.
        _ if evidence.contains("Too many open files") => memory(format!("it spilled into too many files ({evidence})")),
        _ => SqlError::Execution(evidence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_nonsense_finds_none() {
        let names = ["kernels", "memcpys", "handoffs"];
        assert_eq!(nearest("kernel", names.into_iter()).as_deref(), Some("kernels"));
        assert_eq!(nearest("hand_offs", names.into_iter()).as_deref(), Some("handoffs"));
        assert_eq!(nearest("../../etc/passwd", names.into_iter()), None);
    }

    #[test]
    fn several_lines_become_one() {
        let error = DataFusionError::Plan("first\n  second".to_owned()).context("while planning");
        assert_eq!(planning(&error).to_string(), "the query does not plan: first second");
    }

    #[test]
    fn running_out_of_memory_names_the_limit_and_the_cure() {
        let error = DataFusionError::ResourcesExhausted("sort".to_owned());
        let text = running(&error, 64 << 20).to_string();
        assert!(text.contains("64 MiB: sort") && text.contains("--memory-limit"), "{text}");
    }
}
