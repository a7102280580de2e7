//! What a query says of itself: the comment lines at its head.
//!
//! ```sql
//! -- @query   handoffs.slowest
//! -- @answers Which hand-offs took longest?
//! -- @param   rows BIGINT = 20  most rows to print
//! -- @column  request INTEGER  `requests.request`
//! -- @reads   handoffs, stages
//! -- @schema  >=1
//! ```
//!
//! A parameter without `= DEFAULT` must be given; a default is one word, `NULL`, or text in single quotes. `@reads` and
//! `@column` are held against the plan by a test, so they cannot rot.

use datafusion::scalar::ScalarValue;

use super::params::SqlType;

/// A parameter, `$name` in the query.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name.
    pub name: String,
    /// Type.
    pub sql_type: SqlType,
    /// Value where none is given; none where it must be given.
    pub default: Option<ScalarValue>,
    /// The default as it is written.
    pub default_text: Option<String>,
    /// Meaning.
    pub doc: String,
}

/// A column of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub sql_type: SqlType,
    /// Meaning.
    pub doc: String,
}

/// The head of a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Header {
    /// Name, the same as its path.
    pub query: String,
    /// The question that it answers.
    pub answers: String,
    /// Parameters.
    pub params: Vec<Param>,
    /// Columns, in order.
    pub columns: Vec<Column>,
    /// Tables that it scans, ordered.
    pub reads: Vec<String>,
    /// Oldest schema version that has what it needs.
    pub schema: u32,
}

/// A header line that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct HeaderError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong and what is expected.
    pub what: String,
}

impl Header {
    /// Reads the head of `text`. A file without such lines has an empty head: queries of users need none.
    ///
    /// # Errors
    /// A line that begins with `-- @` and is not of the form above.
    pub fn parse(text: &str) -> Result<Self, HeaderError> {
        let mut header = Self::default();
        for (at, line) in text.lines().enumerate() {
            let Some(rest) = line.strip_prefix("-- @") else { continue };
            let (key, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            header.line(key, value.trim()).map_err(|what| HeaderError { line: at + 1, what })?;
        }
        Ok(header)
    }

    fn line(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            _ if value.is_empty() => return Err(format!("`@{key}` says nothing")),
            "query" => value.clone_into(&mut self.query),
            "answers" => value.clone_into(&mut self.answers),
            "param" => {
                let param = param(value)?;
                if self.params.iter().any(|p| p.name == param.name) {
                    return Err(format!("`@param {}` stands twice", param.name));
                }
                self.params.push(param);
            }
            "column" => {
                let (name, sql_type, doc) = name_and_type(value)?;
                self.columns.push(Column { name, sql_type, doc: documented(doc)? });
            }
            "reads" => {
                self.reads.extend(value.split(',').map(|table| table.trim().to_owned()));
                self.reads.sort();
            }
            "schema" => {
                let version = value.strip_prefix(">=").and_then(|version| version.trim().parse().ok());
                self.schema = version.ok_or("`@schema` is written `>=1`")?;
            }
            _ => return Err(format!("`@{key}` is none of @query @answers @param @column @reads @schema")),
        }
        Ok(())
    }
}

fn name_and_type(value: &str) -> Result<(String, SqlType, &str), String> {
    let (name, rest) = value.split_once(char::is_whitespace).ok_or("expected a name, a type and what it means")?;
    let (sql_type, rest) = SqlType::prefix(rest.trim_start())
        .ok_or_else(|| format!("`{name}` has no type; one of {}", SqlType::NAMES.join(", ")))?;
    Ok((name.to_owned(), sql_type, rest.trim()))
}

fn documented(doc: &str) -> Result<String, String> {
    if doc.is_empty() { Err("what it means is missing".to_owned()) } else { Ok(doc.to_owned()) }
}

fn param(value: &str) -> Result<Param, String> {
    let (name, sql_type, rest) = name_and_type(value)?;
    let Some(rest) = rest.strip_prefix('=') else {
        return Ok(Param { name, sql_type, default: None, default_text: None, doc: documented(rest)? });
    };
    let rest = rest.trim_start();
    let (value, text, doc) = if let Some(quoted) = rest.strip_prefix('\'') {
        let (value, doc) = quoted.split_once('\'').ok_or("the default lacks its closing quote")?;
        (Some(value), format!("'{value}'"), doc)
    } else {
        let (value, doc) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        (Some(value).filter(|v| *v != "NULL"), value.to_owned(), doc)
    };
    let default = match value {
        Some(value) => sql_type.value(value).ok_or_else(|| format!("the default of `{name}` is not a {sql_type}"))?,
        None => sql_type.null(),
    };
    Ok(Param { name, sql_type, default: Some(default), default_text: Some(text), doc: documented(doc.trim())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_whole() {
        let header = Header::parse(
            "-- @query   a.b\n-- @answers What?\n-- @param n BIGINT = 20  rows\n-- @param t TEXT = 'x y' text\n\
             -- @param o INTEGER = NULL only this one\n-- @param must DOUBLE  no default\n\
             -- @column addr BIGINT UNSIGNED  where\n-- a comment\n-- @reads kernels, drops\n-- @schema >=1\nSELECT 1\n",
        )
        .unwrap();
        assert_eq!((header.query.as_str(), header.answers.as_str(), header.schema), ("a.b", "What?", 1));
        let defaults: Vec<_> = header.params.iter().map(|p| p.default.clone()).collect();
        let text = ScalarValue::Utf8(Some("x y".to_owned()));
        assert_eq!(defaults, [Some(ScalarValue::Int64(Some(20))), Some(text), Some(ScalarValue::Int32(None)), None]);
        assert_eq!(header.params[3].doc, "no default");
        let column = Column { name: "addr".into(), sql_type: SqlType::UBigInt, doc: "where".into() };
        assert_eq!(header.columns, [column]);
        assert_eq!(header.reads, ["drops", "kernels"]);
    }

    #[test]
    fn a_bad_line_is_named_with_what_was_expected() {
        for (text, expected) in [
            ("-- @column x", "expected a name, a type"),
            ("\n-- @column x FLOAT  y", "line 2: `x` has no type; one of"),
            ("-- @column x TEXT", "what it means is missing"),
            ("-- @param n BIGINT = ten  rows", "the default of `n` is not a BIGINT"),
            ("-- @param n TEXT = 'ten  rows", "closing quote"),
            ("-- @param n TEXT  rows\n-- @param n TEXT  rows", "line 2: `@param n` stands twice"),
            ("-- @schema 1", "`@schema` is written"),
            ("-- @author me", "`@author` is none of"),
            ("-- @reads", "`@reads` says nothing"),
        ] {
            let error = Header::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
