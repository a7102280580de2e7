//! What programs read: every JSON object says its format and version, and `docs/json` holds a schema of each.

mod schemas;
#[cfg(test)]
mod tests;

use serde_json::Value;

/// A kind of JSON object that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// `report --json`.
    Report,
    /// `path --json`.
    Path,
    /// `path --against --json`.
    PathAgainst,
    /// `stuck --json`.
    Stuck,
    /// `check --json`.
    Check,
    /// `schema --format json`.
    Schema,
    /// `queries list --json`.
    Queries,
}

impl Output {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Report, Self::Path, Self::PathAgainst, Self::Stuck, Self::Check, Self::Schema, Self::Queries];

    /// What `format` says.
    #[must_use]
    pub const fn format(self) -> &'static str {
        match self {
            Self::Report => "kvpath.report",
            Self::Path => "kvpath.path",
            Self::PathAgainst => "kvpath.path-against",
            Self::Stuck => "kvpath.stuck",
            Self::Check => "kvpath.check",
            Self::Schema => "kvpath.schema",
            Self::Queries => "kvpath.queries",
        }
    }

    /// What `version` says. A property that goes or means something else raises it; a new one does not.
    #[must_use]
    pub const fn version(self) -> u32 {
        1
    }

    /// Its JSON schema.
    #[must_use]
    pub fn schema(self) -> Value {
        schemas::of(self)
    }

    /// The object, with its format and version.
    #[must_use]
    pub fn stamped(self, mut object: Value) -> Value {
        object["format"] = self.format().into();
        object["version"] = self.version().into();
        object
    }
}
