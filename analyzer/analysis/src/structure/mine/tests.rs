//! Streams made by hand: whatever a layer holds, its passes and layers come back.

use super::*;
use proptest::prelude::*;

/// Kernels back to back, 1 us each; kernel 900, which prepares a pass, comes 20 us later.
fn stream(symbols: &[u32]) -> Vec<Kernel> {
    let mut now = 0;
    let mut next = |symbol: &u32| {
        now += if *symbol == 900 { 21_000 } else { 1000 };
        Kernel { symbol: *symbol, span: (now - 1000, now), ..Kernel::default() }
    };
    symbols.iter().map(&mut next).collect()
}

/// The passes of a stream of kernels, all at once.
fn mined(kernels: &[Kernel], regions: Option<u32>) -> Vec<Pass> {
    let mut miner = Miner::new(regions);
    let mut found = Vec::new();
    miner.feed(kernels, &mut found);
    miner.finish(&mut found);
    found
}

fn passes(symbols: &[u32]) -> Vec<Pass> {
    mined(&stream(symbols), None)
}

/// Layers of each pass.
fn counts(found: &[Pass]) -> Vec<usize> {
    found.iter().map(|pass| pass.layers.len()).collect()
}

/// One pass: 3 kernels of preparation, `layers` times `unit`, 2 kernels at the end.
fn pass(layers: usize, unit: &[u32], gemm: u32) -> Vec<u32> {
    let mut out = vec![900, 901, 902];
    for layer in 0..layers {
        let first = if layer == 0 { 700 } else { unit[0] };
        out.push(first);
        out.extend(unit[1..].iter().map(|s| if *s == 99 { gemm } else { *s }));
    }
    out.extend([903, 904]);
    out
}
const UNIT: &[u32] = &[1, 99, 2, 2, 3, 4, 5, 99, 6, 99, 7, 99];

#[test]
fn passes_back_to_back_are_told_apart_and_counted() {
    let mut sequence = vec![800; 300]; // weights being filled: one kernel over and over
    for gemm in [50, 50, 51, 52] {
        sequence.extend(pass(18, UNIT, gemm));
    }
    let found = passes(&sequence);
    assert_eq!(counts(&found), [18, 18, 18, 18]);
    // Before the first pass nothing pauses, so what fills weights may be taken for its preparation.
    for pass in &found[1..] {
        let lengths: Vec<usize> = pass.layers.iter().map(|l| l.kernels as usize).collect();
        assert!(lengths.iter().all(|n| *n == UNIT.len()), "{lengths:?}");
        assert_eq!(usize::try_from(pass.kernels), Ok(18 * UNIT.len() + 5));
    }
}

#[test]
fn a_cut_pass_shows_fewer_layers() {
    let mut sequence = Vec::new();
    for _ in 0..3 {
        sequence.extend(pass(12, UNIT, 50));
    }
    let cut = pass(12, UNIT, 50);
    sequence.extend(&cut[..=3 + 5 * UNIT.len()]);
    let found = passes(&sequence);
    assert_eq!(counts(&found), [12, 12, 12, 5]);
}

#[test]
fn an_inserted_kernel_does_not_break_a_pass() {
    let mut sequence = Vec::new();
    for _ in 0..3 {
        let mut one = pass(10, UNIT, 50);
        one.insert(3 + 4 * UNIT.len() + 2, 777);
        sequence.extend(one);
    }
    assert_eq!(counts(&passes(&sequence)), [10, 10, 10]);
}

#[test]
fn a_layer_kernel_that_also_prepares_is_no_anchor() {
    // As in a recorded vLLM stage: a fill kernel runs once a layer, and twice between passes.
    let mut sequence = Vec::new();
    for _ in 0..6 {
        let mut one = pass(18, UNIT, 50);
        one.insert(1, 5);
        one.push(5);
        sequence.extend(one);
    }
    assert_eq!(counts(&passes(&sequence)), [18; 6]);
}

#[test]
fn a_kernel_twice_a_layer_at_equal_distances_is_no_anchor() {
    let unit = &[1, 9, 2, 3, 9, 4];
    let mut sequence = Vec::new();
    for _ in 0..4 {
        sequence.extend([900, 901, 902]);
        for _ in 0..12 {
            sequence.extend(unit);
        }
    }
    assert_eq!(counts(&passes(&sequence)), [12; 4]);
}

