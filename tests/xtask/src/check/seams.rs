//! Seams between the programs: the analyzer and the agent meet in files alone, and only a command line knows clap.

use super::Problem;
use super::source::{self, Reference, SourceFile};

/// Crates that one of the programs is made of, by the folder that holds them.
pub(super) struct Program {
    pub(super) folder: &'static str,
    pub(super) crates: &'static [&'static str],
}

/// What the source of `from` names of the crates of `to`.
pub(super) fn imports(from: &Program, to: &Program, sources: &[SourceFile]) -> Vec<Problem> {
    let is_of = |reference: &Reference| to.crates.contains(&reference.path[0].as_str());
    let rule = format!("{}/ does not import {}/: they meet in the files of a run", from.folder, to.folder);
    problems(sources, is_of, &rule)
}

/// What the manifest `file` of a crate of `from` depends on of `to`.
pub(super) fn depends(from: &Program, to: &Program, file: &str, manifest: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, line) in manifest.lines().enumerate() {
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default().replace('-', "_");
        if to.crates.contains(&name.as_str()) {
            problems.push(Problem {
                file: file.to_owned(),
                line: at + 1,
                what: format!("depends on {name}"),
                rule: format!("{}/ does not depend on {}/: they meet in the files of a run", from.folder, to.folder),
            });
        }
    }
    problems
}

/// Who knows the command line: a program's `cli` module and what starts it, nothing below.
pub(super) fn command_line(sources: &[SourceFile]) -> Vec<Problem> {
    let is_below = |source: &&SourceFile| !source.module.is_empty() && source.module[0] != "cli";
    let below: Vec<&SourceFile> = sources.iter().filter(is_below).collect();
    let names = |reference: &Reference| {
        let path = &reference.path;
        path[0] == "clap" || path[0] == "crate" && path.get(1).is_some_and(|module| module == "cli")
    };
    problems(below, names, "only the command line (src/cli, lib.rs, main.rs) names clap and `cli`")
}

/// Who reads files: the modules `readers` of a crate; the others are handed what was read.
pub(super) fn reading(sources: &[SourceFile], readers: &[&str], reading: &[&[&str]]) -> Vec<Problem> {
    let is_other =
        |source: &&SourceFile| source.module.first().is_some_and(|module| !readers.contains(&module.as_str()));
    let others: Vec<&SourceFile> = source::without_tests(sources).into_iter().filter(is_other).collect();
    let reads = |reference: &Reference| {
        let path: Vec<&str> = reference.path.iter().map(String::as_str).collect();
        reading.iter().any(|reads| path.starts_with(reads))
    };
    problems(others, reads, &format!("only {} read files: have what was read handed in", readers.join(", ")))
}

fn problems<'a>(
    sources: impl IntoIterator<Item = &'a SourceFile>,
    is_bad: impl Fn(&Reference) -> bool,
    rule: &str,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for source in sources {
        for reference in source.references.iter().filter(|reference| is_bad(reference)) {
            let what = format!("imports {}", reference.path.join("::"));
            problems.push(Problem { file: source.file.clone(), line: reference.line, what, rule: rule.to_owned() });
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Program = Program { folder: "one", crates: &["one", "one_part"] };
    const TWO: Program = Program { folder: "two", crates: &["two", "two_part"] };

    fn source(file: &str, text: &str) -> SourceFile {
        SourceFile::read(file.to_owned(), super::super::source::module_of(file.as_ref()), text)
    }

    fn texts(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn programs_do_not_import_each_other() {
        let found = imports(&ONE, &TWO, &[source("a.rs", "use one_part::B;\n\nfn f() { two_part::c() }")]);
        assert_eq!(
            texts(&found),
            ["a.rs:3: imports two_part::c: one/ does not import two/: they meet in the files of a run"]
        );
    }

    #[test]
    fn programs_do_not_depend_on_each_other() {
        let manifest =
            "[dependencies]\none-part = \"1\"\ntwo-part.workspace = true\n[dev-dependencies]\ntwo = { path = \"x\" }";
        let found = texts(&depends(&ONE, &TWO, "one/Cargo.toml", manifest));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("one/Cargo.toml:3: depends on two_part"), "{found:?}");
    }

    #[test]
    fn only_readers_read() {
        let files = [
            source("load/mod.rs", "use std::fs::File; pub struct Run;"),
            source("path/mod.rs", "use crate::load::limits;\nuse crate::load::Run;\nfn f() { std::fs::read(\"x\"); }"),
            source("lib.rs", "pub use load::Run;"),
        ];
        let found = texts(&reading(&files, &["load"], &[&["crate", "load", "Run"], &["std", "fs"]]));
        let places: Vec<&str> = found.iter().map(|line| line.split(": only").next().unwrap()).collect();
        assert_eq!(places, ["path/mod.rs:2: imports crate::load::Run", "path/mod.rs:3: imports std::fs::read"]);
    }

    #[test]
    fn only_the_command_line_knows_clap() {
        let files = [
            source("lib.rs", "use clap::Parser as _; mod cli; fn main() { cli::run() }"),
            source("cli/mod.rs", "use clap::Parser; use super::record;"),
            source("record/mod.rs", "use crate::cli::Record;\n#[derive(clap::Args)] struct A;"),
            source("record/tests.rs", "use super::cli;"),
        ];
        let found = texts(&command_line(&files));
        let places: Vec<&str> = found.iter().map(|line| line.split(": only").next().unwrap()).collect();
        assert_eq!(places, ["record/mod.rs:1: imports crate::cli::Record", "record/mod.rs:2: imports clap::Args"]);
    }
}
