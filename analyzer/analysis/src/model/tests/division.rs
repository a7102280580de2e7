//! Which pass serves which request, and which layers ranges name, on tables made by hand.

use kvpath_schema::table::Columns;

use super::super::Recording;
use super::{analyse, live, prefill};
use crate::spill::Memory;
use crate::structure::ranges::Ranges;
use crate::synthetic::MS;

/// Two stages run the chunks of requests back to back, and hand each over `late` after it was computed; tokens are bytes.
fn back_to_back(chunks: &[i64], late: i64) -> Recording {
    let mut recording = live();
    let mut ends = [0, 0];
    for (number, chunks) in chunks.iter().enumerate() {
        for chunk in 0..*chunks {
            let each = MS / 10 + chunk * MS / 100;
            ends[0] = recording.pass(1, ends[0], 12, each);
            ends[1] = recording.pass(2, ends[0].max(ends[1]), 12, each);
        }
        for (process, agent, end) in [(1, "a-0", ends[0]), (2, "a-1", ends[1])] {
            recording.write(
                process,
                agent,
                "d-0",
                end + late + 3 * MS,
                (*chunks << 20) - 4096,
                &format!("req-{number}"),
            );
        }
    }
    recording
}

#[test]
fn passes_are_divided_by_the_bytes_handed_over_even_if_late() {
    let chunks = [2, 5, 1, 3, 5];
    // So late that the next requests were computed meanwhile.
    for late in [0, 40 * MS, 300 * MS] {
        let analysis = analyse(&back_to_back(&chunks, late));
        let found: Vec<_> = analysis.requests.chunks.iter().map(|n| i64::from(n.unwrap_or(0))).collect();
        assert_eq!(found, chunks, "{late} ns late");
        let of_second = analysis.chunks.stage_id.iter().filter(|stage| **stage == 1).count();
        assert_eq!(of_second, 16);
    }
}

#[test]
fn warm_up_is_nobodys_where_passes_are_divided() {
    let mut recording = back_to_back(&[3, 4], 40 * MS);
    for process in [1, 2] {
        recording.pass(process, -900 * MS, 12, MS / 10);
    }
    assert_eq!(analyse(&recording).requests.chunks, [Some(3), Some(4)]);
}

/// Takes out rows of `nixl_transfers`.
fn lose(recording: &mut Recording, lost: std::ops::Range<usize>) {
    let mut rows = kvpath_schema::tables::nixl::NixlTransfers::default();
    for row in (0..recording.transfers.len()).filter(|row| !lost.contains(row)) {
        rows.push(recording.transfers.row(row));
    }
    recording.transfers = rows;
}

#[test]
fn a_request_whose_row_was_lost_on_one_stage_keeps_its_passes_there() {
    // The second stage's hand-off of the second request, and of the last.
    for lost in [3, 5] {
        let mut recording = back_to_back(&[2, 5, 3], 40 * MS);
        lose(&mut recording, lost..lost + 1);
        let analysis = analyse(&recording);
        for stage in [0, 1] {
            let of = |request| {
                let is_its =
                    |row: &usize| analysis.chunks.request[*row] == request && analysis.chunks.stage_id[*row] == stage;
                (0..analysis.chunks.len()).filter(is_its).count()
            };
            assert_eq!([of(0), of(1), of(2)], [2, 5, 3], "stage {stage} without row {lost}");
        }
    }
}

#[test]
fn a_request_that_is_lost_as_a_whole_leaves_the_others_far_from_it_their_passes() {
    let all = [2, 5, 3, 4, 2, 5, 3, 4, 2, 3];
    let mut recording = back_to_back(&all, 0);
    // Both hand-offs of the second request: its five passes belong to nobody that is known.
    lose(&mut recording, 2..4);
    let found = analyse(&recording).requests;
    let chunks = |number: usize| {
        let id = format!("req-{number}");
        let row = found.request_id.iter().position(|known| known.as_deref() == Some(&id));
        row.and_then(|row| found.chunks[row]).map(i64::from)
    };
    assert_eq!([5, 6, 7, 8, 9].map(chunks), [5, 6, 7, 8, 9].map(|number| Some(all[number])));
    assert_eq!([0, 2].map(chunks), [None; 2], "what cannot be told is not");
}

