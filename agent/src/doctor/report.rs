//! The findings of `doctor` as text or JSON, on stdout.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use kvpath_schema::tables::nixl::LayoutSource;

use super::{Check, Findings, LibraryLine};
use crate::capture::nixl::builds;

/// One JSON object.
///
/// # Errors
/// Stdout cannot be written.
pub fn json(findings: &Findings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, findings)?;
    writeln!(out)
}

/// A table for people.
///
/// # Errors
/// Stdout cannot be written.
pub fn text(findings: &Findings) -> io::Result<()> {
    io::stdout().lock().write_all(page(findings).as_bytes())
}

fn page(findings: &Findings) -> String {
    let mut out = format!("kvpath-agent {} on Linux {}\n\n", findings.version, findings.kernel);
    for check in &findings.checks {
        out.push_str(&check_line(check));
    }
    out.push_str("\nLibraries of NIXL and Mooncake\n");
    if findings.libraries.is_empty() {
        out.push_str("  none is mapped by a process that can be seen; they are found when they are mapped,\n");
        out.push_str("  or name one with --library\n");
    }
    for library in &findings.libraries {
        out.push_str(&library_lines(library, findings));
    }
    let verdict = match (findings.can_record, findings.unknown_builds()) {
        (false, _) => "nothing can be recorded here".to_owned(),
        (true, 0) => "recording can work here".to_owned(),
        (true, unknown) => format!("recording can work here, but not of {unknown} libraries of unknown builds"),
    };
    let _ = writeln!(out, "\n{verdict}");
    out
}

fn check_line(check: &Check) -> String {
    let mark = match (check.ok, check.required) {
        (true, _) => "ok",
        (false, true) => "MISSING",
        (false, false) => "limited",
    };
    let cure = check.cure.as_ref().map(|cure| format!("\n{:30}get it: {cure}", "")).unwrap_or_default();
    format!("{:<20}{mark:<10}{}{cure}\n", check.name, check.found)
}

fn library_lines(library: &LibraryLine, findings: &Findings) -> String {
    let who = library.pid.map_or_else(|| "--library".to_owned(), |pid| format!("pid {pid}"));
    let id = library.build_id.as_deref().unwrap_or("none");
    let (name, release, known) = match library.library {
        "mooncake" => ("Mooncake", &library.mooncake, &findings.known_mooncake),
        _ => ("NIXL", &library.nixl, &findings.known_nixl),
    };
    let state = match (&library.error, release) {
        (Some(error), _) => format!("probes off: {error}"),
        (None, Some(release)) if library.layout == Some(LayoutSource::Assumed.text()) => format!(
            "in no table; it says that it is {name} {release}, has its functions, and is recorded with its layout, which the first \
             posts must confirm"
        ),
        (None, Some(release)) if library.layout == Some(LayoutSource::Measured.text()) => {
            format!("in no table, but learned: {name} {release}")
        }
        (None, Some(release)) => format!("{name} {release}"),
        (None, None) => format!("unknown build: probes off (known: {name} {known})"),
    };
    let mut out = format!("  {} ({who})\n    Build ID {id}: {state}\n", library.path);
    if library.is_unknown() {
        if let Some(why) = &library.unknown {
            let _ = writeln!(out, "    {why}");
        }
        let cure = if library.library == "nixl" { builds::LEARN } else { builds::UNKNOWN_CURE };
        let _ = writeln!(out, "    {cure}");
    }
    for probe in &library.probes {
        let line = match (&probe.error, probe.offset) {
            (None, Some(offset)) => format!(
                "{offset:#08x}  {:<6}{}",
                probe.first_instruction.unwrap_or_default(),
                probe.cost_ns.map(|ns| format!("{:>6.2} us a hit", ns / 1e3)).unwrap_or_default()
            ),
            (error, _) => format!("off: {}", error.as_deref().unwrap_or("no such symbol")),
        };
        let _ = writeln!(out, "    {:<15}{line}", probe.kind);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::ProbeLine;

    #[test]
    fn what_is_missing_comes_with_its_cure() {
        let findings = Findings {
            version: "0",
            kernel: "6".into(),
            can_record: false,
            known_nixl: "1.5.1".into(),
            known_mooncake: "0.3.13".into(),
            checks: vec![Check {
                name: "capabilities",
                ok: false,
                required: true,
                found: "lacks CAP_BPF".into(),
                cure: Some("run as root".into()),
            }],
            libraries: vec![
                LibraryLine {
                    path: "/a/libnixl.so".into(),
                    library: "nixl",
                    pid: Some(7),
                    build_id: Some("ab".into()),
                    nixl: None,
                    mooncake: None,
                    layout: None,
                    unknown: None,
                    error: None,
                    probes: vec![],
                },
                LibraryLine {
                    path: "/c/engine.so".into(),
                    library: "mooncake",
                    pid: Some(8),
                    build_id: Some("ef".into()),
                    nixl: None,
                    mooncake: None,
                    layout: None,
                    unknown: None,
                    error: None,
                    probes: vec![],
                },
                LibraryLine {
                    path: "/b/libnixl.so".into(),
                    library: "nixl",
                    pid: None,
                    build_id: Some("cd".into()),
                    nixl: Some("1.5.1".into()),
                    mooncake: None,
                    layout: None,
                    unknown: None,
                    error: None,
                    probes: vec![ProbeLine {
                        kind: "post",
                        symbol: "f",
                        offset: Some(0x64790),
                        first_instruction: Some("push"),
                        cost_ns: Some(1234.0),
                        error: None,
                    }],
                },
            ],
        };
        let page = super::page(&findings);
        for part in [
            "capabilities        MISSING   lacks CAP_BPF",
            "get it: run as root",
            "/a/libnixl.so (pid 7)\n    Build ID ab: unknown build: probes off (known: NIXL 1.5.1)\n    nothing of it will be recorded: `kvpath-agent learn PID|FILE`",
            "/b/libnixl.so (--library)\n    Build ID cd: NIXL 1.5.1\n    post           0x064790  push    1.23 us a hit",
            "/c/engine.so (pid 8)\n    Build ID ef: unknown build: probes off (known: Mooncake 0.3.13)\n",
            "nothing can be recorded here",
        ] {
            assert!(page.contains(part), "{part:?} is not in:\n{page}");
        }
        assert_eq!(findings.unknown_builds(), 2);
        let works = super::page(&Findings { can_record: true, ..findings });
        assert!(works.contains("but not of 2 libraries of unknown builds"), "{works}");
    }
}