#[test]
fn many_passes_alike_are_not_taken_for_layers() {
    let mut sequence = Vec::new();
    for _ in 0..40 {
        sequence.extend(pass(8, UNIT, 50));
    }
    assert_eq!(counts(&passes(&sequence)), [8; 40]);
}

#[test]
fn a_loop_inside_of_a_layer_is_not_taken_for_layers() {
    let mut sequence = Vec::new();
    for _ in 0..5 {
        sequence.extend(900..906);
        for _ in 0..12 {
            sequence.extend([1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13]);
            for _ in 0..8 {
                sequence.extend([20, 21, 22]);
            }
        }
    }
    assert_eq!(counts(&passes(&sequence)), [12; 5]);
}

#[test]
fn alternating_layers_are_counted_one_by_one() {
    let mut sequence = Vec::new();
    for _ in 0..4 {
        sequence.extend([900, 901, 902, 903]);
        for layer in 0..20 {
            sequence.extend([1, 2, 3, 4 + layer % 2, 6, 7, 8 + layer % 2, 10]);
        }
    }
    assert_eq!(counts(&passes(&sequence)), [20; 4]);
}

#[test]
fn no_pattern_is_no_pass() {
    assert!(passes(&[]).is_empty());
    assert!(passes(&[5; 1000]).is_empty());
    let distinct: Vec<u32> = (0..1000).collect();
    assert!(passes(&distinct).is_empty());
}

proptest! {
    /// Any layer count, unit length and number of passes come back as they were made; layers are disjoint, in order.
    #[test]
    fn what_was_made_is_found(layers in 6usize..40, unit_len in 4u32..30, chunks in 2usize..6) {
        let unit: Vec<u32> = (1..=unit_len).collect();
        let mut sequence = Vec::new();
        for _ in 0..chunks {
            // Preparation and end are longer than the tolerance, as in every engine seen.
            sequence.extend(900..=902 + unit_len / 8);
            for _ in 0..layers { sequence.extend(&unit); }
        }
        let found = passes(&sequence);
        prop_assert_eq!(counts(&found), vec![layers; chunks]);
        check(&found);
    }

    /// Any input at all: no panic, and layers stay disjoint and inside.
    #[test]
    fn any_sequence_is_survived(sequence in prop::collection::vec(0u32..6, 0..400)) {
        check(&passes(&sequence));
    }
}

/// Layers are disjoint, in order and inside of the stream.
fn check(found: &[Pass]) {
    let mut end = 0;
    for pass in found {
        assert!(pass.span.0 >= end && pass.span.0 <= pass.layers[0].start_ns);
        for layer in &pass.layers {
            assert!(layer.start_ns >= end && layer.kernels > 0 && layer.end_ns > layer.start_ns, "{layer:?}");
            assert_eq!(layer.busy_ns, i64::from(layer.kernels) * 1000, "{layer:?}");
            end = layer.end_ns;
        }
        assert!(pass.span.1 >= end);
        end = pass.span.1;
    }
}

/// A stage without a kernel between passes, whose attention runs in more parts with each chunk, as recorded of kvpath's own
/// workload: norm, product, parts of three kernels each, five more.
fn parts(chunks: &[usize], layers: usize) -> Vec<u32> {
    let mut out = Vec::new();
    for parts in chunks {
        for _ in 0..layers {
            out.extend([1, 2]);
            for part in 0..*parts {
                let variant = if part < 4 { 4 } else { 5 + u32::try_from(part / 4 % 3).unwrap() };
                out.extend([2, 3, variant]);
            }
            out.extend([11, 1, 12, 13, 11, 14]);
        }
    }
    out
}

#[test]
fn attention_in_parts_is_not_taken_for_layers() {
    let chunks = [16, 24, 32, 40].repeat(4);
    let mut marked = Vec::new();
    for chunk in &chunks {
        marked.push(15);
        marked.extend(parts(&[*chunk], 8));
    }
    assert_eq!(counts(&passes(&marked)), [8; 16]);
    // Nothing runs between the passes: the regions tell, K and V apart or not, or else the chunks that grow.
    for regions in [Some(8), Some(16), None] {
        assert_eq!(counts(&mined(&stream(&parts(&chunks, 8)), regions)), [8; 16], "{regions:?}");
    }
}

