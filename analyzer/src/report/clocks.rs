//! How the clocks of a run's hosts stand to each other, a line a host.

use std::collections::BTreeMap;

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Clock, Clocks};

use super::units::{count, plural};

/// A line for each host but the reference; none for a run of one host.
#[must_use]
pub fn lines(clocks: &Clocks) -> Vec<String> {
    let mut hosts: BTreeMap<i32, Vec<Clock>> = BTreeMap::new();
    for row in (0..clocks.len()).map(|row| clocks.row(row)).filter(|row| &*row.method != "gpu_causality") {
        hosts.entry(row.host_index).or_default().push(row);
    }
    hosts.values().filter_map(|rows| line(rows)).collect()
}

fn line(rows: &[Clock]) -> Option<String> {
    let first = rows.first().filter(|row| &*row.method != "reference")?;
    let (host, reference) = (&first.host, &first.reference);
    let of = |method: &'static str| rows.iter().filter(move |row| &*row.method == method);
    let windows: Vec<&Clock> = rows.iter().filter(|row| !["between", "outside"].contains(&&*row.method)).collect();
    let length = |row: &Clock| row.end_ns.zip(row.start_ns).map_or(0, |(end, start)| end.saturating_sub(start));
    let known = windows.iter().filter_map(|row| Some((length(row), row.offset_ns?, row.eps_ns?)));
    let observations: i64 = rows.iter().map(|row| row.observations).sum();
    let Some((_, offset, own)) = known.max_by_key(|(length, offset, _)| (*length, *offset)) else {
        let why = match (&*first.method, observations) {
            ("one_way", n) => format!("all {} messages between them go one way, which leaves the error open", count(n)),
            (_, 0) => "no message between them was recorded".to_owned(),
            (_, n) => format!("the {} messages between them contradict each other", count(n)),
        };
        return Some(format!("{host} cannot be related to {reference}: {why}; it stands by itself, on its own clock"));
    };
    let worst = windows.iter().filter_map(|row| row.eps_ns).max().unwrap_or(own);
    let mut basis = vec![match windows.iter().find(|row| row.offset_ns.is_some()).map_or("", |row| &*row.method) {
        "probes" => plural((observations + 1) / 2, "probe"),
        "messages" => plural(observations, "message"),
        _ => format!("{} of probes and notifications", plural(observations, "message")),
    }];
    basis.push(plural(i64::try_from(windows.len()).unwrap_or(i64::MAX), "window"));
    if let Some(via) = &first.via {
        basis.push(format!("through {via}"));
    }
    for (method, place) in [("between", "between two windows"), ("outside", "before and after all messages")] {
        if let Some(eps) = of(method).filter_map(|row| row.eps_ns).max().filter(|eps| *eps > worst) {
            basis.push(format!("+- {} {place}", error(eps)));
        }
    }
    let violations: i64 = rows.iter().map(|row| row.violations).sum();
    if violations > 0 {
        basis.push(format!("{} left out, for the rest contradicts it", plural(violations, "message")));
    }
    if first.open_triangles > 0 {
        basis.push(format!(
            "{} comes out elsewhere",
            plural(i64::from(first.open_triangles), "way through a third host")
        ));
    }
    let unbounded = windows.iter().filter(|row| row.eps_ns.is_none()).count();
    if unbounded > 0 {
        basis.push(format!("in {unbounded} of them without a bound"));
    }
    Some(format!("{host} is {} +- {} of {reference} ({})", to_error(offset, worst), error(worst), basis.join(", ")))
}

/// An error with two digits, rounded up.
fn error(ns: i64) -> String {
    let step = last_digit(ns);
    let up = ns.checked_add(step - 1).map_or(ns, |up| up / step * step);
    to_error(up, ns).trim_start_matches('+').to_owned()
}

/// A power of ten, the second digit of an error.
fn last_digit(ns: i64) -> i64 {
    let digits = ns.max(1).ilog10();
    10i64.pow(digits.saturating_sub(1))
}

