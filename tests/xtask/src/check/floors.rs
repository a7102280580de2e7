//! The floors of a crate: a module may name modules of its own floor and of those below.

use super::Problem;
use super::source::{self, SourceFile};

/// Modules that lie on one level.
#[derive(Debug)]
pub(super) struct Floor {
    pub(super) name: &'static str,
    /// From the crate's root, `a::b`; the longest that fits a file says its floor.
    pub(super) modules: &'static [&'static str],
    /// Whether they may not name each other.
    pub(super) apart: bool,
}

/// An import that breaks the rule, until it is mended.
#[derive(Debug)]
pub(super) struct Exception {
    /// The module that imports.
    pub(super) from: &'static str,
    /// The module that is imported.
    pub(super) to: &'static str,
}

/// Holds a crate's files against its floors, lowest first. An exception that nothing needs is a problem too.
pub(super) fn check(floors: &[Floor], exceptions: &[Exception], sources: &[SourceFile]) -> Vec<Problem> {
    let mut needed = vec![false; exceptions.len()];
    let mut problems = Vec::new();
    for source in source::without_tests(sources) {
        // The crate's root declares and exports every floor.
        if source.module.is_empty() {
            continue;
        }
        let Some(here) = place(floors, &source.module) else {
            let rule = format!("every module of this crate is on a floor: add it to {}", super::table::FILE);
            problems.push(Problem { file: source.file.clone(), line: 1, what: "is on no floor".to_owned(), rule });
            continue;
        };
        for reference in source.references.iter().filter(|reference| reference.path[0] == "crate") {
            let Some(rule) = broken(floors, here, &reference.path[1..]) else { continue };
            let excepted = |exception: &Exception| {
                is_below(&source.module, exception.from) && is_below(&reference.path[1..], exception.to)
            };
            if let Some(at) = exceptions.iter().position(excepted) {
                needed[at] = true;
                continue;
            }
            let what = format!("imports {}", reference.path.join("::"));
            problems.push(Problem { file: source.file.clone(), line: reference.line, what, rule });
        }
    }
    for (exception, _) in exceptions.iter().zip(needed).filter(|(_, needed)| !needed) {
        problems.push(Problem {
            file: super::table::FILE.to_owned(),
            line: 1,
            what: format!("excepts {} -> {}, which nothing needs", exception.from, exception.to),
            rule: "an exception goes when its import has gone".to_owned(),
        });
    }
    problems
}

/// Floor and module in it.
type FloorOfModule = (usize, &'static str);

/// Where a module, or an item in it, lies.
fn place(floors: &[Floor], path: &[String]) -> Option<FloorOfModule> {
    let all = floors.iter().enumerate().flat_map(|(at, floor)| floor.modules.iter().map(move |module| (at, *module)));
    all.filter(|(_, module)| is_below(path, module)).max_by_key(|(_, module)| module.len())
}

/// Whether `path` is the module `module` or lies in it.
fn is_below(path: &[String], module: &str) -> bool {
    let mut segments = path.iter();
    module.split("::").all(|part| segments.next().is_some_and(|segment| segment == part))
}

/// The rule that a reference from `here` to `path` breaks, if it does.
fn broken(floors: &[Floor], here: FloorOfModule, path: &[String]) -> Option<String> {
    let Some(there) = place(floors, path) else {
        let root = path.is_empty() || path.len() == 1;
        return Some(if root {
            "names the crate's root: name the module, so that its floor shows".to_owned()
        } else {
            format!("`{}` is on no floor: add it to {}", path[0], super::table::FILE)
        });
    };
    let (own, other) = (&floors[here.0], &floors[there.0]);
    if there.0 > here.0 {
        Some(format!("floor `{}` lies below floor `{}`", own.name, other.name))
    } else if there.0 == here.0 && own.apart && here.1 != there.1 {
        Some(format!("modules of floor `{}` do not import each other", own.name))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOORS: &[Floor] = &[
        Floor { name: "load", modules: &["load", "top::raw"], apart: false },
        Floor { name: "answers", modules: &["path", "bubbles"], apart: true },
        Floor { name: "top", modules: &["top"], apart: false },
    ];

    fn problems(exceptions: &[Exception], files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<SourceFile> = files
            .iter()
            .map(|(file, text)| {
                SourceFile::read((*file).to_owned(), super::super::source::module_of(file.as_ref()), text)
            })
            .collect();
        check(FLOORS, exceptions, &sources).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn upward_imports_are_named_with_file_line_and_rule() {
        let found =
            problems(&[], &[("load/mod.rs", "use std::io;\n\nuse crate::path::{Walk, Step};"), ("path.rs", "")]);
        assert_eq!(
            found,
            [
                "load/mod.rs:3: imports crate::path::Walk: floor `load` lies below floor `answers`",
                "load/mod.rs:3: imports crate::path::Step: floor `load` lies below floor `answers`",
            ]
        );
    }

    #[test]
    fn downward_imports_and_those_of_one_floor_are_fine() {
        let files = [
            ("lib.rs", "pub mod load; pub use path::Walk;"),
            ("load/a.rs", "use super::b; use crate::load::c;"),
            ("path/walk.rs", "use crate::load; use super::Step; fn f() { crate::path::g() }"),
            ("top/mod.rs", "use crate::{load, path, bubbles};"),
            ("top/raw/part.rs", "use crate::load;"),
        ];
        assert_eq!(problems(&[], &files), [""; 0]);
    }

    #[test]
    fn the_longest_module_says_the_floor() {
        let found =
            problems(&[], &[("top/raw.rs", "fn f() { super::other::g() }"), ("top/mod.rs", "mod raw; use raw::A;")]);
        assert_eq!(found, ["top/raw.rs:1: imports crate::top::other::g: floor `load` lies below floor `top`"]);
    }

    #[test]
    fn answers_do_not_import_each_other() {
        let found = problems(&[], &[("bubbles/mod.rs", "use crate::path::Walk;")]);
        assert_eq!(
            found,
            ["bubbles/mod.rs:1: imports crate::path::Walk: modules of floor `answers` do not import each other"]
        );
    }

    #[test]
    fn what_is_on_no_floor_is_a_problem() {
        let found = problems(&[], &[("new.rs", ""), ("load.rs", "use crate::new::A;\nuse crate::Item;")]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("new.rs:1: is on no floor"), "{found:?}");
        assert!(found[1].contains("`new` is on no floor") && found[2].contains("crate's root"), "{found:?}");
    }

    #[test]
    fn tests_may_import_what_they_like() {
        let files = [
            ("load/mod.rs", "#[cfg(test)] mod tests;\n#[cfg(test)] mod more { use crate::top; }"),
            ("load/tests.rs", "use crate::path::Walk;"),
        ];
        assert_eq!(problems(&[], &files), [""; 0]);
    }

    #[test]
    fn exceptions_hold_until_nothing_needs_them() {
        let exceptions = || [Exception { from: "load::a", to: "path" }];
        assert_eq!(problems(&exceptions(), &[("load/a.rs", "use crate::path::Walk;")]), [""; 0]);
        assert_eq!(problems(&exceptions(), &[("load/b.rs", "use crate::path::Walk;")]).len(), 2);
        let left = problems(&exceptions(), &[("load/a.rs", "")]);
        assert!(left[0].contains("excepts load::a -> path, which nothing needs"), "{left:?}");
    }
}
