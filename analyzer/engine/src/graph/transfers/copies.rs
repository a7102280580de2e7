//! Copies that GPUs made themselves from device to device: those of a transfer show when its bytes were on their way.

use std::collections::HashMap;

use crate::analysis::Raw;

/// GPU copies to other devices, by process.
#[derive(Debug, Default)]
pub(super) struct Copies(HashMap<i64, OfProcess>);

/// Those of a process, by start.
#[derive(Debug, Default)]
struct OfProcess {
    /// Start, end, ns, and bytes.
    copies: Vec<(i64, i64, i64)>,
    /// Bytes of the copies before each, and of all.
    sums: Vec<i128>,
}

impl Copies {
    pub(super) fn of(raw: &Raw) -> Self {
        let table = &raw.device_copies;
        let mut found: HashMap<i64, OfProcess> = HashMap::new();
        for row in (0..table.start_ns.len()).filter(|row| matches!(&*table.kind[*row], "PtoP" | "DtoD")) {
            let start = table.start_ns[row];
            let copy = (start, start.saturating_add(table.dur_ns[row]), table.bytes[row]);
            found.entry(table.process_id[row]).or_default().copies.push(copy);
        }
        for own in found.values_mut() {
            own.copies.sort_unstable();
            let sums = own.copies.iter().scan(0i128, |sum, (.., bytes)| {
                *sum += i128::from(*bytes);
                Some(*sum)
            });
            own.sums = std::iter::once(0).chain(sums).collect();
        }
        Self(found)
    }

    /// From the first to the last copy that a process began in a span, if the copies in it are the transfer's bytes exactly.
    /// Of many transfers that are on their way together each one's span holds all their copies: those are only summed up.
    pub(super) fn span_of(&self, process: i64, (from, to): (i64, i64), bytes: i64) -> Option<(i64, i64)> {
        let own = self.0.get(&process)?;
        let first = own.copies.partition_point(|(start, ..)| *start < from);
        let until = own.copies.partition_point(|(start, ..)| *start <= to);
        if first >= until || own.sums[until] - own.sums[first] != i128::from(bytes) {
            return None;
        }
        let begun = &own.copies[first..until];
        let end = begun.iter().map(|(_, end, _)| *end).max()?;
        (end <= to).then_some((begun[0].0, end))
    }
}
