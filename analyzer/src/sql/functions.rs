//! Derived tables as functions: `layers()` is the whole table, `layers(0)` and `layers('id')` are what it holds of one request.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use kvpath_analysis::model::derived::Derived;

use super::derived::{Tables, table};

/// A request, as a query names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By `requests.request`.
    Number(i64),
    /// By its id; else by its number, if the text is one.
    Text(String),
}

impl Wanted {
    fn of(name: &str, expr: &Expr) -> Result<Self> {
        let refuse = || {
            let text = format!("{name}: a request is named by its number, {name}(0), or its id, {name}('id')");
            DataFusionError::Plan(text)
        };
        let Expr::Literal(value, _) = expr else { return Err(refuse()) };
        if let Some(Some(text)) = value.try_as_str() {
            return Ok(Self::Text(text.to_owned()));
        }
        match value.cast_to(&datafusion::arrow::datatypes::DataType::Int64) {
            Ok(ScalarValue::Int64(Some(number))) if value.data_type().is_integer() => Ok(Self::Number(number)),
            _ => Err(refuse()),
        }
    }

    /// Its number among those that are known.
    ///
    /// # Errors
    /// It is none of them.
    pub fn among<'a>(&self, known: impl Iterator<Item = (i32, Option<&'a str>)> + Clone) -> Result<i32> {
        let by_number = |number: i64| known.clone().find(|(known, _)| i64::from(*known) == number);
        let (found, text) = match self {
            Self::Number(number) => (by_number(*number), number.to_string()),
            Self::Text(text) => {
                let by_id = known.clone().find(|(_, id)| *id == Some(text.as_str()));
                (by_id.or_else(|| text.parse().ok().and_then(by_number)), text.escape_debug().to_string())
            }
        };
        found.map(|(number, _)| number).ok_or_else(|| {
            let count = known.count();
            let cure = "`SELECT request, request_id FROM paths` lists them";
            DataFusionError::Execution(format!("no request `{text}` in this run, which has {count}; {cure}"))
        })
    }
}

/// A derived table as a function.
pub struct Function {
    derived: &'static Derived,
    of: Arc<[(String, Arc<Tables>)]>,
}

impl Function {
    /// A derived table of runs, by their labels.
    #[must_use]
    pub fn new(derived: &'static Derived, of: Arc<[(String, Arc<Tables>)]>) -> Self {
        Self { derived, of }
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}()", self.derived.table.name)
    }
}

impl TableFunctionImpl for Function {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let name = self.derived.table.name;
        let is_of_request = self.derived.table.column("request").is_some();
        let of_one = |wanted| match &*self.of {
            [(_, only)] => only.table(self.derived, Some(wanted)),
            several => {
                let count = several.len();
                let text =
                    format!("{name}: each of these {count} runs has requests of its own; name one run with --run");
                Err(DataFusionError::Plan(text))
            }
        };
        Ok(match args.exprs() {
            [] if self.derived.is_of_request() => {
                let text =
                    format!("{name} is computed for one request: {name}(0) by its number, {name}('id') by its id");
                return Err(DataFusionError::Plan(text));
            }
            [] => table(self.derived, &self.of)?,
            [request] if is_of_request => Arc::new(of_one(Wanted::of(name, request)?)?),
            _ if is_of_request => return Err(DataFusionError::Plan(format!("{name} takes one request at most"))),
            _ => return Err(DataFusionError::Plan(format!("{name} is of no request: {name}() takes nothing"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_found_by_id_before_number() {
        let known = [(0, Some("7")), (7, None), (8, Some("b"))];
        let find = |wanted: Wanted| wanted.among(known.iter().copied()).map_err(|error| error.to_string());
        assert_eq!(find(Wanted::Text("7".into())), Ok(0));
        assert_eq!(find(Wanted::Number(7)), Ok(7));
        assert_eq!(find(Wanted::Text("8".into())), Ok(8));
        let error = find(Wanted::Text("x\n".into())).unwrap_err();
        assert!(error.contains("no request `x\\n` in this run, which has 3"), "{error}");
    }
}