/// A time with its sign, no finer than the second digit of its error.
fn to_error(ns: i64, eps: i64) -> String {
    let step = last_digit(eps);
    let rounded = (i128::from(ns) + i128::from(step) / 2).div_euclid(i128::from(step)) * i128::from(step);
    let (unit, digits) = match rounded.unsigned_abs() {
        0..1_000_000 => ("us", 3),
        1_000_000..1_000_000_000 => ("ms", 6),
        _ => ("s", 9),
    };
    let scale = 10u128.pow(digits);
    let places = usize::try_from(digits.saturating_sub(step.ilog10())).unwrap_or(0);
    let whole = rounded.unsigned_abs() / scale;
    let part = format!("{:0width$}", rounded.unsigned_abs() % scale, width = digits as usize);
    let sign = if rounded < 0 { '-' } else { '+' };
    let point = if places > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{} {unit}", &part[..places])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: &str, offset_ns: Option<i64>, eps_ns: Option<i64>, observations: i64) -> Clock {
        Clock {
            host: "node-b".into(),
            host_index: 1,
            reference: "node-a".into(),
            process_id: None,
            start_ns: Some(0),
            end_ns: Some(1_000),
            offset_ns,
            drift_ppb: None,
            eps_ns,
            offset_min_ns: None,
            offset_max_ns: None,
            observations,
            violations: 0,
            open_triangles: 0,
            method: method.into(),
            via: None,
        }
    }

    fn said(rows: &[Clock]) -> Vec<String> {
        let mut clocks = Clocks::default();
        for row in rows {
            clocks.push(row.clone());
        }
        lines(&clocks)
    }

    #[test]
    fn offsets_are_no_finer_than_their_error() {
        assert_eq!(to_error(5_000_012, 2_100), "+5.0000 ms");
        assert_eq!(to_error(5_000_012, 3), "+5.000012 ms");
        assert_eq!(to_error(-1_234_567_890_123, 45_000), "-1234.567890 s");
        assert_eq!(to_error(412, 97), "+0.412 us");
        assert_eq!(to_error(1_499, 2_000_000), "+0 us");
        assert_eq!((error(2_101), error(0), error(97)), ("2.2 us".into(), "0.000 us".into(), "0.097 us".into()));
    }

    #[test]
    fn a_host_that_was_related_says_by_what() {
        let two = [row("probes", Some(5_000_012), Some(2_100), 30), row("probes", Some(5_000_100), Some(900), 10)];
        assert_eq!(said(&two), ["node-b is +5.0001 ms +- 2.1 us of node-a (20 probes, 2 windows)"]);
        let mut far = row("probes+messages", Some(-7_000_000), Some(12_345), 7);
        (far.via, far.violations, far.open_triangles) = (Some("node-c".into()), 1, 1);
        assert_eq!(
            said(&[far]),
            [
                "node-b is -7.000 ms +- 13 us of node-a (7 messages of probes and notifications, 1 window, through node-c, \
              1 message left out, for the rest contradicts it, 1 way through a third host comes out elsewhere)"
            ]
        );
        assert_eq!(
            said(&[
                row("messages", Some(0), Some(900), 3),
                row("one_way", None, None, 1),
                row("outside", Some(0), Some(4_000), 0)
            ]),
            [
                "node-b is +0.00 us +- 0.90 us of node-a (4 messages, 2 windows, +- 4.0 us before and after all messages, \
              in 1 of them without a bound)"
            ]
        );
    }

    #[test]
    fn a_host_that_was_not_related_says_why() {
        assert!(said(&[row("reference", Some(0), Some(0), 0)]).is_empty());
        assert!(said(&[row("one_way", None, None, 12)])[0].contains("all 12 messages between them go one way"));
        assert!(
            said(&[row("none", None, None, 0)])[0]
                .contains("no message between them was recorded; it stands by itself")
        );
        assert!(said(&[row("none", None, None, 2)])[0].contains("contradict each other"));
    }
}
