//! `./x check`: rules of the tree that no compiler holds. Imports go downward, the programs meet in files alone, only a
//! command line knows clap, the README is short, and links lead somewhere.

mod floors;
mod pages;
mod seams;
mod source;
mod table;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::project;
use crate::shell::Result;
use source::SourceFile;

/// A rule that a file breaks.
#[derive(Debug)]
struct Problem {
    file: String,
    line: usize,
    what: String,
    rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.what, self.rule)
    }
}

/// Prints every problem; an error if there is one.
pub(crate) fn check() -> Result<()> {
    let problems = problems(&project::root())?;
    for problem in &problems {
        println!("{problem}");
    }
    if problems.is_empty() { Ok(()) } else { Err(format!("{} rules of the tree are broken", problems.len())) }
}

fn problems(root: &Path) -> Result<Vec<Problem>> {
    let analysis = sources(root, "analyzer/analysis/src")?;
    let mut command_line = Vec::new();
    let mut problems = floors::check(table::FLOORS, table::EXCEPTIONS, &analysis);
    problems.extend(seams::reading(&analysis, table::READERS, table::READING));
    for (from, to) in [(table::ANALYZER, table::AGENT), (table::AGENT, table::ANALYZER)] {
        for manifest in files(root, from.folder, |path| path.ends_with("Cargo.toml"))? {
            let text = read(&root.join(&manifest))?;
            problems.extend(seams::depends(from, to, &manifest.display().to_string(), &text));
            let folder = manifest.parent().unwrap_or(&manifest).join("src");
            let sources = sources(root, &folder.to_string_lossy())?;
            problems.extend(seams::imports(from, to, &sources));
            command_line.extend(seams::command_line(&sources));
        }
    }
    problems.extend(excused(command_line, table::KNOW_THE_COMMAND_LINE));
    problems.extend(pages::readme(&read(&root.join("README.md"))?));
    for page in pages(root)? {
        problems.extend(pages::links(root, &page, &read(&root.join(&page))?));
    }
    Ok(problems)
}

/// What is left of `problems` without those of the files `known`; a known file that has none is a problem too.
fn excused(problems: Vec<Problem>, known: &[&str]) -> Vec<Problem> {
    let has_none = |file: &&&str| !problems.iter().any(|problem| problem.file == **file);
    let mended = known.iter().filter(has_none).map(|file| Problem {
        file: table::FILE.to_owned(),
        line: 1,
        what: format!("excuses {file}, which needs it no more"),
        rule: "an excuse goes when its reason has gone".to_owned(),
    });
    let mended: Vec<Problem> = mended.collect();
    problems.into_iter().filter(|problem| !known.contains(&problem.file.as_str())).chain(mended).collect()
}

/// The source files of the crate whose `src` is `folder`.
fn sources(root: &Path, folder: &str) -> Result<Vec<SourceFile>> {
    let files = files(root, folder, |path| path.extension().is_some_and(|ending| ending == "rs"))?;
    let source = |file: PathBuf| {
        let module = source::module_of(file.strip_prefix(folder).unwrap_or(&file));
        Ok(SourceFile::read(file.display().to_string(), module, &read(&root.join(&file))?))
    };
    files.into_iter().map(source).collect()
}

/// Pages whose links are followed: those at the root and below docs/.
fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let is_page = |path: &Path| path.extension().is_some_and(|ending| ending == "md");
    let mut pages: Vec<PathBuf> = entries(root)?.into_iter().filter(|path| root.join(path).is_file()).collect();
    pages.retain(|path| is_page(path));
    pages.extend(files(root, "docs", is_page)?);
    Ok(pages)
}

/// Files below `folder` that `wanted` wants, ordered, named from `root`.
fn files(root: &Path, folder: &str, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for name in entries(&root.join(&folder))? {
            let path = folder.join(name);
            if root.join(&path).is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Names in a folder, ordered.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let error = |error| format!("{}: {error}", folder.display());
    let list = std::fs::read_dir(folder).map_err(error)?;
    let mut names =
        list.map(|entry| entry.map(|entry| entry.file_name().into())).collect::<std::io::Result<Vec<PathBuf>>>();
    if let Ok(names) = &mut names {
        names.sort();
    }
    names.map_err(error)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excuses_hold_until_nothing_needs_them() {
        let problem = || Problem { file: "a.rs".into(), line: 1, what: "is wrong".into(), rule: "it is right".into() };
        assert_eq!(excused(vec![problem()], &["a.rs"]).len(), 0);
        assert_eq!(excused(vec![problem()], &[])[0].to_string(), "a.rs:1: is wrong: it is right");
        assert!(excused(vec![], &["a.rs"])[0].what.contains("excuses a.rs"));
    }

    #[test]
    fn the_tree_is_read() {
        let root = project::root();
        let analysis = sources(&root, "analyzer/analysis/src").unwrap();
        let references: usize = analysis.iter().map(|source| source.references.len()).sum();
        assert!(analysis.len() > 50 && references > 500, "{} files, {references} references", analysis.len());
        let pages = pages(&root).unwrap();
        assert!(["README.md", "docs/storage.md"].iter().all(|page| pages.contains(&PathBuf::from(page))), "{pages:?}");
        assert_eq!(files(&root, "analyzer", |path| path.ends_with("Cargo.toml")).unwrap().len(), 3);
    }
}
