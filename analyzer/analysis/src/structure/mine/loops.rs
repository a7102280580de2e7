//! Loops inside of a layer: attention in parts, one expert after another. Their kernels repeat more often than layers do,
//! so they would pass for layers; here each loop is written once.

/// The longest body of a loop, kernels.
const LONGEST_BODY: usize = 4;
/// Fewer rounds than this are no loop: a layer may well run two alike kernels in a row.
const MIN_ROUNDS: usize = 3;

/// The sequence with every loop written once, until none is left. Rounds are alike if more than half of their kernels
/// are: libraries choose among variants of a matrix product within one loop.
#[must_use]
pub fn collapse(symbols: &[u32]) -> Vec<u32> {
    let mut now = symbols.to_vec();
    loop {
        let next = once(&now);
        if next.len() == now.len() {
            return now;
        }
        now = next;
    }
}

fn once(symbols: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(symbols.len());
    let mut at = 0;
    while at < symbols.len() {
        let found = (1..=LONGEST_BODY).find_map(|body| Some((body, rounds(symbols, at, body)?)));
        if let Some((body, rounds)) = found {
            out.extend_from_slice(&symbols[at..at + body]);
            at += body * rounds;
        } else {
            out.push(symbols[at]);
            at += 1;
        }
    }
    out
}

/// How many rounds of `body` kernels begin at `at`; none if they are too few.
fn rounds(symbols: &[u32], at: usize, body: usize) -> Option<usize> {
    let mut rounds = 1;
    let mut round = symbols.get(at..at + body)?;
    while let Some(next) = symbols.get(at + rounds * body..at + (rounds + 1) * body) {
        let alike = round.iter().zip(next).filter(|(a, b)| a == b).count();
        if alike * 2 <= body {
            break;
        }
        round = next;
        rounds += 1;
    }
    (rounds >= MIN_ROUNDS).then_some(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_written_once_however_its_variants_change() {
        let attention = [2, 3, 4, 2, 3, 4, 2, 3, 5, 2, 3, 5, 2, 3, 6];
        let layer: Vec<u32> = [1].into_iter().chain(attention).chain([7, 8, 9, 10]).collect();
        // Which kernel of a round comes first does not matter.
        assert_eq!(collapse(&layer), [1, 2, 3, 6, 7, 8, 9, 10]);
        assert_eq!(collapse(&[5; 100]), [5]);
        assert_eq!(collapse(&[]), [0u32; 0]);
    }

    #[test]
    fn a_layer_without_loops_stays_as_it_is() {
        let layer = [1, 99, 2, 2, 3, 4, 5, 98, 6, 97, 7, 96];
        assert_eq!(collapse(&layer), layer);
    }
}
