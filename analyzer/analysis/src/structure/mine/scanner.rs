//! Follows a learnt pattern along one stream, a kernel at a time.

use std::cmp::Reverse;

use super::open::Open;
use super::pattern::{Pattern, StreamPosition};
use super::{Kernel, Layer, Pass};

/// Idle longer than this separates a forward pass from kernels before or after it that are not of a layer.
const PROLOGUE_GAP_NS: i64 = 1_000_000;
/// Idle longer than this between two layers ends a pass, where nothing else shows its end.
const IDLE_NS: i64 = 10_000_000;
/// So many kernels without a mark are no pass any more.
const MOST_BETWEEN: usize = 4096;
/// Of those the last so many may still lead up to a pass.
const KEPT: usize = 1024;
/// So many layers are no pass any more.
const MOST_LAYERS: usize = 4096;

/// Finds the passes of one stream. Kernels come in the order of their start; how many at a time changes nothing. It holds
/// the layers of the pass that runs and the kernels since the last mark, at most 4,096 each.
#[derive(Debug, Clone)]
pub struct Scanner {
    pattern: Pattern,
    open: Option<Open>,
    /// Kernels since the last mark.
    since: Vec<Kernel>,
    /// Position in `since` of the first and of the last kernel that runs between passes only.
    between: Option<(usize, usize)>,
    /// End of the last kernel that is no longer in `since`.
    last_end: i64,
}

impl Scanner {
    /// A scanner at the start of a stream.
    #[must_use]
    pub fn new(pattern: Pattern) -> Self {
        Self { pattern, open: None, since: Vec::new(), between: None, last_end: i64::MIN }
    }

    /// What it looks for.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// Takes the next kernels; passes that have ended are added to `out`.
    pub fn feed(&mut self, kernels: &[Kernel], out: &mut Vec<Pass>) {
        for kernel in kernels {
            if self.pattern.ends_before(kernel) && self.open.is_some() {
                self.close(self.since.len(), true, out);
                self.forget(i64::MIN);
            }
            match self.pattern.place(kernel) {
                StreamPosition::Body => self.since.push(*kernel),
                StreamPosition::Between => {
                    let at = self.since.len();
                    self.between = Some((self.between.map_or(at, |(first, _)| first), at));
                    self.since.push(*kernel);
                }
                StreamPosition::Mark(rank) => self.mark(kernel, rank, out),
                StreamPosition::Layer(layer) => self.known(kernel, layer, out),
            }
            if self.since.len() >= MOST_BETWEEN {
                self.give_up(out);
            }
        }
    }

    /// Ends the stream.
    pub fn finish(&mut self, out: &mut Vec<Pass>) {
        self.close(self.since.len(), true, out);
        self.since.clear();
        self.between = None;
    }

    fn mark(&mut self, kernel: &Kernel, rank: u16, out: &mut Vec<Pass>) {
        match &self.open {
            Some(open) if open.mark.is_none_or(|last| rank > last) => self.within(kernel),
            Some(open) => {
                let split = self.split(open.mark, rank);
                if self.ends_here(split) {
                    self.next_pass(kernel, Some(rank), out);
                } else {
                    self.next_layer(kernel, split);
                }
            }
            None => self.next_pass(kernel, Some(rank), out),
        }
        let open = self.open.as_mut().expect("a pass is open after a mark");
        open.mark = Some(rank);
        open.is_told = false;
        open.layers.last_mut().expect("a pass has a layer").marks += 1;
        if open.layers.len() >= MOST_LAYERS {
            self.close(0, true, out);
        }
    }

