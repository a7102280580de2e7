//! `kvpath sql RUN QUERY`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::choice::Written;
use super::input::{self, Input};
use super::limit::Limit;
use crate::error::OK;
use crate::report::units::plural;
use crate::sql::error::SqlError;
use crate::sql::format::{Encoder, Format};
use crate::sql::header::{Header, Param};
use crate::sql::{Session, library, params};
use kvpath_analysis::load::Run;

/// Ask a run with SQL, or with a query of the library.
#[derive(Debug, Args)]
pub struct Sql {
    /// The run.
    #[command(flatten)]
    pub input: Input,
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
        let mut runs = self.input.open_all()?;
        if let Some(query) = self.library_query() {
            // Its joins know requests and processes by numbers that each run has of its own.
            runs = vec![Run::only(&self.input.run, runs).with_context(|| format!("`{query}` asks one run"))?];
        }
        if let Some(out) = &self.out {
            runs.iter().try_for_each(|run| refuse_inside(run, out))?;
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
        let result = loop {
            let mut has_left = false;
            let Err(error) = runtime.block_on(self.answer(&runs, &text, &declared, &given, &mut has_left)) else {
                break Ok(OK);
            };
            match without_damage(&mut runs, error) {
                Ok(()) if has_left => {
                    runs.iter().for_each(input::warn);
                    break Err(anyhow::anyhow!(
                        "the answer is cut short: some of it was printed before the damage was met; write it with --out FILE"
                    ));
                }
                Ok(()) => {}
                Err(error) => break Err(error),
            }
        };
        // Not waited for: what still runs has nobody to run for.
        runtime.shutdown_background();
        if result.is_ok() {
            runs.iter().for_each(input::warn);
        }
        result
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
        let Some(name) = self.library_query() else {
            return Ok((self.query.clone().unwrap_or_default(), Vec::new()));
        };
        let query = library::find(name)?;
        Ok((query.text.to_owned(), query.header.params.clone()))
    }

    /// The name of a query of the library, if that is what was given.
    fn library_query(&self) -> Option<&str> {
        // No statement that reads a table is one word; names of queries are.
        self.query.as_deref().filter(|query| !query.contains(|c: char| c.is_whitespace() || c == '('))
    }

    async fn answer(
        &self,
        runs: &[Run],
        text: &str,
        declared: &[Param],
        given: &BTreeMap<String, String>,
        has_left: &mut bool,
    ) -> anyhow::Result<()> {
        let session = Session::new(runs, self.limit.memory_limit)?;
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
            if sink.write(encoder.take())?.is_closed() {
                return Ok(());
            }
            *has_left = sink.has_left;
        }
        encoder.finish().map_err(failed)?;
        sink.write(encoder.take())?;
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

/// Leaves the segments out whose damage made a query fail with `error`.
///
/// # Errors
/// It failed for another reason, or damage is not accepted.
fn without_damage(runs: &mut [Run], error: anyhow::Error) -> anyhow::Result<()> {
    let count = |runs: &[Run]| runs.iter().map(|run| run.damaged.len()).sum::<usize>();
    let met = count(runs);
    match error.downcast_ref() {
        // Every run is asked: the error may be of any.
        Some(SqlError::Read(cause)) => runs.iter_mut().for_each(|run| {
            run.without_damage(cause);
        }),
        // The engine does not say which file an error of decoding is of.
        Some(SqlError::Execution(_)) => runs.iter_mut().try_for_each(Run::verify)?,
        _ => {}
    }
    if count(runs) > met { Ok(()) } else { Err(error) }
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
    held: Vec<u8>,
    /// Whether some of it cannot be taken back.
    has_left: bool,
}

/// How much of an answer is held back, so that a damaged segment that is met by then costs no more than itself.
const HELD_BYTES: usize = 1 << 20;

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
            return Ok(Self::of(out, "standard output".to_owned(), None));
        };
        let name = path.display().to_string();
        // A device or pipe cannot be renamed over.
        let special = path.metadata().is_ok_and(|meta| !meta.is_file());
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let target = if special { path.to_owned() } else { PathBuf::from(partial) };
        let file = File::create(&target).with_context(|| name.clone())?;
        let rename = (!special).then(|| Rename { partial: target, path: path.to_owned() });
        Ok(Self::of(Box::new(file), name, rename))
    }

    fn of(out: Box<dyn Write>, name: String, rename: Option<Rename>) -> Self {
        Self { out, name, rename, held: Vec::new(), has_left: false }
    }

    fn write(&mut self, mut bytes: Vec<u8>) -> anyhow::Result<Reader> {
        if self.held.is_empty() {
            self.held = bytes;
        } else {
            self.held.append(&mut bytes);
        }
        if self.has_left || self.held.len() >= HELD_BYTES { self.pass_on() } else { Ok(Reader::There) }
    }

    fn pass_on(&mut self) -> anyhow::Result<Reader> {
        // A file that has no name yet is removed with what is in it.
        self.has_left = self.rename.is_none();
        match self.out.write_all(&std::mem::take(&mut self.held)) {
            Ok(()) => Ok(Reader::There),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(error).with_context(|| self.name.clone()),
        }
    }

    fn close(mut self) -> anyhow::Result<()> {
        if self.pass_on()?.is_closed() {
            return Ok(());
        }
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
