//! Which forward pass serves which request, by tokens: a batch may hold several requests.
//!
//! An engine fills its batches in the order in which it schedules requests, and gives what a batch has no room for to the next
//! one. So the requests of a stage, one after another, are its passes, one after another: where a request ends within a pass,
//! the next one begins in it. What is handed over grows with
//! tokens, beside what is the same for any length (states, windows), so its bytes tell a request's tokens, by a measure that most
//! requests agree on. A number of requests whose tokens are those of a number of passes, and which were handed over after them, have
//! these; of others nothing is said here.

use std::collections::{BTreeMap, BTreeSet};

use super::lanes::Pass;
use super::order;
use super::requests::RequestWork;
use super::stages::StageWork;
use crate::intervals::Span;

/// Requests that share batches with each other at most.
const MOST_TOGETHER: usize = 8;
/// Passes of one number of such requests at most.
const MOST_PASSES: usize = 256;
/// Passes by which the measure is looked for at most, back from where a request ends.
const MOST_CHUNKS: usize = 64;
/// The same where it has a base, and requests by which that is looked for: any two of these with any passes are tried.
const FEW_CHUNKS: usize = 4;
const JUDGED: usize = 16;
/// Passes that may lie between those of a request and its hand-off.
const MOST_BETWEEN: usize = 64;
/// Tokens that differ by no more are the same: KV is handed over in blocks.
const SAME: f64 = 0.01;
/// Tokens that differ by no more are equal but for rounding: of many requests together 1 % is a part of a pass.
const EXACT: f64 = 0.0001;
/// A part of a pass that is no larger is none.
const PART: f64 = 0.01;
/// By how much, as a logarithm, the tokens of all requests may differ from those of all passes.
const ALL: f64 = 0.1;
/// The same where [`AGREE`] of the requests agree on the measure: some passes are nobody's.
const MOST: f64 = 0.4;
/// Share of the requests.
const AGREE: f64 = 0.5;

/// A pass, or a part of it, that serves a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fill {
    pub request: usize,
    /// Position of the pass among those of the stage.
    pub pass: usize,
    /// Share of the pass's tokens.
    pub share: f64,
}

/// A request as a stage handed it over.
#[derive(Debug, Clone, Copy)]
struct Asked {
    request: usize,
    bytes: f64,
    /// Passes that were ready when its last hand-off was made.
    ready: usize,
}

/// What the passes of a stage serve, as far as tokens tell.
pub(super) fn of(stages: &[StageWork], s: usize, requests: &[RequestWork], groups: &[Span]) -> Vec<Fill> {
    let passes = stages[s].lane.map_or(&[] as &[Pass], |lane| &lane.passes);
    let tokens: Vec<f64> = passes.iter().map(|pass| pass.tokens.unwrap_or(0.0)).collect();
    let asked = asked((stages, s), requests, passes, groups);
    told(&asked, &tokens)
}

/// What passes serve; nothing, if few requests agree on the measure and it does not explain all of them.
fn told(asked: &[Asked], tokens: &[f64]) -> Vec<Fill> {
    let Some(measure) = Measure::of(asked, tokens) else { return Vec::new() };
    let fills = fill(asked, tokens, measure);
    let requests: BTreeSet<usize> = fills.iter().map(|fill| fill.request).collect();
    if measure.is_agreed || requests.len() == asked.len() { fills } else { Vec::new() }
}

/// The requests of a stage whose hand-off is wholly recorded, in the order in which they were computed.
fn asked((stages, s): (&[StageWork], usize), requests: &[RequestWork], passes: &[Pass], groups: &[Span]) -> Vec<Asked> {
    let mut found: Vec<(i64, Asked)> = Vec::new();
    for (request, work) in requests.iter().enumerate().filter(|(_, work)| !work.is_short(s)) {
        let own = work.posts.iter().filter(|(stage, _)| *stage == s).map(|(_, p)| &stages[s].posts[*p]);
        let (failed, made): (Vec<bool>, Vec<i64>) = own.map(|post| (post.failed, post.made.unwrap_or(post.at))).unzip();
        let (Some(last), Some(bytes)) = (made.iter().max(), work.bytes.filter(|bytes| *bytes > 0)) else { continue };
        if failed.contains(&true) {
            continue;
        }
        // The last layer may be handed over while the pass still runs.
        let is_ready = |pass: &Pass| pass.layers.last().map_or(pass.span.1, |layer| layer.span.0) <= *last;
        #[expect(clippy::cast_precision_loss, reason = "bytes of KV are far below 2^52")]
        let bytes = bytes as f64;
        found.push((*last, Asked { request, bytes, ready: passes.partition_point(is_ready) }));
    }
    let own: Vec<usize> = found.iter().map(|(_, asked)| asked.request).collect();
    let sent = order::groups_of_sent(stages, requests, &own, groups);
    let group: BTreeMap<usize, usize> = own.iter().copied().zip(sent.into_iter().flatten()).collect();
    found.sort_by_key(|(last, asked)| (group.get(&asked.request).copied(), *last, asked.request));
    found.into_iter().map(|(_, asked)| asked).collect()
}