#[test]
fn lost_kernels_cost_no_layer() {
    let mut sequence = Vec::new();
    for _ in 0..40 {
        sequence.extend(pass(18, UNIT, 50));
    }
    // Each 97th: about 1 %, at any place of a layer.
    let left: Vec<Kernel> =
        stream(&sequence).into_iter().enumerate().filter(|(i, _)| i % 97 != 0).map(|(_, kernel)| kernel).collect();
    assert_eq!(counts(&mined(&left, None)), [18; 40]);
}

#[test]
fn a_node_of_a_graph_keeps_its_layer() {
    let once = pass(12, UNIT, 50);
    let mut kernels = stream(&once.repeat(6));
    for (i, kernel) in kernels.iter_mut().enumerate() {
        kernel.node = i64::try_from(i % once.len()).ok();
    }
    let found = mined(&kernels, None);
    assert_eq!(counts(&found), [12; 6]);
    assert!(
        found.iter().flat_map(|pass| &pass.layers).all(|layer| layer.nodes as usize >= UNIT.len() - 1),
        "{found:?}"
    );
    // The graph runs in another order of its branches: names would be wrong.
    let n = once.len();
    kernels[5 * n + 20].symbol = 777;
    kernels[5 * n + 21].symbol = 777;
    assert_eq!(counts(&mined(&kernels, None)), [12; 6]);
}

#[test]
fn ranges_tell_layers() {
    let mut kernels = stream(&pass(4, UNIT, 50).repeat(3));
    let n = kernels.len() / 3;
    for (i, kernel) in kernels.iter_mut().enumerate() {
        let at = i % n;
        kernel.range = (at >= 3 && at < n - 2).then(|| 18 + u32::try_from((at - 3) / UNIT.len()).unwrap());
    }
    let found = mined(&kernels, None);
    assert_eq!(counts(&found), [4; 3]);
    assert!(found.iter().flat_map(|pass| &pass.layers).all(|layer| layer.kernels as usize == UNIT.len()), "{found:?}");
}

proptest! {
    /// Batches of any size give the same passes, whatever the stream.
    #[test]
    fn batches_change_nothing(
        noise in prop::collection::vec((0usize..4000, 0u32..8), 0..30),
        sizes in prop::collection::vec(1usize..700, 1..12),
        layers in 3usize..20,
    ) {
        let mut sequence: Vec<u32> = vec![800; 50];
        for chunk in 0..6 {
            sequence.extend(pass(layers, UNIT, 50 + chunk % 2));
        }
        for (at, symbol) in noise {
            let at = at % sequence.len();
            sequence[at] = symbol;
        }
        let kernels = stream(&sequence);
        let mut miner = Miner::new(None);
        let mut found = Vec::new();
        let mut rest = &kernels[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() { break; }
            let (now, later) = rest.split_at((*size).min(rest.len()));
            miner.feed(now, &mut found);
            rest = later;
        }
        miner.finish(&mut found);
        check(&found);
        prop_assert_eq!(found, mined(&kernels, None));
    }
}

/// What was learnt of a stream.
fn learnt(sequence: &[u32], regions: Option<u32>) -> (Vec<usize>, Pattern) {
    let mut miner = Miner::new(regions);
    let mut found = Vec::new();
    miner.feed(&stream(sequence), &mut found);
    miner.finish(&mut found);
    (counts(&found), miner.pattern().cloned().unwrap())
}

/// Layers whose norms are fused with the addition before (5), as vLLM runs them: twice a layer, so they mark none. `first` runs in
/// place of the first layer's first one; a last one may follow the last layer.
fn fused(first: u32, has_last: bool) -> Vec<u32> {
    let mut out = Vec::new();
    for _ in 0..6 {
        out.extend([900, 901, 902, first]);
        for layer in 0..12 {
            if layer > 0 {
                out.push(5);
            }
            out.extend([10, 11, 12, 13, 5, 14, 15, 16]);
        }
        out.extend(has_last.then_some(5));
        out.push(903);
    }
    out
}

#[test]
fn a_kernel_that_fits_either_layer_is_said_to() {
    // A first stage, whose first norm has nothing to add, and a last one, which has a norm more than layers: either could have it.
    for (first, has_last) in [(700, false), (5, true)] {
        let (counts, pattern) = learnt(&fused(first, has_last), None);
        assert_eq!((counts, pattern.seam()), (vec![12; 6], 1), "{first} {has_last}");
    }
    // A stage in the middle begins with it, and one that is the whole model ends with it.
    for (first, has_last) in [(5, false), (700, true)] {
        let (counts, pattern) = learnt(&fused(first, has_last), None);
        assert_eq!((counts, pattern.seam()), (vec![12; 6], 0), "{first} {has_last}");
    }
}

