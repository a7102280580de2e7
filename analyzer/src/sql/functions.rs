//! Derived tables as functions: `layers()` is the whole table, `layers(0)` and `layers('id')` are what it holds of one request.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use datafusion::scalar::ScalarValue;
use kvpath_analysis::model::derived::Derived;
use kvpath_analysis::serving::lookup::RequestQuery;

use super::derived::{Tables, table};

/// The request that an argument names.
fn wanted(name: &str, expr: &Expr) -> Result<RequestQuery> {
    let refuse = || {
        let text = format!("{name}: a request is named by its number, {name}(0), or its id, {name}('id')");
        DataFusionError::Plan(text)
    };
    let Expr::Literal(value, _) = expr else { return Err(refuse()) };
    if let Some(Some(text)) = value.try_as_str() {
        return Ok(RequestQuery::Text(text.to_owned()));
    }
    match value.cast_to(&datafusion::arrow::datatypes::DataType::Int64) {
        Ok(ScalarValue::Int64(Some(number))) if value.data_type().is_integer() => Ok(RequestQuery::Number(number)),
        _ => Err(refuse()),
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
            [request] if is_of_request => Arc::new(of_one(wanted(name, request)?)?),
            _ if is_of_request => return Err(DataFusionError::Plan(format!("{name} takes one request at most"))),
            _ => return Err(DataFusionError::Plan(format!("{name} is of no request: {name}() takes nothing"))),
        })
    }
}