/// How many tokens some bytes are.
#[derive(Debug, Clone, Copy)]
struct Measure {
    /// Tokens a byte.
    each: f64,
    /// Bytes that are handed over whatever the length.
    base: f64,
    /// Whether enough requests agree on it.
    is_agreed: bool,
}

impl Measure {
    /// What comes out for most requests, if the last passes before their hand-off are theirs.
    fn of(asked: &[Asked], tokens: &[f64]) -> Option<Self> {
        Self::proportional(asked, tokens).or_else(|| Self::with_base(asked, tokens))
    }

    fn tokens(self, bytes: f64) -> f64 {
        (bytes - self.base) * self.each
    }

    /// By how much, as a logarithm, the tokens of all requests differ from those of all passes: from the last that may be the
    /// first request's on, or from where they are equal.
    fn off(self, asked: &[Asked], tokens: &[f64]) -> f64 {
        let earliest = asked.iter().map(|own| own.ready).min().unwrap_or(0);
        // Of several that were handed over at once, each has a pass.
        let at_once = asked.iter().filter(|own| own.ready == earliest).count();
        let last = asked.iter().map(|own| own.ready).max().unwrap_or(0);
        let wanted: f64 = asked.iter().map(|own| self.tokens(own.bytes)).sum();
        let begins = earliest.saturating_sub(at_once);
        let off = |there: f64| if wanted > 0.0 && there > 0.0 { (wanted / there).ln().abs() } else { f64::INFINITY };
        let mut there: f64 = tokens[begins..last].iter().sum();
        let as_it_is = off(there);
        for before in tokens[..begins].iter().rev().take_while(|tokens| **tokens > 0.0) {
            there += before;
            if off(there) <= EXACT {
                return off(there);
            }
        }
        as_it_is
    }

    fn proportional(asked: &[Asked], tokens: &[f64]) -> Option<Self> {
        // Bins as wide as what counts as the same.
        #[expect(clippy::cast_possible_truncation, reason = "logarithms of ratios are small")]
        let bin = |ratio: f64| (ratio.ln() / SAME).round() as i64;
        let mut votes: BTreeMap<i64, Vec<(usize, f64)>> = BTreeMap::new();
        for (voter, own) in asked.iter().enumerate() {
            for sum in own.sums(tokens, MOST_CHUNKS) {
                let votes = votes.entry(bin(sum / own.bytes)).or_default();
                if votes.last().is_none_or(|(last, _)| *last != voter) {
                    votes.push((voter, sum / own.bytes));
                }
            }
        }
        let of = |at: i64| votes.get(&at).map_or(&[][..], Vec::as_slice);
        // Of requests that are alike two passes each come out as often as one, and so do all that share one pass: what explains
        // all tokens is the measure.
        let candidates = votes.keys().filter_map(|at| {
            let mut ratios: Vec<f64> = of(*at).iter().chain(of(at + 1)).map(|(_, ratio)| *ratio).collect();
            ratios.sort_by(f64::total_cmp);
            // A request may have two sums that are nearly alike.
            let requests: BTreeSet<usize> = of(*at).iter().chain(of(at + 1)).map(|(voter, _)| *voter).collect();
            let is_agreed = share(requests.len(), asked.len()) >= AGREE;
            let measure = Self { each: ratios[ratios.len() / 2], base: 0.0, is_agreed };
            let off = measure.off(asked, tokens);
            let is_one = requests.len() > 1 && (off <= ALL || off <= MOST && is_agreed);
            is_one.then_some((off, measure))
        });
        candidates.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, measure)| measure)
    }

    /// By any two requests, if a third and the sum of all confirm it.
    fn with_base(asked: &[Asked], tokens: &[f64]) -> Option<Self> {
        let judged = &asked[..asked.len().min(JUDGED)];
        let sums: Vec<Vec<f64>> = judged.iter().map(|own| own.sums(tokens, FEW_CHUNKS)).collect();
        let mut best: Option<(usize, f64, Self)> = None;
        for (i, j) in (0..judged.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
            for (a, b) in sums[i].iter().flat_map(|a| sums[j].iter().map(move |b| (a, b))) {
                let each = (a - b) / (judged[i].bytes - judged[j].bytes);
                let measure = Self { each, base: judged[i].bytes - a / each, is_agreed: true };
                if !each.is_finite() || each <= 0.0 || measure.base <= 0.0 {
                    continue;
                }
                let fits = |(own, sums): &(&Asked, &Vec<f64>)| {
                    let wanted = measure.tokens(own.bytes);
                    sums.iter().any(|sum| (sum - wanted).abs() <= SAME * wanted)
                };
                let votes = judged.iter().zip(&sums).filter(fits).count();
                let off = measure.off(asked, tokens);
                let is_better = best.is_none_or(|(most, least, _)| votes > most || votes == most && off < least);
                if votes > 2 && share(votes, judged.len()) >= AGREE && off <= SAME && is_better {
                    best = Some((votes, off, measure));
                }
            }
        }
        best.map(|(_, _, measure)| measure)
    }
}

