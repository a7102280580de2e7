//! What a source file refers to: `use` items and paths, outside of what is compiled for tests alone.

use std::path::Path;

use super::tokens::{Token, tokens};

/// A path that a file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) line: usize,
    /// Its segments; those of this crate begin with `crate`, whatever the file wrote.
    pub(super) path: Vec<String>,
}

/// A source file.
#[derive(Debug, Default)]
pub(super) struct SourceFile {
    /// As a problem names it.
    pub(super) file: String,
    /// Its module, from the crate's root.
    pub(super) module: Vec<String>,
    pub(super) references: Vec<Reference>,
    /// Modules of other files that are declared here for tests alone.
    pub(super) test_modules: Vec<Vec<String>>,
}

/// The module that the file at `path`, below `src/`, is.
pub(super) fn module_of(path: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let is_root = module.len() == 1 && module.last().is_some_and(|name| name == "lib" || name == "main");
    if is_root || module.last().is_some_and(|name| name == "mod") {
        module.pop();
    }
    module
}

impl SourceFile {
    /// Reads the file `file`, which is the module `module`.
    pub(super) fn read(file: String, module: Vec<String>, text: &str) -> Self {
        let mut reader = Reader {
            tokens: &tokens(text),
            at: 0,
            depth: 0,
            inline: Vec::new(),
            children: Vec::new(),
            source: Self { file, module, ..Self::default() },
        };
        reader.read();
        reader.source
    }
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    /// Braces that are open.
    depth: usize,
    /// Inline modules that are open, with the depth outside of each.
    inline: Vec<(String, usize)>,
    /// Modules declared so far, as the file may name them without `self::`.
    children: Vec<Vec<String>>,
    source: SourceFile,
}

