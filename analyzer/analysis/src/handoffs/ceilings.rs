//! How fast hand-offs could be, and what that says of each.

use kvpath_schema::tables::derived::{Cause, CeilingMethod, Completeness, HandoffFinding, Handoffs};

use super::SMALL_PIECE_BYTES;
use crate::settings::Settings;
use crate::structure::lanes::Lane;
use crate::structure::stages::StageWork;

/// Below this share of the ceiling a hand-off of small pieces is called scattered.
const SLOW_SHARE: f64 = 0.5;

/// Sets ceilings and findings, which need all hand-offs of the run.
pub fn judge(table: &mut Handoffs, shortest: &[Option<i64>], stages: &[StageWork], settings: &Settings) {
    let best_copy = stages
        .iter()
        .filter_map(|stage| stage.lane)
        .flat_map(Lane::copies)
        .filter(|copy| copy.bytes >= SMALL_PIECE_BYTES && copy.span.1 > copy.span.0)
        .map(|copy| {
            #[expect(clippy::cast_precision_loss, reason = "bytes and ns of a copy are below 2^52")]
            let rate = copy.bytes as f64 * 1e9 / (copy.span.1 - copy.span.0) as f64;
            rate
        })
        .max_by(f64::total_cmp);
    let best_transfer = table.rate_bytes_per_s.iter().flatten().copied().max_by(f64::total_cmp);
    for (row, shortest_ns) in shortest.iter().enumerate() {
        let (ceiling, method) = match (settings.ceiling_bytes_per_s, best_copy, best_transfer) {
            (Some(given), ..) => (Some(given), CeilingMethod::Given),
            (None, Some(best), _) if table.copies[row].is_some() => (Some(best), CeilingMethod::BestCopy),
            (None, _, Some(best)) => (Some(best), CeilingMethod::BestTransfer),
            _ => (None, CeilingMethod::None),
        };
        table.ceiling_bytes_per_s[row] = ceiling;
        table.ceiling_method[row] = method;
        if table.completeness[row] != Completeness::Complete {
            continue;
        }
        let (Some(small), Some(rate), Some(ceiling)) =
            (table.small_piece_bytes[row], table.rate_bytes_per_s[row], ceiling)
        else {
            continue;
        };
        let mostly_small = small.saturating_mul(2) >= table.bytes[row];
        // Without copies the span ends at a poll, which may come late: then the rate is at most that of the earliest
        // possible end.
        let rate = if table.copies[row].is_some() {
            Some(rate)
        } else {
            #[expect(clippy::cast_precision_loss, reason = "bytes and ns of a hand-off are below 2^53")]
            let fastest = shortest_ns.filter(|ns| *ns > 0).map(|ns| table.bytes[row] as f64 * 1e9 / ns as f64);
            fastest
        };
        table.cause[row] = match (mostly_small, rate.is_some_and(|rate| rate < SLOW_SHARE * ceiling)) {
            (true, true) => Cause::Scattered,
            (false, _) => Cause::Contiguous,
            (true, false) => Cause::Unknown,
        };
        table.finding[row] = HandoffFinding::of(table.completeness[row], table.cause[row]);
    }
}
