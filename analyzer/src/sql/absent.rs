//! Columns that segments from before them lack, and that say something by that.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory, replace_columns_with_literals,
};
use kvpath_schema::table::TableDef;

/// How the columns of a table are read from a segment: by name, and [`kvpath_schema::table::ColumnDef::absent`] where there is none.
#[derive(Debug)]
pub struct Absent(HashMap<&'static str, ScalarValue>);

impl Absent {
    /// Of a table; `None` if the engine's own way does.
    #[must_use]
    pub fn of(def: &TableDef) -> Option<Self> {
        let columns = def.columns.iter().filter_map(|column| Some((column, column.absent?)));
        let values: HashMap<_, _> =
            columns.map(|(column, text)| (column.name, value(text, &(column.data_type)()))).collect();
        (!values.is_empty()).then_some(Self(values))
    }
}

fn value(text: &str, data_type: &DataType) -> ScalarValue {
    match data_type {
        DataType::Dictionary(key, _) => ScalarValue::Dictionary(key.clone(), Box::new(ScalarValue::from(text))),
        _ => ScalarValue::from(text),
    }
}

impl PhysicalExprAdapterFactory for Absent {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let values = self.0.iter().filter(|(name, _)| file.field_with_name(name).is_err());
        let values = values.map(|(name, value)| (*name, value.clone())).collect();
        let others = DefaultPhysicalExprAdapterFactory.create(table, file)?;
        Ok(Arc::new(OfSegment { values, others }))
    }
}

/// The same for one segment.
#[derive(Debug)]
struct OfSegment {
    values: HashMap<&'static str, ScalarValue>,
    others: Arc<dyn PhysicalExprAdapter>,
}

impl PhysicalExprAdapter for OfSegment {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        self.others.rewrite(replace_columns_with_literals(expr, &self.values)?)
    }
}