impl Reader<'_> {
    fn read(&mut self) {
        while self.at < self.tokens.len() {
            match self.word(0) {
                "#" if self.is_test_attribute() => self.skip_test_item(),
                "use" if self.word(1) != "<" => self.use_item(),
                "mod" if self.word(2) == ";" || self.word(2) == "{" => self.module(),
                "{" => {
                    self.depth += 1;
                    self.at += 1;
                }
                "}" => {
                    self.depth = self.depth.saturating_sub(1);
                    self.inline.retain(|(_, outside)| *outside < self.depth);
                    self.at += 1;
                }
                _ => self.path(),
            }
        }
    }

    /// A token's text, counted from here; empty after the last.
    fn word(&self, offset: usize) -> &str {
        self.tokens.get(self.at + offset).map_or("", |token| token.text)
    }

    fn is_test_attribute(&self) -> bool {
        ["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(offset, word)| self.word(offset) == *word)
    }

    /// Leaves out an attribute `cfg(test)` and the item behind it.
    fn skip_test_item(&mut self) {
        self.at += 7;
        let mut open = 0_usize;
        while self.at < self.tokens.len() {
            match self.word(0) {
                "mod" if open == 0 && self.word(2) == ";" => {
                    let child = self.here_and(self.word(1));
                    self.source.test_modules.push(child);
                    self.at += 3;
                    return;
                }
                "{" | "(" | "[" => open += 1,
                "}" | ")" | "]" => {
                    open = open.saturating_sub(1);
                    if open == 0 && self.word(0) == "}" {
                        // `use a::{b};` goes on, an item with a body ends.
                        self.at += if self.word(1) == ";" { 2 } else { 1 };
                        return;
                    }
                }
                ";" if open == 0 => {
                    self.at += 1;
                    return;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn module(&mut self) {
        let name = self.word(1).to_owned();
        self.children.push(self.here_and(&name));
        if self.word(2) == "{" {
            self.inline.push((name, self.depth));
            self.depth += 1;
        }
        self.at += 3;
    }

    /// The module of this place.
    fn here(&self) -> Vec<String> {
        self.source.module.iter().chain(self.inline.iter().map(|(name, _)| name)).cloned().collect()
    }

    fn here_and(&self, name: &str) -> Vec<String> {
        let mut module = self.here();
        module.push(name.to_owned());
        module
    }

    fn use_item(&mut self) {
        self.at += 1;
        self.use_tree(&[]);
    }

    /// One tree of a `use` item, below `prefix`, up to the `,`, `}` or `;` behind it.
    fn use_tree(&mut self, prefix: &[String]) {
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        let mut path = prefix.to_vec();
        while self.at < self.tokens.len() {
            match self.word(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.word(0), "}" | "") {
                        self.use_tree(&path);
                        if self.word(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "," | "}" | ";" => break,
                // The name that it gets here.
                "as" => self.at += 2,
                "::" | "*" => self.at += 1,
                // `use a::{self}` names `a`.
                "self" if !path.is_empty() => self.at += 1,
                word => {
                    path.push(word.to_owned());
                    self.at += 1;
                }
            }
        }
        self.refer(line, path);
    }

    /// A path outside of `use` items, or one token that begins none.
    fn path(&mut self) {
        let token = self.tokens[self.at];
        let continues = self.at > 0 && self.tokens[self.at - 1].text == "::";
        // `pub(in crate::a)` imports nothing.
        let is_scope = self.at > 1 && self.tokens[self.at - 1].text == "in" && self.tokens[self.at - 2].text == "(";
        self.at += 1;
        if !token.is_name() || continues {
            return;
        }
        let mut path = vec![token.text.to_owned()];
        while self.word(0) == "::" && self.tokens.get(self.at + 1).is_some_and(Token::is_name) {
            path.push(self.word(1).to_owned());
            self.at += 2;
        }
        if path.len() > 1 && !is_scope {
            self.refer(token.line, path);
        }
    }

    fn refer(&mut self, line: usize, path: Vec<String>) {
        let mut rest = path.as_slice();
        let mut module = self.here();
        let in_crate = match rest.first().map(String::as_str) {
            Some("crate") => {
                module.clear();
                rest = &rest[1..];
                true
            }
            Some("self" | "super") => {
                while let Some(first) = rest.first().filter(|first| *first == "self" || *first == "super") {
                    if first == "super" {
                        module.pop();
                    }
                    rest = &rest[1..];
                }
                true
            }
            Some(first) => self.children.contains(&self.here_and(first)),
            None => return,
        };
        let path = if in_crate {
            std::iter::once("crate".to_owned()).chain(module).chain(rest.iter().cloned()).collect()
        } else {
            path
        };
        self.source.references.push(Reference { line, path });
    }
}

/// Those that are not compiled for tests alone.
pub(super) fn without_tests(sources: &[SourceFile]) -> Vec<&SourceFile> {
    let for_tests: Vec<&Vec<String>> = sources.iter().flat_map(|source| &source.test_modules).collect();
    sources.iter().filter(|source| !for_tests.iter().any(|test| source.module.starts_with(test))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(module: &str, text: &str) -> SourceFile {
        let module = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        SourceFile::read("a.rs".to_owned(), module, text)
    }

    fn references(module: &str, text: &str) -> Vec<(usize, String)> {
        read(module, text).references.into_iter().map(|found| (found.line, found.path.join("::"))).collect()
    }

    #[test]
    fn files_are_modules() {
        let module = |path: &str| module_of(Path::new(path)).join("::");
        assert_eq!((module("lib.rs"), module("main.rs")), (String::new(), String::new()));
        assert_eq!((module("a/mod.rs"), module("a.rs"), module("a/b.rs")), ("a".into(), "a".into(), "a::b".into()));
        assert_eq!(module("a/main.rs"), "a::main");
    }

    #[test]
    fn trees_of_use_items_are_followed() {
        let text = "use a::{self, b as c, d::{e, f::*}};\nuse crate::{g,\n  h::I};\nuse super::super::j;";
        let expected = [
            (1, "a"),
            (1, "a::b"),
            (1, "a::d::e"),
            (1, "a::d::f"),
            (2, "crate::g"),
            (3, "crate::h::I"),
            (4, "crate::j"),
        ];
        assert_eq!(references("x::y", text), expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn paths_are_seen_in_code_types_and_macros() {
        let text = "fn f(x: crate::a::B) {\n  assert!(super::c::d(x), \"crate::no\");\n  e::f::<crate::g::H>();\n}";
        let expected = [(1, "crate::a::B"), (2, "crate::m::c::d"), (3, "e::f"), (3, "crate::g::H")];
        assert_eq!(references("m::n", text), expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn scopes_and_captures_are_no_imports() {
        assert_eq!(references("m", "pub(in crate::a) fn f<'a>() -> impl Fn() + use<'a> { self.x() }"), []);
    }

    #[test]
    fn inline_modules_and_children_are_places() {
        let text =
            "mod child;\nmod inner { use super::a; fn f() { super::b::c() } }\nfn g() { child::d(); super::e::h() }";
        let expected = [(2, "crate::m::a"), (2, "crate::m::b::c"), (3, "crate::m::child::d"), (3, "crate::e::h")];
        assert_eq!(references("m", text), expected.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        let text = "#[cfg(test)]\nmod tests { use crate::a; }\n#[cfg(test)] mod other;\n#[cfg(test)] use crate::{b};\n\
                    #[cfg(test)]\n#[allow(x)]\nfn f(y: [u8; 2]) { crate::c::d() }\nuse crate::e;";
        assert_eq!(references("m", text), [(8, "crate::e".to_owned())]);
        assert_eq!(read("m", text).test_modules, [["m", "other"]]);
    }
}
