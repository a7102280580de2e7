//! Which request a user means: by number, by the id that was recorded, or by what the client called it.

use super::ids::names;
use super::without_suffix;

/// Candidates that are named where several are meant.
const NAMED: usize = 5;

/// A request, as a user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestQuery {
    /// By its number.
    Number(i64),
    /// By its id; else by its number, if the text is one; else by a part of its id.
    Text(String),
}

/// Why it is not known which request is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// None of that name.
    #[error(
        "no request `{wanted}` in this run; it has {known} (numbers from 0, or ids where they were recorded; `SELECT request, \
         request_id FROM paths` lists them)"
    )]
    None {
        /// As it was named.
        wanted: String,
        /// Requests of the run.
        known: usize,
    },
    /// Several are called so.
    #[error("`{wanted}` may be any of {known} requests: {candidates}; name one by its number or its whole id")]
    Several {
        /// As they were named.
        wanted: String,
        /// How many.
        known: usize,
        /// The first of them.
        candidates: String,
    },
}

impl RequestQuery {
    /// Its number among the requests that are known, each with the id that was recorded.
    ///
    /// An engine puts its own around the id of the client (`cmpl-req-1-0` for `req-1`), so an id that is recorded whole comes
    /// first, then a number, then the words of an id.
    ///
    /// # Errors
    /// It is none of them, or may be several.
    pub fn among<'a>(&self, known: impl Iterator<Item = (i32, Option<&'a str>)> + Clone) -> Result<i32, LookupError> {
        let by_number = |number: i64| known.clone().filter(move |(known, _)| i64::from(*known) == number);
        let text = match self {
            Self::Number(number) => return one(&number.to_string(), by_number(*number), known),
            Self::Text(text) => text.as_str(),
        };
        let with_id = |is: &dyn Fn(&str) -> bool| -> Vec<(i32, Option<&'a str>)> {
            known.clone().filter(|(_, id)| id.is_some_and(is)).collect()
        };
        let mut found = with_id(&|id| id == text);
        if found.is_empty() {
            found = text.parse().map_or_else(|_| Vec::new(), |number| by_number(number).collect());
        }
        if found.is_empty() {
            found = without_suffix(text).map_or_else(Vec::new, |short| with_id(&|id| id == short));
        }
        if found.is_empty() {
            found = with_id(&|id| names(id, text));
        }
        one(text, found.into_iter(), known)
    }
}

fn one<'a>(
    wanted: &str,
    found: impl Iterator<Item = (i32, Option<&'a str>)> + Clone,
    known: impl Iterator,
) -> Result<i32, LookupError> {
    let wanted = wanted.escape_debug().to_string();
    let mut each = found.clone();
    match (each.next(), each.next()) {
        (Some((number, _)), None) => Ok(number),
        (None, _) => Err(LookupError::None { wanted, known: known.count() }),
        (Some(_), Some(_)) => {
            let count = found.clone().count();
            let named =
                found.take(NAMED).map(|(number, id)| format!("{number} ({})", id.unwrap_or("-").escape_debug()));
            let mut candidates = named.collect::<Vec<_>>().join(", ");
            if count > NAMED {
                candidates.push_str(", …");
            }
            Err(LookupError::Several { wanted, known: count, candidates })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(known: &[(i32, Option<&str>)], wanted: &str) -> Result<i32, String> {
        RequestQuery::Text(wanted.to_owned()).among(known.iter().copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_is_found_by_id_before_number() {
        let known = [(0, Some("7")), (7, None), (8, Some("b"))];
        assert_eq!(find(&known, "7"), Ok(0));
        assert_eq!(RequestQuery::Number(7).among(known.iter().copied()), Ok(7));
        assert_eq!(find(&known, "8"), Ok(8));
        let error = find(&known, "x\n").unwrap_err();
        assert!(error.contains("no request `x\\n` in this run; it has 3"), "{error}");
    }

    #[test]
    fn a_request_is_found_by_what_its_client_called_it() {
        let known = [(0, Some("cmpl-req-1-0")), (1, Some("cmpl-req-10-0")), (2, Some("chatcmpl-a-b")), (3, None)];
        assert_eq!(find(&known, "req-1"), Ok(0));
        assert_eq!(find(&known, "req-10"), Ok(1));
        assert_eq!(find(&known, "cmpl-req-1-0-0123abcd"), Ok(0), "as the engine prints it");
        assert_eq!(find(&known, "a-b"), Ok(2));
        assert!(find(&known, "eq-1").is_err() && find(&known, "").is_err());
    }

    #[test]
    fn what_several_are_called_is_refused_with_them() {
        let known: Vec<(i32, Option<&str>)> = (0..7).map(|number| (number, Some("cmpl-a-0"))).collect();
        let error = find(&known, "a").unwrap_err();
        assert!(error.starts_with("`a` may be any of 7 requests: 0 (cmpl-a-0), 1 (cmpl-a-0), "), "{error}");
        assert!(error.contains(", …; name one by its number"), "{error}");
        assert_eq!(find(&known, "3"), Ok(3));
    }
}
