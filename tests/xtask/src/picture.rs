//! The README's picture of a report: what `kvpath report` prints of the bundled recording, shortened, as SVG.

use std::fmt::Write as _;

/// Where it lies.
pub(crate) const PAGE: &str = "docs/report.svg";

/// Sections that are shown, by the beginning of their title.
const SECTIONS: [&str; 5] = [crate::demo::BUNDLED, "REQUESTS", "HAND-OFFS", "FINDINGS", "MISSING DATA"];
/// Requests whose hand-offs are shown: KV scattered (2, 4) and together (5).
const REQUESTS: [&str; 3] = ["2", "4", "5"];
/// Findings that are shown: of stages' balance, and of one scattered hand-off.
const FINDINGS: usize = 2;
/// Stands for lines that are not shown.
const LEFT_OUT: &str = "  …";
/// Characters a line, at most.
const COLUMNS: usize = 142;

/// Width of a character, quarters of a pixel.
const QUARTER_CHAR_WIDTH: usize = 29;
const LINE_HEIGHT: usize = 17;
const MARGIN: usize = 16;

/// The picture of a report.
pub(crate) fn of(report: &str) -> String {
    let mut lines = vec![format!("$ kvpath report {}", crate::demo::BUNDLED)];
    for section in report.split("\n\n").filter(|section| SECTIONS.iter().any(|title| section.starts_with(title))) {
        lines.push(String::new());
        lines.extend(shortened(section).iter().flat_map(|line| wrapped(line)));
    }
    svg(&lines)
}

/// A section without the rows that are not shown.
fn shortened(section: &str) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    let mut findings = 0;
    for (at, line) in section.lines().enumerate() {
        let first = line.split_whitespace().next().unwrap_or_default();
        let is_row = section.starts_with("HAND-OFFS") && at > 1;
        findings += usize::from(first == "*");
        if is_row && !REQUESTS.contains(&first) || findings > FINDINGS {
            if shown.last().is_some_and(|last| last != LEFT_OUT) {
                shown.push(LEFT_OUT.to_owned());
            }
        } else {
            shown.push(line.trim_end().to_owned());
        }
    }
    shown
}

/// A line in pieces that fit.
fn wrapped(line: &str) -> Vec<String> {
    if line.chars().count() <= COLUMNS {
        return vec![line.to_owned()];
    }
    let mut pieces: Vec<String> = Vec::new();
    for word in line.trim_end().split(' ') {
        match pieces.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= COLUMNS => {
                last.push(' ');
                last.push_str(word);
            }
            Some(_) => pieces.push(format!("    {word}")),
            None => pieces.push(word.to_owned()),
        }
    }
    pieces
}

fn svg(lines: &[String]) -> String {
    let width = COLUMNS * QUARTER_CHAR_WIDTH / 4 + 2 * MARGIN;
    let height = lines.len() * LINE_HEIGHT + 2 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"12\">\n\
         <!-- Written by `./x docs`; not edited by hand. -->\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#0d1117\"/>\n"
    );
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let y = MARGIN + (at + 1) * LINE_HEIGHT - 5;
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"{y}\" fill=\"{}\" xml:space=\"preserve\">{}</text>",
            colour(line),
            escaped(line)
        );
    }
    out + "</svg>\n"
}

fn colour(line: &str) -> &'static str {
    if line.starts_with('$') {
        "#7ee787"
    } else if line.starts_with(char::is_uppercase) || line.starts_with(crate::demo::BUNDLED) {
        "#79c0ff"
    } else {
        "#c9d1d9"
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project;

    /// What the program prints; a test of the command line holds it.
    const PRINTED: &str = "tests/tests/cli/snapshots/cli__output__report_on_all_that_can_be_recorded_of_vllm.snap";

    #[test]
    fn the_picture_is_of_what_the_program_prints() {
        let read = |page: &str| std::fs::read_to_string(project::root().join(page)).unwrap();
        let snapshot = read(PRINTED);
        // Snapshots name every run alike.
        let report = snapshot.splitn(3, "---\n").nth(2).unwrap();
        let report = &report.replacen("RUN: ", &format!("{}: ", crate::demo::BUNDLED), 1);
        assert!(report.contains("HAND-OFFS") && report.contains("FINDINGS"), "{report}");
        assert!(read(PAGE) == of(report), "{PAGE} shows another report than is printed: run ./x docs");
    }

    #[test]
    fn long_lines_are_wrapped_and_lose_nothing() {
        let line = format!("  * {}", "word ".repeat(60));
        let pieces = wrapped(&line);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.chars().count() <= COLUMNS), "{pieces:?}");
        assert!(pieces[0].starts_with("  * word"), "{pieces:?}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&pieces.join(" ")), words(&line));
    }
}
