//! Answers as bytes. Encoders touch no file: whoever prints takes the bytes from them, and so sees errors of writing
//! (a broken pipe above all) as what they are.

mod cells;
mod table;

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::{Compression, ZstdLevel};
use datafusion::parquet::file::properties::WriterProperties;

use table::Table;

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for people; held in memory until it is whole.
    Table,
    /// Comma-separated, with a header line.
    Csv,
    /// One JSON object a row, a line each.
    Json,
    /// A Parquet file.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// How it is named.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// What it is, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Table => "Columns for people; held in memory until it is whole",
            Self::Csv => "Comma-separated, with a header line",
            Self::Json => "One JSON object a row, a line each",
            Self::Parquet => "A Parquet file",
            Self::Arrow => "An Arrow IPC stream",
        }
    }

    /// The format that the ending of a file's name stands for.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "txt" => Some(Self::Table),
            "csv" => Some(Self::Csv),
            "json" | "jsonl" | "ndjson" => Some(Self::Json),
            "parquet" => Some(Self::Parquet),
            "arrow" | "arrows" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// Whether it is of no use on a terminal.
    #[must_use]
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Parquet | Self::Arrow)
    }
}

/// Turns batches into bytes.
pub enum Encoder {
    /// See [`Format::Table`].
    Table(Table),
    /// See [`Format::Csv`]; bytes that were not taken yet.
    Csv(Vec<u8>),
    /// See [`Format::Json`]; bytes that were not taken yet.
    Json(Vec<u8>),
    /// See [`Format::Parquet`].
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    /// See [`Format::Arrow`].
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Encoder {
    /// An encoder for rows of `schema`; `memory` holds what a table must keep until its end.
    ///
    /// # Errors
    /// A type that the format cannot hold.
    pub fn new(format: Format, schema: &SchemaRef, memory: MemoryReservation) -> Result<Self> {
        Ok(match format {
            Format::Table => Self::Table(Table::new(schema, memory)),
            Format::Csv => {
                let mut head = Vec::new();
                let empty = RecordBatch::new_empty(Arc::clone(schema));
                csv::WriterBuilder::new().with_header(true).build(&mut head).write(&empty)?;
                Self::Csv(head)
            }
            Format::Json => Self::Json(Vec::new()),
            Format::Parquet => {
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
                let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties.build()))?;
                Self::Parquet(Box::new(writer))
            }
            Format::Arrow => Self::Arrow(Box::new(StreamWriter::try_new(Vec::new(), schema)?)),
        })
    }

    /// Takes rows in.
    ///
    /// # Errors
    /// A value that the format cannot hold, or a table beyond its memory.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Table(table) => table.write(batch)?,
            Self::Csv(out) => csv::WriterBuilder::new().with_header(false).build(out).write(batch)?,
            Self::Json(out) => {
                // A key for every column in every row, so that each line says what is null.
                let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(out);
                writer.write(batch)?;
                writer.finish()?;
            }
            Self::Parquet(writer) => writer.write(batch)?,
            Self::Arrow(writer) => writer.write(batch)?,
        }
        Ok(())
    }

    /// Ends the answer; what is left to print comes from [`Encoder::take`].
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn finish(&mut self) -> Result<()> {
        match self {
            Self::Table(table) => table.finish()?,
            Self::Csv(_) | Self::Json(_) => {}
            Self::Parquet(writer) => {
                writer.finish()?;
            }
            Self::Arrow(writer) => writer.finish()?,
        }
        Ok(())
    }

    /// The bytes since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match self {
            Self::Table(table) => table.out(),
            Self::Csv(out) | Self::Json(out) => out,
            Self::Parquet(writer) => writer.inner_mut(),
            Self::Arrow(writer) => writer.get_mut(),
        })
    }
}
