//! Parameters of queries: their types, and the values that users give them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use datafusion::arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;

use super::header::Param;

/// A type as queries and the schema's documentation call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlType {
    /// Signed, 64 bits.
    BigInt,
    /// Unsigned, 64 bits.
    UBigInt,
    /// Signed, 32 bits.
    Integer,
    /// 64-bit float.
    Double,
    /// `true` or `false`.
    Boolean,
    /// Text.
    Text,
    /// Bytes, written as hexadecimal digits.
    Bytea,
}

/// The longer name first where one begins with the other.
const TYPES: [(&str, SqlType); 7] = [
    ("BIGINT UNSIGNED", SqlType::UBigInt),
    ("BIGINT", SqlType::BigInt),
    ("INTEGER", SqlType::Integer),
    ("DOUBLE", SqlType::Double),
    ("BOOLEAN", SqlType::Boolean),
    ("TEXT", SqlType::Text),
    ("BYTEA", SqlType::Bytea),
];

/// Bytes of hexadecimal digits, two each.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_whole = digits.len().is_multiple_of(2) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_whole.then(|| digits.as_bytes().chunks(2).map(pair).collect())?
}

impl SqlType {
    /// Every name.
    pub const NAMES: [&'static str; 7] =
        [TYPES[0].0, TYPES[1].0, TYPES[2].0, TYPES[3].0, TYPES[4].0, TYPES[5].0, TYPES[6].0];

    /// The type that `text` begins with, and what follows.
    pub(super) fn prefix(text: &str) -> Option<(Self, &str)> {
        TYPES.iter().find_map(|(name, sql_type)| {
            let rest = text.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with([' ', '\t', '='])).then_some((*sql_type, rest))
        })
    }

    /// `text` as a value of this type.
    #[must_use]
    pub fn value(self, text: &str) -> Option<ScalarValue> {
        Some(match self {
            Self::BigInt => text.parse::<i64>().ok()?.into(),
            Self::UBigInt => text.parse::<u64>().ok()?.into(),
            Self::Integer => text.parse::<i32>().ok()?.into(),
            Self::Double => text.parse::<f64>().ok()?.into(),
            Self::Boolean => text.parse::<bool>().ok()?.into(),
            Self::Text => text.into(),
            Self::Bytea => ScalarValue::Binary(Some(bytes(text)?)),
        })
    }

    /// Null of this type.
    #[must_use]
    pub fn null(self) -> ScalarValue {
        match self {
            Self::BigInt => ScalarValue::Int64(None),
            Self::UBigInt => ScalarValue::UInt64(None),
            Self::Integer => ScalarValue::Int32(None),
            Self::Double => ScalarValue::Float64(None),
            Self::Boolean => ScalarValue::Boolean(None),
            Self::Text => ScalarValue::Utf8(None),
            Self::Bytea => ScalarValue::Binary(None),
        }
    }

