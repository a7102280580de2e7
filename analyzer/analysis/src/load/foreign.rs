//! Files of other tools, and how a run is made of them.

use std::io::Read as _;
use std::path::Path;

use crate::error::LoadError;

/// What `file` is and how it becomes a run, if it is another tool's.
#[must_use]
pub fn refusal(file: &Path) -> Option<LoadError> {
    let shown = file.display();
    let name = file.file_name()?.to_string_lossy().to_lowercase();
    let is = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    let (what, cure) = if is(&[".nsys-rep", ".qdrep"]) {
        let export = Path::new(file).with_extension("sqlite");
        (
            "a report of Nsight Systems",
            format!(
                "`nsys export --type sqlite --output {} {shown}` and then `kvpath import nsys {} --out RUN`",
                export.display(),
                export.display()
            ),
        )
    } else if is_sqlite(file) || is(&[".sqlite", ".sqlite.zst"]) {
        ("a SQLite file", format!("`kvpath import nsys {shown} --out RUN`"))
    } else if is(&[".json", ".json.gz"]) {
        ("a JSON file", format!("`kvpath import kineto {shown} --out RUN`, if it is a trace of PyTorch's profiler"))
    } else {
        return None;
    };
    Some(LoadError::NeedsImport { file: file.to_owned(), what, cure })
}

fn is_sqlite(path: &Path) -> bool {
    let mut head = [0; 16];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && &head == b"SQLite format 3\0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_names_the_command_that_makes_a_run_of_it() {
        for (file, command) in [
            ("a/b.nsys-rep", "nsys export --type sqlite --output a/b.sqlite a/b.nsys-rep"),
            ("b.sqlite.zst", "kvpath import nsys b.sqlite.zst --out RUN"),
            ("b.json.gz", "kvpath import kineto b.json.gz --out RUN"),
            ("B.JSON", "kvpath import kineto B.JSON --out RUN"),
        ] {
            let said = refusal(Path::new(file)).map(|error| error.to_string()).unwrap_or_default();
            assert!(said.starts_with(file) && said.contains(command), "{said}");
        }
        assert!(refusal(Path::new("kernels-000001.parquet")).is_none());
    }
}