    fn known(&mut self, kernel: &Kernel, layer: u32, out: &mut Vec<Pass>) {
        match &self.open {
            Some(open) if open.known == Some(layer) => self.within(kernel),
            // The mark that began this layer came before the first kernel of which it is known.
            Some(open) if open.known.is_none() && open.mark.is_some() => self.within(kernel),
            Some(open) if open.known.is_none_or(|last| layer > last) => {
                // A kernel in between that nothing is known of belongs to the layer before.
                let end = self.between.map_or(self.since.len(), |(first, _)| first);
                self.next_layer(kernel, end);
            }
            _ => self.next_pass(kernel, None, out),
        }
        let open = self.open.as_mut().expect("a pass is open after a known kernel");
        open.known = Some(layer);
        open.is_told = true;
        let last = open.layers.last_mut().expect("a pass has a layer");
        if kernel.range.is_some() {
            last.ranges += 1;
        } else {
            last.nodes += 1;
        }
    }

    /// The kernel belongs to the layer that runs, and so does what came since the last mark.
    fn within(&mut self, kernel: &Kernel) {
        let seam = self.pattern.seam;
        let open = self.open.as_mut().expect("only called within a pass");
        let layer = open.layers.last_mut().expect("a pass has a layer");
        for earlier in &self.since {
            layer.add(earlier, seam);
        }
        layer.add(kernel, seam);
        self.forget(kernel.span.1);
    }

    /// A layer begins within the pass, with the kernel at `split`.
    fn next_layer(&mut self, kernel: &Kernel, split: usize) {
        let seam = self.pattern.seam;
        let open = self.open.as_mut().expect("only called within a pass");
        let last = open.layers.last_mut().expect("a pass has a layer");
        for earlier in &self.since[..split] {
            last.add(earlier, seam);
        }
        let mut layer = Layer::starting(self.since.get(split).unwrap_or(kernel).span.0);
        for earlier in &self.since[split..] {
            layer.add(earlier, seam);
        }
        layer.add(kernel, seam);
        open.layers.push(layer);
        open.mark = None;
        open.known = None;
        self.forget(kernel.span.1);
    }

    fn forget(&mut self, end: i64) {
        let ended = self.since.iter().map(|kernel| kernel.span.1).fold(end, i64::max);
        self.last_end = self.last_end.max(ended);
        self.since.clear();
        self.between = None;
    }

    /// Where in `since` the next layer begins.
    fn split(&self, last: Option<u16>, rank: u16) -> usize {
        let (pattern, n) = (&self.pattern, self.since.len());
        let guess = if last == Some(pattern.marks.saturating_sub(1)) {
            pattern.trail
        } else {
            n.saturating_sub(pattern.leads.get(usize::from(rank)).map_or(0, |lead| lead.usual))
        };
        let guess = guess.min(n);
        // A lost or an inserted kernel shifts it.
        let near =
            [Some(guess), guess.checked_add(1), guess.checked_sub(1), guess.checked_add(2), guess.checked_sub(2)];
        let is_first = |at: &usize| self.since.get(*at).is_some_and(|kernel| Some(kernel.symbol) == pattern.first);
        near.into_iter().flatten().find(is_first).unwrap_or(guess)
    }

    /// Whether the pass ends at the wrap where the next layer would begin at `split`.
    fn ends_here(&self, split: usize) -> bool {
        if self.pattern.is_marked {
            return self.between.is_some();
        }
        let layers = self.open.as_ref().map_or(0, |open| open.layers.len());
        let full = self.pattern.layers.is_some_and(|usual| layers >= usual as usize);
        full || split < self.since.len() && self.gap_before(split) >= IDLE_NS
    }

    fn gap_before(&self, at: usize) -> i64 {
        let before = if at == 0 { self.last_end } else { self.since[at - 1].span.1 };
        self.since[at].span.0.saturating_sub(before)
    }

