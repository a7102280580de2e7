//! What kernels of a forward pass take.

use super::Model;
use crate::distort::Random;
use crate::engine::Ns;
use crate::names;

/// A kernel of a forward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct KernelCost {
    /// Name.
    pub name: u16,
    /// Layer, or -1.
    pub layer: i16,
    /// What it should take, ns.
    pub nominal_ns: Ns,
    /// What it takes, ns.
    pub actual_ns: Ns,
}

/// Time of the layers of a stage for a chunk and for the first one; what does not divide evenly goes to the first layers.
fn layer_times(model: &Model, stage: usize, chunk: usize) -> Vec<(Ns, Ns)> {
    let layers = i64::from(model.layers[stage]);
    let time = |chunk: usize, layer: i64| match &model.stage_ns {
        Some(costs) => costs[stage][chunk] / layers + i64::from(layer < costs[stage][chunk] % layers),
        None => model.layer_ns[chunk],
    };
    (0..layers).map(|layer| (time(chunk, layer), time(0, layer))).collect()
}

/// The kernels of a chunk on a stage, in order.
pub(super) fn kernels(model: &Model, random: &mut Random, stage: usize, chunk: usize) -> Vec<KernelCost> {
    let times = layer_times(model, stage, chunk);
    let mut out = Vec::with_capacity(names::PROLOGUE.len() + times.len() * names::LAYER.len());
    let number = i64::try_from(names::PROLOGUE.len()).unwrap_or(1);
    let prologue_ns = model.prologue_ns.min(times[0].0 / (4 * number));
    let mut push = |name, layer, nominal_ns: Ns, factor: i64| {
        let slowed = i128::from(nominal_ns) * i128::from(factor) / 1000;
        let slowed = Ns::try_from(slowed).unwrap_or(Ns::MAX / 4);
        let noise = if model.noise_ppm > 0 { random.around_zero(model.noise_ppm) } else { 0 };
        let actual_ns = slowed + slowed / 1_000_000 * noise + slowed % 1_000_000 * noise / 1_000_000;
        out.push(KernelCost { name, layer, nominal_ns, actual_ns });
    };
    for name in names::PROLOGUE {
        push(name, -1, prologue_ns, 1000);
    }
    for (layer, (now, first)) in times.into_iter().enumerate() {
        let number = i16::try_from(layer).unwrap_or(i16::MAX);
        let factor = model.faults.slow_layers.iter().find(|(s, l, _)| (usize::try_from(*s), *l) == (Ok(stage), number));
        let factor = factor.map_or(1000, |(.., factor)| *factor);
        let within = if layer == 0 { prologue_ns * i64::try_from(names::PROLOGUE.len()).unwrap_or(1) } else { 0 };
        let kernels = names::layer_kernels(now - within, first.min(now) - within);
        for ((name, _), ns) in names::LAYER.into_iter().zip(kernels) {
            push(name, number, ns, factor);
        }
    }
    out
}

/// Time that `bytes` take, ns, rounded up; none at a rate of 0.
pub(super) fn transfer_ns(bytes: i64, bytes_per_s: i64, factor: i64) -> Ns {
    if bytes_per_s == 0 {
        return 0;
    }
    let ns = (i128::from(bytes) * i128::from(factor) * 1_000_000).div_euclid(i128::from(bytes_per_s))
        + i128::from((i128::from(bytes) * i128::from(factor) * 1_000_000) % i128::from(bytes_per_s) != 0);
    Ns::try_from(ns).unwrap_or(Ns::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_what_its_layers_take() {
        let mut model = Model::ideal(&[20, 3], &[1_000_000, 4_470_000]);
        let mut random = Random::new(0, Random::MODEL);
        for (stage, chunk, sum) in [(0, 0, 20_000_000), (0, 1, 89_400_000), (1, 1, 13_410_000)] {
            let kernels = kernels(&model, &mut random, stage, chunk);
            assert_eq!(kernels.iter().map(|k| k.actual_ns).sum::<i64>(), sum);
        }
        model.stage_ns = Some(vec![vec![7, 11], vec![1_000_001, 5]]);
        for (stage, chunk, sum) in [(0, 0, 7), (0, 1, 11), (1, 0, 1_000_001), (1, 1, 5)] {
            let kernels = kernels(&model, &mut random, stage, chunk);
            assert_eq!(kernels.iter().map(|k| k.actual_ns).sum::<i64>(), sum);
            assert!(kernels.iter().all(|k| k.actual_ns >= 0));
        }
    }

    #[test]
    fn bytes_take_time() {
        assert_eq!(transfer_ns(100, 1_000_000_000, 1000), 100);
        assert_eq!(transfer_ns(100, 3_000_000_000, 1000), 34);
        assert_eq!(transfer_ns(100, 1_000_000_000, 2500), 250);
        assert_eq!(transfer_ns(100, 0, 1000), 0);
    }
}
