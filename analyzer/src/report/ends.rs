//! From where to where paths go: only what goes from a client's arrival to its first token is a time to first token.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::path::Paths;

/// Where the path of a row begins and ends.
#[must_use]
pub fn of(paths: &Paths, row: usize) -> (&'static str, &'static str) {
    match (&*paths.source[row], &*paths.sink[row]) {
        ("client", _) => ("arrival", "first token"),
        ("range", _) => ("start of range", "its last work"),
        ("pass", _) => ("first kernel of pass", "its last"),
        (_, "decode_pass") => ("first record", "decode's first pass"),
        (_, "handoff") => ("first record", "end of hand-off"),
        (_, "prefill_pass") => ("first record", "end of prefill"),
        _ => ("first record", "last work before it"),
    }
}

/// The beginnings and ends of all rows, each once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RowBoundaries {
    from: Vec<&'static str>,
    to: Vec<&'static str>,
}

impl RowBoundaries {
    /// Of those paths.
    #[must_use]
    pub fn of(paths: &Paths) -> Self {
        let mut all = Self::default();
        for row in 0..paths.len() {
            let (from, to) = of(paths, row);
            for (list, text) in [(&mut all.from, from), (&mut all.to, to)] {
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
        all
    }

    /// Whether every one of them is a time to first token.
    #[must_use]
    pub fn is_ttft(&self) -> bool {
        self.from == ["arrival"]
    }

    /// What their times are.
    #[must_use]
    pub fn title(&self) -> String {
        if self.is_ttft() { "TIME TO FIRST TOKEN".to_owned() } else { format!("TIME {}", self.from_to()) }
    }

    /// `FROM ARRIVAL TO FIRST TOKEN`.
    #[must_use]
    pub fn from_to(&self) -> String {
        format!("FROM {} TO {}", self.from.join(" OR "), self.to.join(" OR ")).to_uppercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clients_times_are_times_to_first_token() {
        let told = RowBoundaries { from: vec!["arrival"], to: vec!["first token"] };
        assert_eq!(
            (told.title(), told.from_to()),
            ("TIME TO FIRST TOKEN".into(), "FROM ARRIVAL TO FIRST TOKEN".into())
        );
        let mixed = RowBoundaries { from: vec!["arrival", "first record"], to: vec!["first token", "end of prefill"] };
        assert_eq!(mixed.title(), "TIME FROM ARRIVAL OR FIRST RECORD TO FIRST TOKEN OR END OF PREFILL");
        assert!(!mixed.is_ttft());
    }
}