/// Two stages hand over each chunk when it is computed; the rows that `is_lost` names by stage, request and chunk are lost.
fn chunk_by_chunk(chunks: &[i64], is_lost: impl Fn(i64, usize, i64) -> bool) -> Recording {
    let mut recording = live();
    let mut ends = [0, 0];
    for (number, of_request) in chunks.iter().enumerate() {
        for chunk in 0..*of_request {
            let each = MS / 10 + chunk * MS / 100;
            ends[0] = recording.pass(1, ends[0], 12, each);
            ends[1] = recording.pass(2, ends[0].max(ends[1]), 12, each);
            for (process, agent, end) in [(1, "a-0", ends[0]), (2, "a-1", ends[1])] {
                if !is_lost(process, number, chunk) {
                    recording.write(process, agent, "d-0", end + 2 * MS + 10, 1 << 20, &format!("req-{number}"));
                }
            }
        }
    }
    recording
}

#[test]
fn a_request_whose_last_row_was_lost_on_one_stage_was_computed_later_than_the_one_before_it() {
    let chunks = [3, 4, 2, 3];
    for (lost, chunk) in [(1, 3), (3, 2)] {
        let recording = chunk_by_chunk(&chunks, |process, number, at| (process, number, at) == (2, lost, chunk));
        let analysis = analyse(&recording);
        for stage in [0, 1] {
            let of = |request| {
                let is_its =
                    |row: &usize| analysis.chunks.request[*row] == request && analysis.chunks.stage_id[*row] == stage;
                i64::try_from((0..analysis.chunks.len()).filter(is_its).count()).unwrap()
            };
            assert_eq!([of(0), of(1), of(2), of(3)], chunks, "stage {stage}, without the last of {lost}");
        }
    }
}

#[test]
fn ranges_that_name_layers_are_preferred() {
    let mut recording = live();
    let (first, second) = prefill(&mut recording, 0, 3);
    recording.write(1, "a-0", "d-0", first + 3 * MS, 8 << 20, "req-1");
    recording.write(2, "a-1", "d-0", second + 3 * MS, 8 << 20, "req-1");
    // Two of the layers that names show are one of the model's.
    for process in [1, 2] {
        let main = recording.timeline.processes[&process].main.unwrap();
        let kernels = i64::try_from(recording.timeline.lane(main).len()).unwrap();
        recording.timeline.lanes[main as usize].1.key.iter_mut().zip(1..=kernels).for_each(|(key, n)| *key = n);
        for launched in 0..kernels {
            recording.timeline.add_call(process, 1, "cuLaunchKernel", (launched, launched + 1, launched + 1));
        }
    }
    for (process, pass, layer) in
        [1, 2].iter().flat_map(|p| (0..3).flat_map(move |pass| (0..6).map(move |l| (*p, pass, l))))
    {
        let text = format!("model.layers.{}", 6 * (process - 1) + layer);
        recording.nvtx.push(pass * 75 + 3 + layer * 12, Some(12), (process, 1), &text);
    }
    recording.ranges = Ranges::of(&recording.nvtx, &Memory::default()).unwrap();
    let analysis = analyse(&recording);
    assert_eq!(analysis.stages.layers[..2], [Some(6), Some(6)]);
    assert!(analysis.stages.layers_method[..2].iter().all(|method| method.text() == "nvtx"));
    assert_eq!(analysis.layers.len(), 2 * 3 * 6);
    for row in 0..analysis.layers.len() {
        let layer = analysis.layers.row(row);
        assert_eq!(
            (layer.method.text(), layer.layer_resolution.text(), layer.kernels),
            ("nvtx", "layer", 12),
            "{layer:?}"
        );
    }
}
