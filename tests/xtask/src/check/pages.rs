//! Pages: the README's length, and links that lead nowhere.

use std::path::{Path, PathBuf};

use super::Problem;

/// Lines of the README at most: it is a landing page, and the rest is in docs/.
const README_LINES: usize = 150;

/// The README is short.
pub(super) fn readme(text: &str) -> Option<Problem> {
    let lines = text.lines().count();
    (lines > README_LINES).then(|| Problem {
        file: "README.md".to_owned(),
        line: README_LINES + 1,
        what: format!("has {lines} lines"),
        rule: format!("the README has at most {README_LINES} lines; what is more goes into docs/"),
    })
}

/// Links of the page `file`, below `root`, that lead to no file, folder or heading. Links to other sites are not followed.
pub(super) fn links(root: &Path, file: &Path, text: &str) -> Vec<Problem> {
    let is_bad = |target: &str| {
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() { root.join(file) } else { folder(root, file).join(path) };
        let has_heading = || heading.is_empty() || std::fs::read_to_string(&path).is_ok_and(|page| has(&page, heading));
        !path.exists() || !has_heading()
    };
    let found = targets(text).into_iter();
    found
        .filter(|(_, target)| !target.contains("://") && !target.starts_with("mailto:") && is_bad(target))
        .map(|(line, target)| Problem {
            file: file.display().to_string(),
            line,
            what: format!("links to {target}"),
            rule: "a link leads to a file, folder or heading that is there".to_owned(),
        })
        .collect()
}

fn folder(root: &Path, file: &Path) -> PathBuf {
    root.join(file.parent().unwrap_or(Path::new("")))
}

/// Where links lead, with their lines: `](TARGET)` outside of code.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code || line.starts_with("    ") {
            continue;
        }
        // Even pieces are text, odd ones code.
        for piece in line.split('`').step_by(2) {
            for link in piece.split("](").skip(1) {
                if let Some((target, _)) = link.split_once(')') {
                    targets.push((at + 1, target.split_whitespace().next().unwrap_or_default()));
                }
            }
        }
    }
    targets
}

/// Whether a page has a heading of that anchor.
fn has(page: &str, anchor: &str) -> bool {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| line.trim_start_matches('#').trim()).any(|heading| slug(heading) == anchor)
}

/// A heading's anchor, as forges make it.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_is_short() {
        assert!(readme(&"a\n".repeat(README_LINES)).is_none());
        let problem = readme(&"a\n".repeat(README_LINES + 1)).unwrap().to_string();
        assert!(problem.contains(&format!("has {} lines", README_LINES + 1)), "{problem}");
    }

    #[test]
    fn links_lead_to_files_folders_and_headings() {
        let root = std::env::temp_dir().join(format!("kvpath-xtask-{}", std::process::id()));
        std::fs::create_dir_all(root.join("docs")).unwrap();
        std::fs::write(root.join("docs/a.md"), "# Of all: `x`, y\n").unwrap();
        let text = "[a](a.md) [b](a.md#of-all-x-y) [c](../docs) [d](https://example.org/none) `[e](none)`\n\
                    ```\n[f](none)\n```\n[g](none.md \"title\"), [h](a.md#none)\n    [i](none)\n![j](none.svg)";
        let found: Vec<String> = links(&root, Path::new("docs/b.md"), text).iter().map(ToString::to_string).collect();
        let places: Vec<&str> = found.iter().map(|line| line.split(": a link").next().unwrap()).collect();
        std::fs::remove_dir_all(&root).unwrap();
        let expected =
            ["docs/b.md:5: links to none.md", "docs/b.md:5: links to a.md#none", "docs/b.md:7: links to none.svg"];
        assert_eq!(places, expected);
    }
}
