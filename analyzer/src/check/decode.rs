//! Does a segment decode to the last row, with the columns of its table?

use kvpath_schema::{segment, tables};

use kvpath_analysis::load::Segment;

/// Reads the whole segment; the error is one line that names the file.
///
/// # Errors
/// Unknown table, wrong columns, damaged data, or fewer rows than the footer says.
pub fn whole(segment: &Segment) -> Result<(), String> {
    let path = segment.path.display();
    let table = tables::raw(&segment.meta.table)
        .ok_or_else(|| format!("{path}: unknown table `{}`; this kvpath does not know it", segment.meta.table))?;
    let (_, builder) = segment::open(&segment.path).map_err(|error| error.to_string())?;
    for column in table.columns {
        let found = builder.schema().field_with_name(column.name).ok();
        let expected = (column.data_type)();
        match found {
            Some(field) if *field.data_type() == expected => {}
            Some(field) => {
                return Err(format!(
                    "{path}: column `{}` should be {expected} but is {}",
                    column.name,
                    field.data_type()
                ));
            }
            None if column.nullable => {}
            None => return Err(format!("{path}: column `{}` is missing", column.name)),
        }
    }
    let damaged = |error: String| format!("{path}: damaged data ({error})");
    let mut rows = 0;
    for batch in builder.build().map_err(|error| damaged(error.to_string()))? {
        rows += batch.map_err(|error| damaged(error.to_string()))?.num_rows();
    }
    if i64::try_from(rows) != Ok(segment.rows) {
        return Err(damaged(format!("{rows} rows where the footer says {}", segment.rows)));
    }
    Ok(())
}
