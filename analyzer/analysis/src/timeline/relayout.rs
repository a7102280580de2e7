//! Kernels by which a worker brings KV blocks that it received into its own layout: another order of heads and tokens, or another
//! block size. They work on what a hand-off brought, before the worker's model runs on it, and are no part of a forward pass.
//!
//! vLLM does it with PyTorch's operations, for each registered tensor in turn: `index_select` of the received blocks, copies that
//! reorder them, `index_copy_` back (`post_process_device_kv_on_receive` of its NIXL connector). Each of these kernels runs elsewhere
//! too; nothing else repeats all of them with nothing between.

use super::{Class, Lane, OpNames};

/// `index_select`: by long rows, else by single elements.
const TAKES: [&str; 2] = ["vectorized_gather_kernel", "indexSelectLargeIndex"];
/// Copies into another order.
const REORDERS: [&str; 1] = ["direct_copy_kernel_cuda"];
/// `index_copy_`.
const PUTS: &str = "index_copy_kernel_impl";
/// Tensors that are brought into another layout one after another: a model has many layers.
const FEWEST: usize = 2;

/// What a kernel may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Take,
    Reorder,
    Put,
    /// A copy from the host, as of the numbers of blocks.
    Aside,
    Other,
}

fn part(names: &OpNames, number: u32) -> Part {
    let text = names.text(number);
    match names.class(number) {
        Class::Copy | Class::Memset => Part::Aside,
        Class::Compute if text.contains(PUTS) => Part::Put,
        Class::Compute if TAKES.iter().any(|name| text.contains(name)) => Part::Take,
        Class::Compute if REORDERS.iter().any(|name| text.contains(name)) => Part::Reorder,
        _ => Part::Other,
    }
}

/// Marks those of all lanes, whose operations are in order of time: [`Class::Relayout`].
pub fn mark<'a>(lanes: impl Iterator<Item = &'a mut Lane>, names: &mut OpNames) {
    let parts: Vec<Part> = (0..names.count()).map(|number| part(names, number)).collect();
    if !parts.contains(&Part::Put) {
        return;
    }
    for lane in lanes {
        for at in of_lane(lane.name.iter().map(|name| parts[*name as usize])) {
            let number = names.reclassed(lane.name[at], Class::Relayout);
            lane.name[at] = number;
        }
    }
}

/// Positions of the kernels that are part of it.
fn of_lane(parts: impl Iterator<Item = Part>) -> Vec<usize> {
    let (mut found, mut run, mut tensor): (Vec<usize>, Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new(), Vec::new());
    let mut tensors = 0;
    for (at, part) in parts.enumerate() {
        match part {
            Part::Aside => {}
            Part::Take if tensor.is_empty() => tensor.push(at),
            Part::Reorder if !tensor.is_empty() => tensor.push(at),
            Part::Put if !tensor.is_empty() => {
                tensor.push(at);
                run.append(&mut tensor);
                tensors += 1;
            }
            _ => {
                tensor.clear();
                found.extend(run.drain(..).filter(|_| tensors >= FEWEST));
                tensors = 0;
                tensor.extend((part == Part::Take).then_some(at));
            }
        }
    }
    found.extend(run.into_iter().filter(|_| tensors >= FEWEST));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{LaneId, LaneKind, New, Timeline};

    /// As recorded of vLLM 0.26 where prefill has blocks of 16 tokens and decode of 64.
    const GATHER: &str = "_ZN2at6native24vectorized_gather_kernelILi16ElEEvPcS2_PT0_illllb";
    const REORDER: &str =
        "_ZN2at6native18elementwise_kernelILi128ELi4EZNS0_22gpu_kernel_impl_nocastIZZZNS0_23direct_copy_kernel_cudaE";
    const PUT: &str =
        "_ZN2at6native24index_elementwise_kernelILi128ELi4EZNS0_22index_copy_kernel_implINS0_10OpaqueTypeILi2EEEEE";

    fn classes(texts: &[&str]) -> Vec<Class> {
        let mut timeline = Timeline::default();
        let mut lane = Lane::default();
        for (at, text) in (0..).zip(texts) {
            let name = timeline.names.kernel(text);
            let name = timeline.names.shaped(name, [4, 1, 1, 128, 1, 1]);
            lane.push(New { start: at * 10, end: at * 10 + 5, key: at + 1, name, node: 0 }).unwrap();
        }
        mark(std::iter::once(&mut lane), &mut timeline.names);
        timeline.lanes.push((LaneId { process: 1, kind: LaneKind::Stream { context: 1, stream: 7 } }, lane));
        let lane = timeline.lane(0);
        for (at, text) in texts.iter().enumerate() {
            assert_eq!(timeline.names.text(lane.name[at]).as_ref(), *text);
            assert_eq!(timeline.names.shape(lane.name[at])[3], 128);
        }
        (0..lane.len()).map(|at| timeline.class(0, at)).collect()
    }

    #[test]
    fn received_blocks_are_no_compute() {
        use Class::{Compute, Relayout};
        let found =
            classes(&["gemm", GATHER, REORDER, REORDER, PUT, GATHER, REORDER, REORDER, PUT, "gemm", GATHER, REORDER]);
        assert_eq!(found[0], Compute);
        assert_eq!(found[1..9], [Relayout; 8]);
        assert_eq!(found[9..], [Compute; 3], "an embedding takes rows too");
    }

    #[test]
    fn one_tensor_alone_is_not_told_from_what_a_model_does() {
        assert_eq!(classes(&[GATHER, REORDER, PUT, "gemm"]), [Class::Compute; 4]);
        assert_eq!(classes(&[GATHER, PUT, "gemm", GATHER, PUT]), [Class::Compute; 5]);
    }
}
