//! Cells of the table for people: floating-point numbers with sensible digits, mangled names written out. Other formats keep
//! values as they are.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Schema};
use datafusion::error::Result;

use crate::report::name::{demangled, fitted};

/// Significant digits of a floating-point number.
const DIGITS: i32 = 6;

/// Characters of a mangled name that is written out.
const WIDEST: usize = 80;

/// The same rows, with cells as people read them.
///
/// # Errors
/// None that is known: columns keep their length.
pub(super) fn readable(batch: &RecordBatch) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let shown: ArrayRef = match of(column)? {
            Some(texts) => Arc::new(texts),
            None => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), shown.data_type().clone(), true));
        columns.push(shown);
    }
    if columns.is_empty() {
        return Ok(batch.clone());
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// A column that is not shown as it is.
fn of(column: &ArrayRef) -> Result<Option<StringArray>> {
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    Ok(match column.data_type() {
        DataType::Float64 => {
            let numbers = column.as_primitive::<Float64Type>();
            Some(numbers.iter().map(|number| number.map(digits)).collect())
        }
        DataType::Dictionary(_, value) if is_text(value) => Some(names(cast(column, &DataType::Utf8)?.as_string())),
        data_type if is_text(data_type) => Some(names(cast(column, &DataType::Utf8)?.as_string())),
        _ => None,
    })
}

fn names(texts: &StringArray) -> StringArray {
    let shown = |text: &str| if text.starts_with("_Z") { fitted(&demangled(text), WIDEST) } else { text.to_owned() };
    texts.iter().map(|text| text.map(shown)).collect()
}

/// A number with [`DIGITS`] significant digits; whole ones keep all that stand before the point.
fn digits(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return format!("{number:?}");
    }
    let magnitude = number.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{number:.5e}");
    }
    #[expect(clippy::cast_possible_truncation, reason = "from -5 to 14")]
    let places = usize::try_from((DIGITS - 1 - magnitude as i32).max(1)).unwrap_or(1);
    let shown = format!("{number:.places$}");
    let short = shown.trim_end_matches('0');
    // `2.0` tells a floating-point number from an integer.
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Float64Array;

    use super::*;

    #[test]
    fn floating_point_numbers_have_sensible_digits() {
        for (number, shown) in [
            (0.576_923_076_923, "0.576923"),
            (8_065.969_230_769, "8065.97"),
            (262_144.0, "262144.0"),
            (1_234_567.891, "1234567.9"),
            (-0.000_012_345_678, "-0.0000123457"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (1e-9, "1.00000e-9"),
            (1e300, "1.00000e300"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(digits(number), shown);
        }
    }

    #[test]
    fn null_stays_null_and_mangled_names_are_written_out() {
        let number: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(1.5)]));
        let name: ArrayRef = Arc::new(StringArray::from(vec![Some("_ZN2at6kernelEv"), Some("a")]));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", number, true), ("name", name, true)]).unwrap();
        let shown = readable(&batch).unwrap();
        let cells = |at: usize| shown.column(at).as_string::<i32>().iter().collect::<Vec<_>>();
        assert_eq!((cells(0), cells(1)), (vec![None, Some("1.5")], vec![Some("at::kernel"), Some("a")]));
    }
}
