//! Decoding rows of a file that may be damaged.
//!
//! Decoders check what they read, but not all of it: some damage makes them panic. That is damage like any other.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

thread_local! {
    static IS_DECODING: Cell<bool> = const { Cell::new(false) };
}

/// The batches of a segment; after an error there are no more.
pub struct Batches {
    reader: Option<ParquetRecordBatchReader>,
}

impl From<ParquetRecordBatchReader> for Batches {
    fn from(reader: ParquetRecordBatchReader) -> Self {
        Self { reader: Some(reader) }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        silence();
        let reader = self.reader.as_mut()?;
        IS_DECODING.set(true);
        // The reader is not used again after a panic.
        let next = panic::catch_unwind(AssertUnwindSafe(|| reader.next()));
        IS_DECODING.set(false);
        let next = next.unwrap_or_else(|_| {
            let error = "its pages contradict themselves".to_owned();
            Some(Err(ArrowError::ParquetError(error)))
        });
        if !matches!(next, Some(Ok(_))) {
            self.reader = None;
        }
        next
    }
}

/// What panics while it decodes says so by its error alone.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_DECODING.get() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::segment::open;

    #[test]
    fn damage_anywhere_is_an_error_or_other_rows_and_never_a_panic() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1/even/node=even/source=nsys");
        let whole = std::fs::read(fixtures.join("nvtx_ranges-000008.parquet")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut errors = 0;
        for at in (0..whole.len()).step_by(whole.len() / 150).chain([7410]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            let Ok((_, builder)) = open(&path) else { continue };
            let Ok(reader) = builder.build() else { continue };
            errors += Batches::from(reader).filter(Result::is_err).count();
        }
        assert!(errors > 10, "{errors} of 150 flips show");
    }
}
