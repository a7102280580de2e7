//! How the encodings and the codec of [`kvpath_schema::segment`] were chosen: every variant over the kernels and copies of
//! the bundled H200 recording, interleaved, best of [`ROUNDS`]. Prints a table; its results lie in `docs/storage.md`.
//!
//! `cargo bench --package kvpath-schema --features tables --bench storage`

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use kvpath_schema::segment;
use kvpath_schema::table::{Columns, Encoding, TableDef};
use kvpath_schema::tables::gpu::{Kernels, Memcpys};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding as ParquetEncoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

const ROUNDS: usize = 15;

#[derive(Clone, Copy)]
enum Layout {
    /// What the Parquet writer does by itself: a dictionary for every column.
    Dictionary,
    /// No encoding at all.
    Plain,
    /// Dictionaries, but deltas for sorted times and rising ids.
    Delta,
    /// As the schema says: also durations split by byte.
    Schema,
}

fn properties(table: &TableDef, layout: Layout, codec: Compression) -> WriterProperties {
    let mut builder = WriterProperties::builder().set_compression(codec);
    for column in table.columns {
        let path = ColumnPath::from(column.name);
        let delta = column.encoding == Encoding::Delta && !matches!(layout, Layout::Dictionary | Layout::Plain);
        let split = column.encoding == Encoding::Split && matches!(layout, Layout::Schema);
        builder = if delta || split {
            let encoding =
                if delta { ParquetEncoding::DELTA_BINARY_PACKED } else { ParquetEncoding::BYTE_STREAM_SPLIT };
            builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding)
        } else {
            // Names stay a dictionary in every layout: they are dictionaries in memory too.
            builder.set_column_dictionary_enabled(path, !matches!(layout, Layout::Plain) || column.name == "name")
        };
    }
    builder.build()
}

fn write(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("in memory");
    writer.write(batch).expect("in memory");
    writer.into_inner().expect("in memory")
}

fn read(file: &[u8]) -> usize {
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(parquet_bytes(file)).expect("what was just written is whole");
    builder.build().expect("as above").map(|batch| batch.expect("as above").num_rows()).sum()
}

fn parquet_bytes(file: &[u8]) -> impl parquet::file::reader::ChunkReader + 'static {
    let mut copy = tempfile::tempfile().expect("a temporary file");
    std::io::Write::write_all(&mut copy, file).expect("a temporary file");
    copy
}

fn measure<C: Columns>(fixture: &Path) {
    let mut columns = C::default();
    segment::read_into(fixture, &mut columns).expect("the bundled recording is whole");
    let batch = columns.to_batch();
    let rows = batch.num_rows();
    let codecs = [
        ("none", Compression::UNCOMPRESSED),
        ("lz4_raw", Compression::LZ4_RAW),
        ("zstd 1", Compression::ZSTD(ZstdLevel::try_new(1).expect("1 is a level"))),
        ("zstd 3", Compression::ZSTD(ZstdLevel::try_new(3).expect("3 is a level"))),
    ];
    let layouts = [
        ("plain", Layout::Plain),
        ("dictionary", Layout::Dictionary),
        ("+ delta", Layout::Delta),
        ("+ split", Layout::Schema),
    ];
    let mut best = vec![(Duration::MAX, Duration::MAX, 0usize); codecs.len() * layouts.len()];
    for _ in 0..ROUNDS {
        for (l, (_, layout)) in layouts.iter().enumerate() {
            for (c, (_, codec)) in codecs.iter().enumerate() {
                let slot = &mut best[l * codecs.len() + c];
                let start = Instant::now();
                let file = write(&batch, properties(C::DEF, *layout, *codec));
                slot.0 = slot.0.min(start.elapsed());
                let start = Instant::now();
                assert_eq!(read(&file), rows);
                slot.1 = slot.1.min(start.elapsed());
                slot.2 = file.len();
            }
        }
    }
    println!("\n{}: {rows} rows\n", C::DEF.name);
    println!("| layout | codec | bytes a row | write ms | read ms |\n|---|---|---|---|---|");
    for (l, (layout, _)) in layouts.iter().enumerate() {
        for (c, (codec, _)) in codecs.iter().enumerate() {
            let (written, read, bytes) = best[l * codecs.len() + c];
            #[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
            let a_row = bytes as f64 / rows as f64;
            println!(
                "| {layout} | {codec} | {a_row:.2} | {:.1} | {:.1} |",
                written.as_secs_f64() * 1e3,
                read.as_secs_f64() * 1e3
            );
        }
    }
}

fn main() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/v1/even/node=even/source=nsys");
    measure::<Kernels>(&folder.join("kernels-000004.parquet"));
    measure::<Memcpys>(&folder.join("memcpys-000005.parquet"));
}