    /// A pass begins; the first that is seen of it is `kernel`, with the rank of its mark.
    fn next_pass(&mut self, kernel: &Kernel, rank: Option<u16>, out: &mut Vec<Pass>) {
        let start = rank.map_or(self.since.len(), |rank| self.first_layer(rank));
        let cut = self.close(start, false, out);
        let mut begin = start;
        while begin > cut && self.gap_to(begin, kernel) < PROLOGUE_GAP_NS {
            begin -= 1;
        }
        let first = self.since.get(start).unwrap_or(kernel).span.0;
        let (mut layer, seam) = (Layer::starting(first), self.pattern.seam);
        for earlier in &self.since[start..] {
            layer.add(earlier, seam);
        }
        layer.add(kernel, seam);
        let start_ns = self.since.get(begin).unwrap_or(kernel).span.0;
        let end_ns = self.since[begin..].iter().map(|kernel| kernel.span.1).fold(kernel.span.1, i64::max);
        let others = u64::try_from(start - begin).unwrap_or(0);
        self.open =
            Some(Open { start_ns, end_ns, others, layers: vec![layer], mark: None, known: None, is_told: false });
        self.forget(kernel.span.1);
    }

    /// Idle before the kernel at `at`, which may be the mark that comes after `since`.
    fn gap_to(&self, at: usize, mark: &Kernel) -> i64 {
        if at < self.since.len() {
            return self.gap_before(at);
        }
        let before = self.since.last().map_or(self.last_end, |kernel| kernel.span.1);
        mark.span.0.saturating_sub(before)
    }

    /// Where in `since` the first layer of the pass begins whose first mark, of that rank, comes next.
    fn first_layer(&self, rank: u16) -> usize {
        let lead = self.pattern.leads.get(usize::from(rank)).copied().unwrap_or_default();
        let n = self.since.len();
        if lead.least == lead.most {
            return n.saturating_sub(lead.usual);
        }
        let earliest = n.saturating_sub(lead.most);
        if let Some((_, last)) = self.between {
            return (last + 1).max(earliest).min(n);
        }
        if self.open.is_some() {
            return self.pattern.trail.min(n);
        }
        let latest = n.saturating_sub(lead.least);
        let paused = (earliest..latest).rev().find(|at| self.gap_before(*at) >= PROLOGUE_GAP_NS);
        paused.unwrap_or(n.saturating_sub(lead.usual))
    }

    /// Ends the pass, if one is open; a next one's layers may begin at `limit` of `since`, unless the stream is over. Returns
    /// how many of `since` belong to it.
    fn close(&mut self, limit: usize, is_over: bool, out: &mut Vec<Pass>) -> usize {
        let Some(mut open) = self.open.take() else { return 0 };
        let is_whole = !open.is_told && open.mark.is_some_and(|mark| mark + 1 == self.pattern.marks);
        let trail = if is_whole { self.pattern.trail } else { 0 };
        let end = trail.min(limit).min(self.between.map_or(usize::MAX, |(first, _)| first));
        let (last, seam) = (open.layers.last_mut().expect("a pass has a layer"), self.pattern.seam);
        for kernel in &self.since[..end] {
            last.add(kernel, seam);
        }
        // What follows belongs to the pass up to the widest gap, what comes after that to the next one.
        let cut = if is_over {
            limit
        } else {
            (end..limit).max_by_key(|at| (self.gap_before(*at), Reverse(*at))).unwrap_or(end)
        };
        let mut after = end;
        while after < cut && self.gap_before(after) < PROLOGUE_GAP_NS {
            open.end_ns = open.end_ns.max(self.since[after].span.1);
            open.others += 1;
            after += 1;
        }
        open.end(&self.pattern, out);
        after.max(end)
    }

    /// No mark for so long: the pass is over, if one was open.
    fn give_up(&mut self, out: &mut Vec<Pass>) {
        self.close(self.since.len(), true, out);
        let gone = self.since.len() - KEPT;
        self.last_end = self.since[..gone].iter().map(|kernel| kernel.span.1).fold(self.last_end, i64::max);
        self.since.drain(..gone);
        self.between = self.between.filter(|(_, last)| *last >= gone).map(|(first, last)| {
            let first = first.saturating_sub(gone);
            (first, last - gone)
        });
    }
}