    /// What a value is where no header says it: the plan knows when the parameter stands beside a column, its spelling
    /// says it otherwise.
    fn guess(text: &str, planned: Option<&DataType>) -> Self {
        match planned {
            Some(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(..)) => Self::Text,
            Some(DataType::Boolean) => Self::Boolean,
            _ => [Self::BigInt, Self::UBigInt, Self::Double, Self::Boolean]
                .into_iter()
                .find(|sql_type| sql_type.value(text).is_some())
                .unwrap_or(Self::Text),
        }
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = TYPES.iter().find(|(_, sql_type)| sql_type == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// Why values cannot be bound.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParamError {
    /// Not `name=value`.
    #[error("`--param {0}` is not of the form name=value")]
    Form(String),
    /// Given twice.
    #[error("parameter `{0}` is given twice")]
    Twice(String),
    /// Not of this query.
    #[error("the query has no parameter `{name}`; {takes}")]
    Unknown {
        /// As given.
        name: String,
        /// What it takes.
        takes: String,
    },
    /// Not given.
    #[error("parameter{} {} must be given, as --param {}=VALUE", if .0.len() > 1 { "s" } else { "" }, .0.join(", "), .0[0])]
    Missing(Vec<String>),
    /// Of another type.
    #[error("parameter `{name}` is a {sql_type}, and `{value}` is none")]
    Type {
        /// Name.
        name: String,
        /// Its type.
        sql_type: SqlType,
        /// As given.
        value: String,
    },
}

/// Splits `name=value`.
///
/// # Errors
/// No `=`, no name, or a name given twice.
pub fn split(given: &[String]) -> Result<BTreeMap<String, String>, ParamError> {
    let mut values = BTreeMap::new();
    for pair in given {
        let (name, value) = pair.split_once('=').ok_or_else(|| ParamError::Form(pair.clone()))?;
        if name.is_empty() {
            return Err(ParamError::Form(pair.clone()));
        }
        if values.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(ParamError::Twice(name.to_owned()));
        }
    }
    Ok(values)
}

/// The value of every parameter of a query: `declared` in its header, `placed` in its plan (name without `$`, and type
/// where the plan knows it), `given` by the user.
///
/// # Errors
/// A value that the query does not take, that it lacks, or of another type.
pub fn bind(
    declared: &[Param],
    placed: &BTreeMap<String, Option<DataType>>,
    given: &BTreeMap<String, String>,
) -> Result<HashMap<String, ScalarValue>, ParamError> {
    let find = |name: &str| declared.iter().find(|param| param.name == name);
    if let Some(name) = given.keys().find(|name| find(name).is_none() && !placed.contains_key(*name)) {
        return Err(ParamError::Unknown { name: name.clone(), takes: takes(declared, placed) });
    }
    let mut values = HashMap::new();
    let mut missing = Vec::new();
    for (name, data_type) in placed {
        let param = find(name);
        let value = match (given.get(name), param.and_then(|p| p.default.clone())) {
            (Some(text), _) => {
                let sql_type = param.map_or_else(|| SqlType::guess(text, data_type.as_ref()), |p| p.sql_type);
                sql_type.value(text).ok_or_else(|| ParamError::Type {
                    name: name.clone(),
                    sql_type,
                    value: text.clone(),
                })?
            }
            (None, Some(default)) => default,
            (None, None) => {
                missing.push(name.clone());
                continue;
            }
        };
        values.insert(name.clone(), value);
    }
    if missing.is_empty() { Ok(values) } else { Err(ParamError::Missing(missing)) }
}

fn takes(declared: &[Param], placed: &BTreeMap<String, Option<DataType>>) -> String {
    let mut names: Vec<String> = declared.iter().map(|p| format!("{} {}", p.name, p.sql_type)).collect();
    if names.is_empty() {
        names = placed.keys().cloned().collect();
    }
    if names.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::header::Header;

    fn pairs(given: &[&str]) -> BTreeMap<String, String> {
        split(&given.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
    }

    fn placed(names: &[&str]) -> BTreeMap<String, Option<DataType>> {
        names.iter().map(|name| ((*name).to_owned(), None)).collect()
    }

    fn declared() -> Vec<Param> {
        Header::parse("-- @param rows BIGINT = 20  rows\n-- @param name TEXT  name").unwrap().params
    }

    #[test]
    fn given_values_win_over_defaults_and_have_the_declared_type() {
        let values = bind(&declared(), &placed(&["rows", "name"]), &pairs(&["name=7"])).unwrap();
        assert_eq!(values["rows"], ScalarValue::Int64(Some(20)));
        assert_eq!(values["name"], ScalarValue::Utf8(Some("7".to_owned())));
        let values = bind(&declared(), &placed(&["rows", "name"]), &pairs(&["rows=3", "name=a=b"])).unwrap();
        assert_eq!(values["rows"], ScalarValue::Int64(Some(3)));
        assert_eq!(values["name"], ScalarValue::Utf8(Some("a=b".to_owned())));
    }

    #[test]
    fn undeclared_values_take_the_type_of_the_plan_or_of_their_spelling() {
        let mut places = placed(&["a", "b", "c"]);
        places.insert("d".to_owned(), Some(DataType::Utf8));
        let values = bind(&[], &places, &pairs(&["a=7", "b=0.5", "c=x", "d=7"])).unwrap();
        assert_eq!(values["a"], ScalarValue::Int64(Some(7)));
        assert_eq!(values["b"], ScalarValue::Float64(Some(0.5)));
        assert_eq!(values["c"], ScalarValue::Utf8(Some("x".to_owned())));
        assert_eq!(values["d"], ScalarValue::Utf8(Some("7".to_owned())));
    }

    #[test]
    fn each_error_names_the_parameter() {
        let places = placed(&["rows", "name"]);
        let text = |given: &[&str]| bind(&declared(), &places, &pairs(given)).unwrap_err().to_string();
        assert_eq!(text(&[]), "parameter name must be given, as --param name=VALUE");
        assert_eq!(text(&["x=1"]), "the query has no parameter `x`; it takes rows BIGINT, name TEXT");
        assert_eq!(text(&["rows=ten", "name=x"]), "parameter `rows` is a BIGINT, and `ten` is none");
        assert_eq!(split(&["rows".to_owned()]), Err(ParamError::Form("rows".to_owned())));
        assert_eq!(split(&["a=1".to_owned(), "a=2".to_owned()]), Err(ParamError::Twice("a".to_owned())));
    }
}
