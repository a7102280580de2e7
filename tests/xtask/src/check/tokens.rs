//! Words and marks of Rust source, with their lines; comments and literals are left out.
//!
//! Not syn: `use` items and paths need no more than this, syn does not look into macro calls, and xtask has no
//! dependencies (its Cargo.toml says why).

/// A word (identifier, keyword or number), `::`, or one other character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    /// From 1.
    pub(super) line: usize,
}

impl Token<'_> {
    /// Whether it can be a segment of a path.
    pub(super) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// Splits a file.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while let Some(c) = lexer.rest.chars().next() {
        lexer.step(c);
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token<'a>>,
}

impl Lexer<'_> {
    fn step(&mut self, c: char) {
        if self.rest.starts_with("//") {
            self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.skip(block_comment(self.rest));
        } else if let Some(length) =
            raw_string(self.rest).or_else(|| string(self.rest)).or_else(|| character(self.rest))
        {
            self.skip(length);
        } else if let Some(raw) = self.rest.strip_prefix("r#").filter(|raw| raw.starts_with(is_word)) {
            self.skip(self.rest.len() - raw.len());
        } else if c == '\'' || is_word(c) {
            // A lifetime is no segment of a path; its quote keeps it apart from names.
            let after = self.rest[1.min(c.len_utf8())..].find(|c| !is_word(c));
            let length = if c == '\'' { after.map(|at| at + 1) } else { self.rest.find(|c| !is_word(c)) };
            self.take(length.unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("::") {
            self.take(2);
        } else if c.is_whitespace() {
            self.skip(c.len_utf8());
        } else {
            self.take(c.len_utf8());
        }
    }

    fn take(&mut self, length: usize) {
        self.tokens.push(Token { text: &self.rest[..length], line: self.line });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the block comment that `text` begins with; block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if rest.starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Length of the raw string that `text` begins with, if it does.
fn raw_string(text: &str) -> Option<usize> {
    let rest = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - body.len();
    Some(body.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// Length of the string that `text` begins with, if it does.
fn string(text: &str) -> Option<usize> {
    let body = ["\"", "b\"", "c\""].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    Some(text.len() - body.len() + closed_by(body, b'"'))
}

/// Length of the character or byte that `text` begins with, if it does; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let body = ["'", "b'"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let start = text.len() - body.len();
    let mut chars = body.chars();
    match (chars.next()?, chars.next()) {
        ('\\', _) => Some(start + closed_by(body, b'\'')),
        (c, Some('\'')) => Some(start + c.len_utf8() + 1),
        _ => None,
    }
}

/// Length up to and with the first `quote` that no backslash stands before.
fn closed_by(body: &str, quote: u8) -> usize {
    let mut bytes = body.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote {
            return at + 1;
        }
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
        assert_eq!(words(r##"a("use b", r#"c " d"#, b"e\"f", 'g', '\'', b'\n', h)"##).join(""), "a(,,,,,,h)");
        assert_eq!(words("&'a str"), ["&", "'a", "str"]);
        assert_eq!(words("r#type::x r#\"y\"#"), ["type", "::", "x"]);
        assert_eq!(words("br"), ["br"]);
    }

    #[test]
    fn what_is_not_closed_ends_with_the_file() {
        for text in ["a /* b", "a \"b", "a r#\"b\"", "a '\\"] {
            assert_eq!(words(text), ["a"], "{text}");
        }
    }

    #[test]
    fn lines_count_on_through_what_is_left_out() {
        let lines: Vec<_> = tokens("a\n/*\n*/ b \"\n\" c").iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("c", 4)]);
    }
}
