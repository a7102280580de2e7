//! Numbers for people: ns, bytes and rates with three significant digits, and their unit.

use crate::number::float;

/// `1.23 s`, `45.6 ms`, `789 us`, `12 ns`.
#[must_use]
pub fn time(ns: i64) -> String {
    let value = float(ns);
    match ns.unsigned_abs() {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", three(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} ms", three(value / 1e6)),
        _ => format!("{} s", three(value / 1e9)),
    }
}

/// `2.359 GB` (decimal, as links are rated), `4.13 MB`, `65.5 kB`, `17 B`.
#[must_use]
pub fn bytes(bytes: i64) -> String {
    let value = float(bytes);
    match bytes.unsigned_abs() {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", three(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} MB", three(value / 1e6)),
        _ => format!("{:.3} GB", value / 1e9),
    }
}

/// Bytes a second as GB/s.
#[must_use]
pub fn rate(bytes_per_s: f64) -> String {
    format!("{} GB/s", three(bytes_per_s / 1e9))
}

/// A share as a percentage.
#[must_use]
pub fn share(part: f64, whole: f64) -> String {
    if whole > 0.0 { format!("{} %", three(100.0 * part / whole)) } else { "-".to_owned() }
}

/// `36,000`.
#[must_use]
pub fn count(n: i64) -> String {
    let digits = n.unsigned_abs().to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if n < 0 { format!("-{out}") } else { out }
}

/// `1 row`, `36,000 rows`.
#[must_use]
pub fn plural(n: i64, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

/// What is unknown prints as `-`.
pub fn or_dash<T>(value: Option<T>, print: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), print)
}

fn three(value: f64) -> String {
    match value.abs() {
        v if v < 9.995 => format!("{value:.2}"),
        v if v < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(11_548_000), "11.5 ms");
        assert_eq!(time(-1_500), "-1.50 us");
        assert_eq!(time(1_415_000_000), "1.42 s");
        assert_eq!(bytes(2_359_296_000), "2.359 GB");
        assert_eq!(bytes(65_536), "65.5 kB");
        assert_eq!(rate(204.3e9), "204 GB/s");
        assert_eq!(share(1.0, 0.0), "-");
        assert_eq!(count(34_884), "34,884");
        assert_eq!(count(-1_000), "-1,000");
        assert_eq!(or_dash(None::<i64>, count), "-");
    }
}