impl Asked {
    /// Tokens of the last pass before it was handed over, of the last two, and so on.
    fn sums(&self, tokens: &[f64], most: usize) -> Vec<f64> {
        let passes = tokens[..self.ready].iter().rev().take(most);
        let sums = passes.scan(0.0, |sum, pass| {
            *sum += pass;
            Some((*pass, *sum))
        });
        sums.filter(|(pass, _)| *pass > 0.0).map(|(_, sum)| sum).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of requests are far below 2^52")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Divides passes among requests, from the last request to the first: each has the last passes that may be its.
fn fill(asked: &[Asked], tokens: &[f64], measure: Measure) -> Vec<Fill> {
    let mut found = Vec::new();
    let (mut left, mut end) = (asked.len(), tokens.len());
    while left > 0 {
        let of_some = |(between, same): (usize, f64)| {
            let together = 1..=left.min(MOST_TOGETHER);
            together.into_iter().find_map(|together| {
                let group = &asked[left - together..left];
                let to = group.iter().map(|own| own.ready).max()?.min(end).checked_sub(between)?;
                let wanted = group.iter().map(|own| measure.tokens(own.bytes)).sum();
                let from = begin(&tokens[..to], wanted, same)?;
                let fills = divide(group, &tokens[from..to], measure);
                let fills: Vec<Fill> = fills.into_iter().map(|fill| Fill { pass: fill.pass + from, ..fill }).collect();
                // A group of requests of which some share no pass with the others is several.
                let holds = group.iter().all(|own| {
                    let last = fills.iter().filter(|fill| fill.request == own.request).map(|fill| fill.pass).max();
                    last.is_some_and(|last| last < own.ready)
                });
                holds.then_some((together, from, fills))
            })
        };
        let mut ways = (0..=MOST_BETWEEN).flat_map(|between| [(between, EXACT), (between, SAME)]);
        if let Some((together, from, fills)) = ways.find_map(of_some) {
            found.extend(fills);
            end = from;
            left -= together;
        } else {
            left -= 1;
        }
    }
    found.sort_by_key(|fill| (fill.request, fill.pass));
    found
}

/// Where the passes begin that end last and have so many tokens, if any have; `same`: the share by which they may differ.
fn begin(tokens: &[f64], wanted: f64, same: f64) -> Option<usize> {
    let mut sum = 0.0;
    for (at, pass) in tokens.iter().enumerate().rev().take(MOST_PASSES) {
        if *pass <= 0.0 {
            return None;
        }
        sum += pass;
        if (sum - wanted).abs() <= same * wanted {
            return Some(at);
        }
        if sum > wanted {
            return None;
        }
    }
    None
}

/// Fills passes with requests in their order; positions are among these passes.
fn divide(group: &[Asked], tokens: &[f64], measure: Measure) -> Vec<Fill> {
    let all: f64 = tokens.iter().sum();
    let wanted: f64 = group.iter().map(|own| measure.tokens(own.bytes)).sum();
    let mut found = Vec::new();
    let (mut pass, mut room) = (0, tokens[0]);
    for own in group {
        let own_tokens = measure.tokens(own.bytes);
        let mut rest = own_tokens * all / wanted;
        while rest > 0.0 && pass < tokens.len() {
            let part = rest.min(room);
            let share = part / tokens[pass];
            // What is left of a request or a pass after its last is rounding.
            if share > PART || part > PART * own_tokens {
                found.push(Fill { request: own.request, pass, share: if share > 1.0 - PART { 1.0 } else { share } });
            }
            rest -= part;
            room -= part;
            if room <= PART * tokens[pass] {
                pass += 1;
                room = tokens.get(pass).copied().unwrap_or(0.0);
            } else {
                break;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(wanted: &[(f64, usize)]) -> Vec<Asked> {
        let each = wanted.iter().enumerate();
        each.map(|(request, (bytes, ready))| Asked { request, bytes: *bytes, ready: *ready }).collect()
    }

    fn found(wanted: &[(f64, usize)], tokens: &[f64]) -> Vec<(usize, usize, f64)> {
        let asked = asked(wanted);
        told(&asked, tokens)
            .iter()
            .map(|fill| (fill.request, fill.pass, (fill.share * 100.0).round() / 100.0))
            .collect()
    }

    #[test]
    fn a_pass_that_holds_the_end_of_one_request_and_the_beginning_of_another_serves_both() {
        // As vLLM ran them with sliding windows: warm-up, 2,000, 8,000, 16,000, then 6,000 and 12,000 together.
        let tokens = [32.0, 2000.0, 8000.0, 8192.0, 7808.0, 8192.0, 8192.0, 1616.0];
        let wanted = [(2000.0, 2), (8000.0, 3), (16000.0, 5), (6000.0, 6), (12000.0, 8)];
        let expected =
            [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0), (2, 4, 1.0), (3, 5, 0.73), (4, 5, 0.27), (4, 6, 1.0), (4, 7, 1.0)];
        assert_eq!(found(&wanted, &tokens), expected);
        // What was recorded of it: of layers with a window KV is handed over for the window alone.
        let handed_over = wanted.map(|(tokens, ready)| (tokens * 8192.0 + 41_943_040.0, ready));
        assert_eq!(found(&handed_over, &tokens), expected);
    }

    #[test]
    fn requests_that_are_alike_and_late_have_a_pass_each() {
        // The first is handed over after the second was computed; before them runs what nobody handed over.
        let wanted = [(8000.0, 3), (8000.0, 3), (8000.0, 4)];
        assert_eq!(found(&wanted, &[8000.0; 4]), [(0, 1, 1.0), (1, 2, 1.0), (2, 3, 1.0)]);
    }

    #[test]
    fn where_most_requests_begin_within_a_pass_the_sum_of_all_is_the_measure() {
        // As vLLM ran them one, three and eight at once: few end where a pass does.
        let tokens = [0.0, 8192.0, 32.0, 8192.0, 7808.0, 8192.0, 8192.0, 7616.0, 8000.0, 8000.0]
            .into_iter()
            .chain([8192.0; 5])
            .chain([7040.0]);
        let tokens: Vec<f64> = tokens.collect();
        let eight = [10, 12, 12, 14, 15, 16, 16, 16].map(|ready| (8000.0, ready));
        let wanted = [(16000.0, 5), (8000.0, 7), (12000.0, 8), (4000.0, 8)].into_iter().chain(eight);
        let found = found(&wanted.collect::<Vec<_>>(), &tokens);
        let of = |request: usize| found.iter().filter(|fill| fill.0 == request).map(|fill| fill.1).collect::<Vec<_>>();
        assert_eq!((of(0), of(1), of(2), of(3)), (vec![3, 4], vec![5], vec![5, 6, 7], vec![7]));
        assert_eq!((of(4), of(5), of(6), of(7)), (vec![8], vec![9], vec![10], vec![10, 11]));
        assert_eq!((of(8), of(9), of(10), of(11)), (vec![11, 12], vec![12, 13], vec![13, 14], vec![14, 15]));
    }

    #[test]
    fn eight_requests_may_share_a_batch() {
        let single = [(3000.0, 1), (5000.0, 2)];
        let wanted: Vec<(f64, usize)> = single.into_iter().chain([(1000.0, 3); 8]).collect();
        let found = found(&wanted, &[3000.0, 5000.0, 8000.0]);
        assert_eq!(found[..2], [(0, 0, 1.0), (1, 1, 1.0)]);
        assert_eq!(found[2..], (2..10).map(|request| (request, 2, 0.13)).collect::<Vec<_>>());
    }

    #[test]
    fn tokens_that_do_not_fit_say_nothing() {
        // Cached prefixes are handed over, but not computed.
        assert_eq!(found(&[(8000.0, 1), (8000.0, 2), (10000.0, 3), (4000.0, 4)], &[8000.0, 16.0, 4000.0, 16.0]), []);
    }
}
