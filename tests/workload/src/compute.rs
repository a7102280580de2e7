//! The arithmetic of a layer: a stand-in for attention and a GEMM, whose cost grows with the prefix.
#![expect(clippy::cast_precision_loss, reason = "small numbers, and only their arithmetic matters")]

/// Width of the activations of a chunk.
const WIDTH: usize = 2048;
/// Passes over the activations for each chunk of prefix and for the chunk itself.
const PASSES: u32 = 24;

/// Activations that enter the first layer.
pub fn embed(request: u32, chunk: u32) -> Vec<f32> {
    let seed = request.wrapping_mul(31).wrapping_add(chunk);
    (0..WIDTH).map(|i| (i % 97) as f32 * 0.01 + (seed % 13) as f32).collect()
}

/// One layer on the activations of chunk `chunk` (from 0).
pub fn layer(activations: &mut [f32], layer: u32, chunk: u32) {
    let weight = 1.0 / (3.0 + layer as f32);
    for _ in 0..PASSES * (chunk + 1) {
        let mut carry = activations.iter().sum::<f32>() / activations.len() as f32;
        for value in activations.iter_mut() {
            // The constant keeps values away from zero, where subnormal numbers are slow. Not `mul_add`: without the CPU's
            // instruction it is a call of a hundred cycles.
            carry = *value * weight + carry * 0.5 + 1.0;
            *value = carry;
        }
    }
}

/// Activations as bytes, for the next stage.
pub fn to_bytes(activations: &[f32]) -> Vec<u8> {
    activations.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Activations from bytes.
pub fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_survive_the_wire_and_change_in_a_layer() {
        let mut activations = embed(1, 2);
        assert_eq!(from_bytes(&to_bytes(&activations)), activations);
        let before = activations.clone();
        layer(&mut activations, 0, 0);
        assert_ne!(activations, before);
        assert!(activations.iter().all(|value| value.is_finite()));
    }
}
