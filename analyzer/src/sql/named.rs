//! `nixl_transfers` with what the notifications name: recorders store texts, the rules of the serving engines read them.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::exec_err;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::ident;
use kvpath_analysis::serving::notifications::{Named, of_transfer};

/// The table whose notifications are read.
const TABLE: &str = "nixl_transfers";

/// A raw table as queries see it: itself, or with columns that are read from texts. They cost nothing where none is asked for.
///
/// # Errors
/// None that is known: the columns are the schema's.
pub fn read(name: &str, table: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>> {
    if name != TABLE {
        return Ok(table);
    }
    let schema = table.schema();
    let columns = schema.fields().iter().map(|field| match Column::of(field.name()) {
        Some(column) => {
            let stored = [ident("notif"), ident("notif_bytes"), ident(field.name())];
            ScalarUDF::new_from_impl(column).call(stored.into()).alias(field.name())
        }
        None => ident(field.name()),
    });
    let columns: Vec<Expr> = columns.collect();
    let plan = LogicalPlanBuilder::scan(TABLE, provider_as_source(table), None)?.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// A column that is read from the notification, and as it is stored where that says nothing: a function of the text, how long it
/// was, and what is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Column {
    Request(Signature),
    Chunk(Signature),
    SenderRank(Signature),
}

impl Column {
    fn of(name: &str) -> Option<Self> {
        let of = |stored| Signature::exact(vec![DataType::Utf8, DataType::Int64, stored], Volatility::Immutable);
        Some(match name {
            "request" => Self::Request(of(DataType::Utf8)),
            "chunk" => Self::Chunk(of(DataType::Int32)),
            "sender_rank" => Self::SenderRank(of(DataType::Int32)),
            _ => return None,
        })
    }
}

impl ScalarUDFImpl for Column {
    fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request_of_notif",
            Self::Chunk(_) => "chunk_of_notif",
            Self::SenderRank(_) => "sender_rank_of_notif",
        }
    }

    fn signature(&self) -> &Signature {
        let (Self::Request(signature) | Self::Chunk(signature) | Self::SenderRank(signature)) = self;
        signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if matches!(self, Self::Request(_)) { DataType::Utf8 } else { DataType::Int32 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [texts, bytes, stored] = arrays.as_slice() else {
            return exec_err!("{} takes the text, its bytes and what is stored", self.name());
        };
        let (texts, bytes) = (texts.as_string::<i32>(), bytes.as_primitive::<Int64Type>());
        let named = texts.iter().zip(bytes).map(|(text, bytes)| text.and_then(|text| of_transfer(text, bytes)));
        let number = |of: fn(&Named) -> Option<i32>| -> ArrayRef {
            let stored = stored.as_primitive::<Int32Type>();
            let numbers =
                named.clone().zip(stored).map(|(named, stored)| named.and_then(|named| of(&named)).or(stored));
            Arc::new(numbers.collect::<Int32Array>())
        };
        Ok(ColumnarValue::Array(match self {
            Self::Request(_) => {
                let stored = stored.as_string::<i32>();
                let ids = named.zip(stored).map(|(named, stored)| named.map(|named| named.request).or(stored));
                Arc::new(ids.collect::<StringArray>())
            }
            Self::Chunk(_) => number(|named| named.chunk),
            Self::SenderRank(_) => number(|named| named.sender_rank),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
    use datafusion::datasource::MemTable;
    use datafusion::prelude::SessionContext;

    #[test]
    fn texts_are_read_and_what_is_stored_stays_where_they_say_nothing() {
        let texts = [Some("7_kv_3_1_1"), Some("cmpl-1-0a0b0c0d:1"), Some("7_kv_3_1_1"), Some("of no engine"), None];
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("notif", Arc::new(StringArray::from(texts.to_vec()))),
            ("notif_bytes", Arc::new(Int64Array::from(vec![Some(10), Some(17), Some(300), Some(12), None]))),
            ("request", Arc::new(StringArray::from(vec![None, None, None, Some("8"), Some("9")]))),
            ("chunk", Arc::new(Int32Array::from(vec![None, None, None, None, Some(5)]))),
            ("sender_rank", Arc::new(Int32Array::from(vec![None, None, None, Some(6), None]))),
        ];
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
        let batch = batch.unwrap();
        let table = Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch.clone()]]).unwrap());
        let view = read(TABLE, Arc::clone(&table) as Arc<dyn TableProvider>).unwrap();
        assert_eq!(view.schema(), batch.schema());
        let context = SessionContext::new();
        context.register_table(TABLE, view).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ask = |sql: &str| {
            let rows = runtime.block_on(async { context.sql(sql).await?.collect().await }).unwrap();
            let mut lines = Vec::new();
            for batch in &rows {
                let options = FormatOptions::default().with_null("-");
                let columns = batch.columns().iter().map(|array| ArrayFormatter::try_new(array, &options).unwrap());
                let columns: Vec<ArrayFormatter> = columns.collect();
                lines.extend((0..batch.num_rows()).map(|row| {
                    columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" ")
                }));
            }
            lines
        };
        // The third is cut within the rank.
        assert_eq!(
            ask("SELECT request, chunk, sender_rank FROM nixl_transfers"),
            ["7 3 1", "cmpl-1 - -", "7 3 -", "8 - 6", "9 5 -"]
        );
        assert_eq!(ask("SELECT count(*) FROM nixl_transfers WHERE request = '7' AND chunk = 3"), ["2"]);
        assert_eq!(ask("SELECT count(*) FROM nixl_transfers"), ["5"]);
    }
}
