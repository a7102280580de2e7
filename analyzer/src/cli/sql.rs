//! `kvpath sql RUN QUERY`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::choice::Written;
use super::limit::Limit;
use crate::error::OK;
use crate::report::units::plural;
use crate::sql::format::{Encoder, Format};
use crate::sql::header::{Header, Param};
use crate::sql::{Session, library, params};
use kvpath_analysis::load::Run;

/// Ask a run with SQL, or with a query of the library.
#[derive(Debug, Args)]
pub struct Sql {
    /// The run: a folder, a glob, or one segment.
    pub run: String,
    /// SQL text, or the name of a query (`kvpath queries list`).
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    pub query: Option<String>,
    /// Read the SQL from a file; `-` is standard input.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Value of a parameter, `$name` in the query.
    #[arg(long = "param", value_name = "NAME=VALUE")]
    pub params: Vec<String>,
    /// How the answer is written; by default as the ending of FILE says (.csv, .json, .parquet, .arrow), else as a table.
    #[arg(long, value_enum)]
    pub format: Option<Written>,
    /// Write the answer to a file, which appears when it is whole; how many rows it has is said on standard error.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Memory.
    #[command(flatten)]
    pub limit: Limit,
}

impl Sql {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        if self.format().is_binary() && self.out.is_none() && std::io::stdout().is_terminal() {
            anyhow::bail!("--format parquet and arrow are not for a terminal; give --out FILE, or redirect the output");
        }
        let (text, declared) = self.text()?;
        let given = params::split(&self.params)?;
        let run = Run::open(&self.run)?;
        if let Some(out) = &self.out {
            refuse_inside(&run, out)?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
        let result = runtime.block_on(self.answer(&run, &text, &declared, &given));
        // Not waited for: what still runs has nobody to run for.
        runtime.shutdown_background();
        result.map(|()| OK)
    }

    fn format(&self) -> Format {
        let given = self.format.map(|written| written.0);
        given.or_else(|| Format::of_file(self.out.as_deref()?)).unwrap_or(Format::Table)
    }

    /// The SQL, and the parameters that its header declares.
    fn text(&self) -> anyhow::Result<(String, Vec<Param>)> {
        if let Some(file) = &self.file {
            let mut text = String::new();
            let read = if file == Path::new("-") {
                std::io::stdin().read_to_string(&mut text)
            } else {
                File::open(file).and_then(|mut file| file.read_to_string(&mut text))
            };
            read.with_context(|| file.display().to_string())?;
            let header = Header::parse(&text).with_context(|| file.display().to_string())?;
            return Ok((text, header.params));
        }
        let query = self.query.clone().unwrap_or_default();
        // No statement that reads a table is one word; names of queries are.
        if query.contains(|c: char| c.is_whitespace() || c == '(') {
            return Ok((query, Vec::new()));
        }
        let query = library::find(&query)?;
        Ok((query.text.to_owned(), query.header.params.clone()))
    }

    async fn answer(
        &self,
        run: &Run,
        text: &str,
        declared: &[Param],
        given: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        let session = Session::new(run, self.limit.memory_limit)?;
        let plan = session.bind(session.plan(text).await?, declared, given)?;
        let mut answer = session.run(plan).await?;
        let failed = |error| session.error(&error);
        let mut encoder = Encoder::new(self.format(), &answer.schema(), session.reserve("table")).map_err(failed)?;
        // The file is made only now: a query that does not plan leaves none.
        let mut sink = Sink::new(self.out.as_deref())?;
        let mut rows = 0;
        while let Some(batch) = answer.next().await? {
            encoder.write(&batch).map_err(failed)?;
            rows += batch.num_rows();
            if sink.write(&encoder.take())?.is_closed() {
                return Ok(());
            }
        }
        encoder.finish().map_err(failed)?;
        sink.write(&encoder.take())?;
        sink.close()?;
        self.say_rows(rows);
        Ok(())
    }

    /// Of what people read, and of files, which they do not see.
    fn say_rows(&self, rows: usize) {
        let rows = plural(i64::try_from(rows).unwrap_or(i64::MAX), "row");
        match &self.out {
            Some(out) => eprintln!("kvpath: {}: {rows} ({})", out.display(), self.format().name()),
            None if self.format() == Format::Table => eprintln!("{rows}"),
            None => {}
        }
    }
}

/// Refuses a file below the run's own folders: it would be taken for a segment.
fn refuse_inside(run: &Run, out: &Path) -> anyhow::Result<()> {
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let mut owned: Vec<PathBuf> = vec![PathBuf::from(&run.name)];
    owned.extend(run.segments.iter().filter_map(|segment| segment.path.parent().map(Path::to_owned)));
    // A run that is one file, or a glob, owns only the folders of its segments.
    let owned = owned.into_iter().filter(|folder| folder.is_dir()).filter_map(|folder| folder.canonicalize().ok());
    for owned in owned {
        if folder.starts_with(&owned) {
            anyhow::bail!("{}: lies in the run {}, which is never modified; write elsewhere", out.display(), run.name);
        }
    }
    Ok(())
}

/// Whether anybody still reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

impl Reader {
    fn is_closed(self) -> bool {
        self == Self::Gone
    }
}

/// Where the answer goes. A file appears under its name when it is whole.
struct Sink {
    out: Box<dyn Write>,
    name: String,
    rename: Option<Rename>,
}

/// A file that is being written; removed unless it becomes whole.
struct Rename {
    partial: PathBuf,
    path: PathBuf,
}

impl Drop for Rename {
    fn drop(&mut self) {
        // Gone after the rename; otherwise a failed answer's remains.
        let _ = std::fs::remove_file(&self.partial);
    }
}

impl Sink {
    fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            let out = Box::new(std::io::stdout().lock());
            return Ok(Self { out, name: "standard output".to_owned(), rename: None });
        };
        let name = path.display().to_string();
        // A device or pipe cannot be renamed over.
        let special = path.metadata().is_ok_and(|meta| !meta.is_file());
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let target = if special { path.to_owned() } else { PathBuf::from(partial) };
        let file = File::create(&target).with_context(|| name.clone())?;
        let rename = (!special).then(|| Rename { partial: target, path: path.to_owned() });
        Ok(Self { out: Box::new(file), name, rename })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<Reader> {
        match self.out.write_all(bytes) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error).with_context(|| self.name.clone()),
        }
    }

    fn close(mut self) -> anyhow::Result<()> {
        match self.out.flush() {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error).context(self.name),
            _ => {}
        }
        if let Some(rename) = &self.rename {
            std::fs::rename(&rename.partial, &rename.path).with_context(|| self.name.clone())?;
        }
        Ok(())
    }
}
