//! The `clocks` table.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::{Clock, Clocks as Table};

use super::bounds::Side;
use super::hosts::{Carrier, Clocks, HostClock};
use super::map::{Basis, Map, Piece};
use super::windows;

impl Clocks {
    /// A row for each host and window.
    #[must_use]
    pub fn table(&self) -> Table {
        let mut table = Table::default();
        for (at, host) in self.hosts.iter().enumerate() {
            match host.chain.first() {
                Some(map) => {
                    for piece in map.pieces() {
                        table.push(self.related(at, host, map, piece));
                    }
                }
                None if at == 0 => table.push(Clock {
                    offset_ns: Some(0),
                    drift_ppb: Some(0),
                    eps_ns: Some(0),
                    offset_min_ns: Some(0),
                    offset_max_ns: Some(0),
                    method: "reference".into(),
                    ..self.row(at, host)
                }),
                None => table.push(self.unrelated(at, host)),
            }
        }
        table
    }

    /// What all rows of a host share, and nothing known.
    fn row(&self, at: usize, host: &HostClock) -> Clock {
        Clock {
            host: host.name.as_str().into(),
            host_index: i32::try_from(at).unwrap_or(i32::MAX),
            reference: self.hosts[host.reference].name.as_str().into(),
            process_id: None,
            start_ns: host.extent.map(|(first, _)| host.time(first)),
            end_ns: host.extent.map(|(_, last)| host.time(last)),
            offset_ns: None,
            drift_ppb: None,
            eps_ns: None,
            offset_min_ns: None,
            offset_max_ns: None,
            observations: 0,
            violations: 0,
            open_triangles: i32::try_from(host.open_triangles).unwrap_or(i32::MAX),
            method: "none".into(),
            via: None,
        }
    }

    fn related(&self, at: usize, host: &HostClock, map: &Map, piece: &Piece) -> Clock {
        let (start, end) = (piece.start, piece.end);
        let middle = start.midpoint(end);
        let (lowest, highest) = host.chain.range(middle);
        let eps_ns = host.chain.worst(start..=end);
        // Ours less the reference's; the map gives the contrary.
        let ahead = |time: i64| middle.saturating_sub(time);
        let billionths = |rise: i64| {
            let run = i128::from(end) - i128::from(start);
            (run > 0).then(|| i64::try_from(i128::from(rise) * 1_000_000_000 / run).unwrap_or(0))
        };
        let drift = if host.chain.is_composed() {
            billionths(host.time(end).saturating_sub(host.time(start)).saturating_sub(end.saturating_sub(start)))
        } else {
            Some(map.line(middle).1)
        };
        let next = host.via.unwrap_or(host.reference);
        Clock {
            start_ns: Some(host.time(start)),
            end_ns: Some(host.time(end)),
            offset_ns: eps_ns.map(|_| ahead(host.time(middle))),
            drift_ppb: eps_ns.and(drift).map(i64::saturating_neg),
            eps_ns,
            offset_min_ns: highest.map(ahead),
            offset_max_ns: lowest.map(ahead),
            observations: i64::try_from(piece.observations).unwrap_or(i64::MAX),
            violations: i64::try_from(piece.violations).unwrap_or(i64::MAX),
            method: match piece.basis {
                Basis::TwoWay => self.carriers(at, next).into(),
                Basis::Between => "between".into(),
                Basis::OneWay => "one_way".into(),
                Basis::Outside => "outside".into(),
            },
            via: host.via.map(|via| self.hosts[via].name.as_str().into()),
            ..self.row(at, host)
        }
    }

    /// A host with a clock of its own, as against the first reference.
    fn unrelated(&self, at: usize, host: &HostClock) -> Clock {
        let constraints = self.constraints(at, 0);
        let kept: usize = windows::split(&constraints).iter().map(|window| window.observations + window.shared).sum();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let has = |side| constraints.iter().any(|constraint| constraint.side == side);
        let row = Clock {
            reference: self.hosts[0].name.as_str().into(),
            observations: count(kept),
            violations: count(constraints.len() - kept),
            ..self.row(at, host)
        };
        if has(Side::Upper) == has(Side::Lower) {
            return row;
        }
        // Its times are on its own clock, so that is asked in the middle of what it recorded.
        let middle = host.extent.map_or(constraints[0].at, |(first, last)| first.midpoint(last));
        let range =
            super::bounds::Bounds::of(&constraints).map(|bounds| (bounds.lowest(middle), bounds.highest(middle)));
        let (lowest, highest) = range.unwrap_or_default();
        Clock {
            offset_min_ns: highest.map(i64::saturating_neg),
            offset_max_ns: lowest.map(i64::saturating_neg),
            method: "one_way".into(),
            ..row
        }
    }

    fn carriers(&self, a: usize, b: usize) -> &'static str {
        let has = |carrier| self.between(a, b).iter().any(|message| message.carrier == carrier);
        match (has(Carrier::Probe), has(Carrier::Notif)) {
            (true, true) => "probes+messages",
            (true, false) => "probes",
            _ => "messages",
        }
    }
}
