//! Embeds the query library: every `queries/TOPIC/NAME.sql` becomes an entry `("TOPIC.NAME", text)` of a list that
//! `kvpath::sql::library` includes, so that adding a query is adding a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn entries(folder: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    let name = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    assert!(
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
        "{}: names of topics and queries are of a-z, 0-9 and _",
        path.display()
    );
    name.to_owned()
}

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../queries");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut list = String::from("&[\n");
    for topic in entries(&root).into_iter().filter(|path| path.is_dir()) {
        println!("cargo::rerun-if-changed={}", topic.display());
        for file in entries(&topic).into_iter().filter(|path| path.extension().is_some_and(|e| e == "sql")) {
            let path = file.canonicalize().expect("the file was just listed");
            let _ =
                writeln!(list, "    (\"{}.{}\", include_str!(r#\"{}\"#)),", stem(&topic), stem(&file), path.display());
        }
    }
    list.push_str("]\n");
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("queries.rs");
    fs::write(&out, list).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}