#[test]
fn where_nothing_shows_a_beginning_a_layer_may_begin_anywhere() {
    let (counts, pattern) = learnt(&parts(&[16, 24, 32, 40].repeat(4), 8), Some(8));
    assert_eq!(counts, [8; 16]);
    // Two kernels, three of each part, six more: half of the layers have 24 parts or fewer.
    assert!(pattern.seam() > 2 + 3 * 16, "{}", pattern.seam());
    // In the first layer another kernel runs in place of the unit's first: it may as well come before the layers.
    let once = pass(12, UNIT, 50);
    assert_eq!(learnt(&once.repeat(4), None).1.seam(), 1);
    let alike: Vec<u32> = once.into_iter().map(|symbol| if symbol == 700 { UNIT[0] } else { symbol }).collect();
    assert_eq!(learnt(&alike.repeat(4), None).1.seam(), 0);
}

#[test]
fn it_is_said_whether_regions_chose_the_number_of_layers() {
    let chunks = [16, 24, 32, 40].repeat(4);
    assert!(!learnt(&parts(&chunks, 8), Some(8)).1.is_by_regions(), "chunks that grow tell it too");
    assert!(!learnt(&parts(&chunks, 8), None).1.is_by_regions());
    let (counts, pattern) = learnt(&parts(&[16; 8], 8), Some(8));
    assert_eq!((counts, pattern.is_by_regions()), (vec![8; 8], true));
    assert!(!learnt(&pass(18, UNIT, 50).repeat(6), Some(18)).1.is_by_regions());
}

/// Kernels back to back; before those at these places the host copied something.
fn stepped(symbols: &[u32], copies: impl Fn(usize) -> bool) -> Vec<Kernel> {
    let mut kernels = stream(symbols);
    for (at, kernel) in kernels.iter_mut().enumerate() {
        kernel.is_step = copies(at);
    }
    kernels
}

/// A layer as vLLM runs Gemma 3's: the same norm of eleven kernels six times, of which attention and MLP come between.
fn many_norms(attention: u32) -> Vec<u32> {
    let norm: Vec<u32> = (20..31).collect();
    let between = [&[40][..], &[41], &[42, 43, 44, attention, 45], &[46], &[47, 48, 49], &[50]];
    between.iter().flat_map(|part| norm.iter().chain(part.iter())).copied().collect()
}

#[test]
fn a_norm_that_repeats_within_a_layer_is_no_layer_where_steps_are_known() {
    // Every sixth layer has full attention.
    let layers: Vec<u32> = (0..12).flat_map(|layer| many_norms(if layer % 6 == 5 { 61 } else { 60 })).collect();
    let once: Vec<u32> = [900, 901].into_iter().chain(layers).chain([903, 904]).collect();
    let kernels = stepped(&once.repeat(6), |at| at.is_multiple_of(once.len()));
    // As many regions as its groups of layers have.
    assert_eq!(counts(&mined(&kernels, Some(2))), [12; 6]);
}

#[test]
fn steps_divide_passes_between_which_no_kernel_runs() {
    let once: Vec<u32> = UNIT.repeat(12);
    let kernels = stepped(&once.repeat(5), |at| at.is_multiple_of(once.len()));
    assert_eq!(counts(&mined(&kernels, Some(36))), [12; 5]);
}

#[test]
fn preparation_between_several_copies_is_of_the_pass_that_follows() {
    let once = pass(12, UNIT, 50);
    let kernels = stepped(&once.repeat(4), |at| at % once.len() < 3);
    let found = mined(&kernels, None);
    assert_eq!(counts(&found), [12; 4]);
    assert!(found.iter().all(|pass| pass.kernels == once.len() as u64), "{found:?}");
}

#[test]
fn copies_within_passes_show_no_steps() {
    // Weights that are fetched before each layer; attention in parts, of which each layer has as many.
    let layer: Vec<u32> = [1, 2].into_iter().chain([2, 3, 4].repeat(16)).chain([11, 1, 12, 13, 11, 14]).collect();
    let once: Vec<u32> = [15].into_iter().chain(layer.repeat(8)).collect();
    let kernels = stepped(&once.repeat(8), |at| (at % once.len() % layer.len()) == 1);
    assert_eq!(counts(&mined(&kernels, None)), [8; 8]);
}
