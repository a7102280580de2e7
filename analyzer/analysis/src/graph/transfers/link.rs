//! Which transfer had to wait for another one's bytes to be over.
//!
//! Nothing records when bytes leave. A transfer is taken to have queued behind an earlier one to the same receiver if it was
//! slower than the best one of pieces as large, and if all its bytes could have gone at that best rate after the earlier one was
//! over. By how much rates differ without a queue is seen in those transfers that found the link free. Where the GPU made its
//! copies their times are known, and decide.

use std::collections::HashMap;

use super::Transfer;

/// Rates are alike within this factor at most, and within the second at least: clocks and polls have their grain.
const ALIKE: (f64, f64) = (1.15, 1.01);

/// Fills in [`Transfer::behind`].
pub(super) fn queue(rows: &mut [Transfer]) {
    let mut of_receiver: HashMap<i64, Vec<usize>> = HashMap::new();
    for (row, transfer) in rows.iter().enumerate() {
        let is_over = transfer.wire.1 < i64::MAX && transfer.wire.1 > transfer.wire.0 && transfer.bytes > 0;
        if let Some(receiver) = transfer.receiver.filter(|_| is_over) {
            of_receiver.entry(receiver).or_default().push(row);
        }
    }
    let mut found = Vec::new();
    for own in of_receiver.values_mut() {
        own.sort_unstable_by_key(|row| (rows[*row].wire.1, rows[*row].posted, *row));
        // The best rate for each power of two of the size of pieces.
        let mut best: HashMap<u32, f64> = HashMap::new();
        for row in own.iter() {
            let entry = best.entry(class(&rows[*row])).or_default();
            *entry = entry.max(rate(&rows[*row], rows[*row].wire.0));
        }
        let alike = alike(rows, own, &best);
        // Those that were slow, each with how many of the others were over early enough for it.
        let mut slow: Vec<(usize, usize)> = Vec::new();
        for (at, row) in own.iter().enumerate() {
            let transfer = &rows[*row];
            let (best, alike) = (best[&class(transfer)], alike.get(&class(transfer)).copied().unwrap_or(ALIKE.0));
            if rate(transfer, transfer.wire.0) * alike < best {
                let early =
                    own[..at].partition_point(|other| could_follow(transfer, rows[*other].wire.1, best * alike));
                slow.push((early, *row));
            }
        }
        slow.sort_unstable();
        found.extend(last_before(rows, own, &slow));
    }
    for (row, behind) in found {
        rows[row].behind = Some(behind);
    }
}

/// Of each slow one the last of those over early enough that was posted no later and that it had to wait for. With thousands
/// under way at once each may have thousands before it, so they are gone through once for all: what a later one was posted
/// before is nobody's last.
fn last_before(rows: &[Transfer], own: &[usize], slow: &[(usize, usize)]) -> Vec<(usize, u32)> {
    let mut by_post: Vec<usize> = Vec::new();
    let mut seen = 0;
    let mut found = Vec::new();
    for (early, row) in slow {
        for other in &own[seen..*early] {
            let is_after = |last: &usize| rows[*last].posted >= rows[*other].posted;
            by_post.truncate(by_post.iter().rposition(|last| !is_after(last)).map_or(0, |at| at + 1));
            by_post.push(*other);
        }
        seen = *early;
        let before = by_post.partition_point(|other| rows[*other].posted <= rows[*row].posted);
        let last = before.checked_sub(1).map(|at| by_post[at]);
        let last = last.filter(|other| rows[*other].wire.1 > rows[*row].wire.0);
        found.extend(last.and_then(|other| Some((*row, u32::try_from(other).ok()?))));
    }
    found
}

fn class(transfer: &Transfer) -> u32 {
    transfer.piece.max(1).ilog2()
}

/// Bytes a ns from `start` to its end.
fn rate(transfer: &Transfer, start: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "compared within a tenth")]
    let rate = transfer.bytes as f64 / (transfer.wire.1 - start).max(1) as f64;
    rate
}

fn could_follow(transfer: &Transfer, free: i64, most: f64) -> bool {
    match transfer.copied_from {
        Some(start) => start >= free,
        None => rate(transfer, free) <= most,
    }
}

/// By which factor those that found the link free are slower than the best of their class, at worst.
fn alike(rows: &[Transfer], own: &[usize], best: &HashMap<u32, f64>) -> HashMap<u32, f64> {
    let mut by_start = own.to_vec();
    by_start.sort_unstable_by_key(|row| (rows[*row].wire.0, rows[*row].posted, *row));
    let mut found: HashMap<u32, f64> = HashMap::new();
    let mut busy_until = i64::MIN;
    for row in by_start {
        let (transfer, class) = (&rows[row], class(&rows[row]));
        if transfer.wire.0 >= busy_until {
            let entry = found.entry(class).or_insert(ALIKE.1);
            *entry = entry.max(best[&class] / rate(transfer, transfer.wire.0)).min(ALIKE.0);
        }
        busy_until = busy_until.max(transfer.wire.1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Asks each of all others.
    fn asked(rows: &[Transfer], own: &[usize], (early, row): (usize, usize)) -> Option<u32> {
        let before = own[..early].iter().rev().take_while(|other| rows[**other].wire.1 > rows[row].wire.0);
        let found = before.copied().find(|other| rows[*other].posted <= rows[row].posted);
        found.and_then(|other| u32::try_from(other).ok())
    }

    proptest! {
        #[test]
        fn the_last_before_is_that_of_asking_each(
            rows in prop::collection::vec((0i64..8, 0i64..8, 1i64..8), 1..16),
            slow in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..16),
        ) {
            let transfer = |(posted, wait, length): &(i64, i64, i64)| {
                let start = posted + wait;
                Transfer { posted: *posted, wire: (start, start + length), bytes: 1, ..Transfer::default() }
            };
            let rows: Vec<Transfer> = rows.iter().map(transfer).collect();
            let mut own: Vec<usize> = (0..rows.len()).collect();
            own.sort_unstable_by_key(|row| (rows[*row].wire.1, rows[*row].posted, *row));
            let mut slow: Vec<(usize, usize)> =
                slow.iter().map(|(at, early)| (at.index(own.len()), early)).map(|(at, early)| (early.index(at + 1), own[at])).collect();
            slow.sort_unstable();
            let expected: Vec<(usize, u32)> =
                slow.iter().filter_map(|slow| Some((slow.1, asked(&rows, &own, *slow)?))).collect();
            prop_assert_eq!(last_before(&rows, &own, &slow), expected);
        }
    }
}
