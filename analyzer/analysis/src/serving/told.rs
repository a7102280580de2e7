//! What clients say of requests themselves, and which recorded ones they mean.

use std::collections::HashMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::spans::Spans;

use super::ids::Texts;
use super::without_suffix;

/// What a client, router or engine says of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestReport {
    /// Id, as the recording has it.
    pub id: String,
    /// When it was sent, ns.
    pub arrival_ns: i64,
    /// When its first token was there, ns; none where it never was.
    pub first_token_ns: Option<i64>,
    /// It was given up, or answered with an error.
    pub has_failed: bool,
    /// When, ns.
    pub failed_ns: Option<i64>,
}

impl RequestReport {
    /// Whether it may be of a recording of that time: where it was answered, then; else not over before it began.
    #[must_use]
    pub fn may_be_within(&self, (start, end): (i64, i64)) -> bool {
        match self.first_token_ns {
            Some(token) => self.arrival_ns <= end && token >= start,
            None => self.failed_ns.is_none_or(|failed| failed >= start),
        }
    }
}

/// What clients say, by time.
#[must_use]
pub fn of(spans: &Spans) -> Vec<RequestReport> {
    let rows = |name: &'static str| {
        let is_own = move |row: &usize| &*spans.service[*row] == "client" && &*spans.name[*row] == name;
        (0..spans.len()).filter(is_own)
    };
    let end = |row: usize| spans.start_ns[row].checked_add(spans.dur_ns[row]?);
    let failed: HashMap<(&str, i64), usize> =
        rows("failed").filter_map(|row| Some(((spans.request[row].as_deref()?, spans.start_ns[row]), row))).collect();
    let mut told: Vec<RequestReport> = rows("request")
        .filter_map(|row| {
            let (id, arrival_ns) = (spans.request[row].clone()?, spans.start_ns[row]);
            let failed = failed.get(&(id.as_str(), arrival_ns)).copied();
            let (has_failed, failed_ns) = (failed.is_some(), failed.and_then(end));
            Some(RequestReport { id, arrival_ns, first_token_ns: end(row), has_failed, failed_ns })
        })
        .collect();
    told.sort_by(|a, b| (a.arrival_ns, &a.id).cmp(&(b.arrival_ns, &b.id)));
    told
}

/// What the client said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientReports<'a> {
    /// Of each request of the recording, by position.
    pub of: HashMap<usize, &'a RequestReport>,
    /// Of requests that the recording does not tell apart.
    pub others: Vec<&'a RequestReport>,
    /// How often it named no request: several hold the id.
    pub ambiguous: usize,
}

/// What the client said of the requests with `ids`. Either may have what the engine puts around an id.
#[must_use]
pub fn client_reports<'a>(ids: &[&str], told: &'a [RequestReport]) -> ClientReports<'a> {
    let texts = Texts::of(ids.iter().copied());
    let by_id: HashMap<&str, usize> = ids.iter().copied().zip(0..).filter(|(id, _)| !id.is_empty()).collect();
    let mut found = ClientReports::default();
    for told in told {
        let shorter = without_suffix(&told.id).and_then(|id| by_id.get(id)).copied();
        let same = by_id.get(told.id.as_str()).copied().or(shorter);
        let mut naming = texts.naming(&told.id);
        match (same, naming.next(), naming.next()) {
            (Some(at), ..) | (None, Some(at), None) => {
                found.of.entry(at).or_insert(told);
            }
            (None, None, _) => found.others.push(told),
            // A word that many ids hold (`0`) names none of them.
            (None, Some(_), Some(_)) => found.ambiguous += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients_and_engines_are_the_same_request() {
        let is_told = |id: &str, told: &str| {
            let told = [RequestReport { id: told.to_owned(), ..RequestReport::default() }];
            let said = client_reports(&[id], &told);
            assert_eq!(said.of.len() + said.others.len(), 1);
            said.of.contains_key(&0)
        };
        assert!(is_told("cmpl-req-1-0", "req-1"));
        assert!(is_told("cmpl-req-1", "cmpl-req-1-89025cc1"));
        assert!(is_told("req-1", "req-1"));
        assert!(!is_told("cmpl-req-1", "cmpl-req-10-89025cc1"));
        assert!(!is_told("req-1", "req-1-2") && !is_told("", "-89025cc1") && !is_told("req-10", "req-1"));
    }

    #[test]
    fn a_word_that_many_ids_hold_names_none_of_them_and_is_counted() {
        let told = ["0", "cmpl-req-2-0", "req", "other"];
        let told = told.map(|id| RequestReport { id: id.to_owned(), ..RequestReport::default() });
        let said = client_reports(&["cmpl-req-1-0", "cmpl-req-2-0", "cmpl-req-3-0"], &told);
        assert_eq!(said, ClientReports { of: HashMap::from([(1, &told[1])]), others: vec![&told[3]], ambiguous: 2 });
    }
}
