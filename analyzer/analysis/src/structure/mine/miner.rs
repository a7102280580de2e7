//! Learns and scans one stream as its kernels come.

use super::{Kernel, Pass, Pattern, Scanner};

/// Kernels of a sample: enough for four passes of the longest models, and a few MB.
pub const SAMPLE: usize = 1 << 16;

/// Finds the passes of one stream from its kernels, in the order of their start. It learns from the first [`SAMPLE`] of
/// them; where these show no pattern (weights that are filled, warm-up), or so many pass without a pass, from later ones.
/// What it finds does not depend on how many kernels it is given at a time; it holds at most a sample and a pass.
#[derive(Debug)]
pub struct Miner {
    regions: Option<u32>,
    scanner: Option<Scanner>,
    /// Kernels since a pass was last found.
    recent: Vec<Kernel>,
    /// The pattern that most of what was scanned follows: the first.
    pattern: Option<Pattern>,
}

impl Miner {
    /// A miner at the start of a stream; `regions` as in [`Pattern::learn`].
    #[must_use]
    pub fn new(regions: Option<u32>) -> Self {
        Self { regions, scanner: None, recent: Vec::new(), pattern: None }
    }

    /// What it learnt first.
    #[must_use]
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// Takes the next kernels; passes that have ended are added to `out`.
    pub fn feed(&mut self, kernels: &[Kernel], out: &mut Vec<Pass>) {
        for kernel in kernels {
            self.recent.push(*kernel);
            if let Some(scanner) = &mut self.scanner {
                let before = out.len();
                scanner.feed(std::slice::from_ref(kernel), out);
                if out.len() > before {
                    self.recent.clear();
                }
            }
            if self.recent.len() >= SAMPLE && !self.learn(out) {
                self.recent.drain(..SAMPLE / 2);
            }
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<Pass>) {
        if self.scanner.is_none() {
            self.learn(out);
        }
        if let Some(scanner) = &mut self.scanner {
            scanner.finish(out);
        }
    }

    /// Learns from the recent kernels and, if they show a pattern that is new, scans them.
    fn learn(&mut self, out: &mut Vec<Pass>) -> bool {
        let Some(pattern) = Pattern::learn(&self.recent, self.regions) else { return false };
        if self.scanner.as_ref().is_some_and(|scanner| *scanner.pattern() == pattern) {
            return false;
        }
        // A pass that is open in the scanner before lies within what is scanned anew.
        let mut scanner = Scanner::new(pattern.clone());
        scanner.feed(&self.recent, out);
        self.pattern.get_or_insert(pattern);
        self.scanner = Some(scanner);
        self.recent.clear();
        true
    }
}
