//! The exact cases against figures derived by hand; each formula stands beside its numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use kvpath_schema::segment;
use kvpath_schema::table::Columns;
use kvpath_schema::tables::capture::Drops;
use kvpath_schema::tables::gpu::{ApiCalls, CudaEvents, GpuSyncs, Kernels};
use kvpath_schema::tables::nixl::{NixlDescriptors, NixlNotifs, NixlRegions, NixlTransfers};
use kvpath_simulator::cases::{CASES, Case, CaseTruth};
use kvpath_simulator::engine::{OpKind, StepKind};
use kvpath_simulator::truth::{BubbleTruth, Cause, Segment, TransferTruth};

/// A unit: a layer at the first chunk, ns.
const UNIT: i64 = 1_000_000;
const SEED: u64 = 1;

fn case(name: &str) -> CaseTruth {
    Case::named(name).unwrap().make(None, SEED).unwrap()
}

/// A case with its records.
fn recorded(name: &str) -> (CaseTruth, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let found = Case::named(name).unwrap().make(Some(folder.path()), SEED).unwrap();
    (found, folder)
}

/// All rows of a table, of all hosts, with the host of each.
fn rows<C: Columns>(run: &Path) -> (C, Vec<String>) {
    let (mut columns, mut hosts) = (C::default(), Vec::new());
    for node in sorted(run).into_iter().filter(|p| p.to_string_lossy().contains("node=")) {
        for file in sorted(&node).iter().flat_map(|source| sorted(source)) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if name.rsplit_once('-').unwrap().0 == C::DEF.name {
                let meta = segment::read_into(&file, &mut columns).unwrap();
                hosts.resize(columns.len(), meta.host);
            }
        }
    }
    (columns, hosts)
}

fn sorted(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Steps of a path as `what duration`, in us.
fn steps(path: &[Segment]) -> Vec<(String, i64)> {
    let what = |s: &Segment| serde_json::to_value(s.what).unwrap().as_str().unwrap().to_owned();
    path.iter().map(|s| (what(s), (s.end_ns - s.start_ns) / 1000)).collect()
}

fn expect(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(what, us)| ((*what).to_owned(), *us)).collect()
}

/// Every segment of every path that a recorder sees joins one record by what the truth says of it, and lies where that shows
/// it. Without case 14, which lacks records.
#[test]
fn paths_join_their_records() {
    for case in CASES.iter().filter(|case| case.name != "loss") {
        let (found, folder) = recorded(case.name);
        let (kernels, _) = rows::<Kernels>(folder.path());
        let (calls, _) = rows::<ApiCalls>(folder.path());
        let (transfers, hosts) = rows::<NixlTransfers>(folder.path());
        let kernels: BTreeMap<_, _> = (0..kernels.len())
            .map(|r| {
                let key = (kernels.process_id[r], kernels.correlation_id[r], kernels.graph_node_id[r]);
                (key, (kernels.start_ns[r], kernels.start_ns[r] + kernels.dur_ns[r]))
            })
            .collect();
        let calls: BTreeMap<_, _> = (0..calls.len())
            .map(|r| {
                let key = (calls.process_id[r], calls.correlation_id[r]);
                (key, (calls.start_ns[r], calls.start_ns[r] + calls.dur_ns[r]))
            })
            .collect();
        let mut joined = 0;
        for request in &found.requests {
            for s in &request.path {
                let process = found.run.lanes[usize::from(s.lane)].process_id;
                let correlation = s.correlation_id.and_then(|id| i64::try_from(id).ok());
                let graph_node = s.graph_node_id.and_then(|id| i64::try_from(id).ok());
                let transfer = |op: fn(&TransferTruth) -> u64| {
                    let all = || found.requests.iter().flat_map(|request| &request.transfers);
                    let truth = all().find(|t| op(t) == s.op).unwrap();
                    let is_it = |r: &usize| {
                        transfers.transfer_id[*r] == truth.transfer_id && hosts[*r] == found.run.clocks[truth.host].host
                    };
                    (0..transfers.len()).find(is_it).unwrap()
                };
                let (start, end) = match s.what {
                    OpKind::Kernel | OpKind::SendKernel | OpKind::ReceiveKernel => {
                        kernels[&(process.unwrap(), correlation.unwrap(), graph_node)]
                    }
                    OpKind::Launch
                    | OpKind::GraphLaunch
                    | OpKind::EventRecord
                    | OpKind::StreamWait
                    | OpKind::EventSync => calls[&(process.unwrap(), correlation.unwrap())],
                    OpKind::Make => {
                        let r = transfer(|t| t.make_op);
                        let made = transfers.made_ns[r].unwrap();
                        (made, made + transfers.make_dur_ns[r].unwrap())
                    }
                    OpKind::Post => {
                        let r = transfer(|t| t.post_op);
                        (transfers.posted_ns[r].unwrap(), transfers.post_end_ns[r].unwrap())
                    }
                    _ => continue,
                };
                joined += 1;
                let host = found.run.stages.iter().find(|stage| Some(stage.process_id) == process).unwrap().host;
                let clock = &found.run.clocks[host];
                // A path enters an operation after its last finish gate, or where the request was admitted: later than it starts.
                assert!(s.kind == StepKind::Gap || start <= clock.read(s.start_ns), "{}: {s:?}", case.name);
                let until = if s.kind == StepKind::Gap { start } else { end };
                assert_eq!(clock.read(s.end_ns), until, "{}: {s:?}", case.name);
            }
        }
        assert!(joined >= 3, "{}: {joined}", case.name);
    }
}

/// p = 4, m = 16, 20 layers of 1 unit: T = (m + p - 1) * 20 = 380; every stage is idle for (p - 1) * 20 = 60 of it, which is
/// (p - 1) / (m + p - 1) = 3/19. Stage i fills for 20 i and drains for 20 (3 - i).
#[test]
fn case_1_balanced() {
    let request = &case("balanced").requests[0];
    for (i, bubbles) in (0i64..).zip(&request.bubbles) {
        assert_eq!(bubbles.window_ns, 380 * UNIT);
        assert_eq!((bubbles.fill_ns, bubbles.drain_ns), (20 * i * UNIT, 20 * (3 - i) * UNIT));
        assert_eq!(bubbles.inner_ns(), 0);
        assert_eq!(bubbles.idle_ns() * 19, bubbles.window_ns * 3);
    }
    // One launch before the first kernel (100 ns), the pipeline, then 1 us on the wire, a launch and six kernels of 1 us.
    assert_eq!(request.ttft_ns, 100 + 380 * UNIT + 1_000 + 100 + 6_000);
    assert!(request.waits.is_empty() && request.delays.is_empty());
}

/// `u` from 1 to 4.47, p = 4, 20 layers: stage i fills for `20 i u[1]` (sum over i: 6 * 20 = 120), waits for growth
/// `20 i (u[m] - u[1])` (sum: 6 * 20 * 3.47 = 416.4) and drains for `20 (3 - i) u[m]` (sum: 6 * 20 * 4.47 = 536.4);
/// `T = 20 (sum of u + 3 u[m])`. Of growth, one hop is the stage's own wait, i - 1 are passed on to it.
#[test]
fn case_2_growing() {
    let request = &case("growing").requests[0];
    let (first, last, growth) = (UNIT, 4_470_000, 3_470_000);
    let sum_u: i64 = (0..16).map(|j| UNIT + 3_470_000 * j / 15).sum();
    for (i, bubbles) in (0i64..).zip(&request.bubbles) {
        assert_eq!(bubbles.window_ns, 20 * (sum_u + 3 * last));
        assert_eq!((bubbles.fill_ns, bubbles.drain_ns), (20 * i * first, 20 * (3 - i) * last));
        assert_eq!(bubbles.chunk_growth_ns, 20 * growth * i64::from(i > 0));
        assert_eq!(bubbles.propagated_ns, 20 * growth * (i - 1).max(0));
        assert_eq!(bubbles.inner_ns(), 20 * growth * i);
    }
    let sum = |of: fn(&BubbleTruth) -> i64| request.bubbles.iter().map(of).sum::<i64>();
    assert_eq!(sum(|b| b.fill_ns), 120 * UNIT);
    assert_eq!(sum(BubbleTruth::inner_ns), 416_400_000);
    assert_eq!(sum(|b| b.drain_ns), 536_400_000);
    // All of it is growth: each hop short 69.4, and long for every stage further down.
    assert!(request.delays.iter().all(|delay| delay.cause == Cause::Growth));
    let hops: Vec<(i64, i64)> = request.delays.iter().map(|d| (d.short_ns, d.long_ns)).collect();
    assert_eq!(hops, [(69_400_000, 138_800_000), (69_400_000, 69_400_000), (69_400_000, 0)]);
}

/// Stage 1 layer 7 takes 3 units instead of 1, so stage 1 takes 22 a chunk. Fill: 20 + (20 + 22) + (20 + 22 + 20) = 124.
/// Stage 2 waits 2 before each of chunks 2 to 16: 30, short-term. Stage 3 waits as long for stage 2, which waited itself:
/// 30, long-term. Both 30 on (1, 7); nothing is left over.
#[test]
fn case_3_slow_layer() {
    let request = &case("slow-layer").requests[0];
    assert_eq!(request.bubbles.iter().map(|b| b.fill_ns).sum::<i64>(), 124 * UNIT);
    assert_eq!(request.bubbles[2].imbalance_ns, 30 * UNIT);
    assert_eq!(request.bubbles[3].propagated_ns, 30 * UNIT);
    assert_eq!(request.waits.iter().map(|wait| wait.wait_ns).sum::<i64>(), 60 * UNIT);
    let [delay] = request.delays[..] else { panic!("{:?}", request.delays) };
    assert_eq!((delay.cause, delay.stage, delay.layer), (Cause::Excess, 1, Some(7)));
    assert_eq!((delay.short_ns, delay.long_ns), (30 * UNIT, 30 * UNIT));
    // Stages 0 and 1 once, then 16 chunks of 22 on stage 1, then stages 2 and 3: 20 + 16 * 22 + 20 + 20.
    assert_eq!(request.bubbles[0].window_ns, 412 * UNIT);
}

/// The longest staircase through the costs: from (first stage, first chunk) to (last, last), one step right or down at a time.
fn longest_staircase(costs: &[Vec<i64>], stage: usize, chunk: usize) -> i64 {
    let right = (chunk + 1 < costs[stage].len()).then(|| longest_staircase(costs, stage, chunk + 1));
    let down = (stage + 1 < costs.len()).then(|| longest_staircase(costs, stage + 1, chunk));
    costs[stage][chunk] + right.max(down).unwrap_or(0)
}

#[test]
fn case_4_random_costs() {
    for seed in 0..20 {
        let found = Case::named("4").unwrap().make(None, seed).unwrap();
        let costs = found.run.model.as_ref().unwrap()["stage_ns"].clone();
        let costs: Vec<Vec<i64>> = serde_json::from_value(costs).unwrap();
        assert_eq!(found.requests[0].bubbles[0].window_ns, longest_staircase(&costs, 0, 0), "seed {seed}");
    }
}

/// Launch 5, A 1000, C 200, in whichever order A and B were waited for.
#[test]
fn case_5_two_waits() {
    for request in case("two-waits").requests {
        assert_eq!(steps(&request.path), expect(&[("launch", 5), ("kernel", 1000), ("kernel", 200)]));
    }
}

/// Launch 5, 500 on the blocking stream, 300 on the default stream, 100 on the blocking one; not the 2000 beside them.
#[test]
fn case_6_default_stream() {
    let path = steps(&case("default-stream").requests[0].path);
    assert_eq!(path, expect(&[("launch", 5), ("kernel", 500), ("kernel", 300), ("kernel", 100)]));
}

/// Launch 5, A 100, the longer branch 500, D 50.
#[test]
fn case_7_graph() {
    let found = case("graph");
    for request in &found.requests {
        let path = [("graph_launch", 5), ("kernel", 100), ("kernel", 500), ("kernel", 50)];
        assert_eq!(steps(&request.path), expect(&path));
    }
    let branch = |request: usize| found.requests[request].path[2].name.clone().unwrap();
    assert_ne!(branch(0), branch(1));
}

/// Sender ready at 605, receiver at 205, or the other way round; the message takes 50. A late sender keeps its receiver
/// waiting for 400 whatever the size. A late receiver keeps a sender waiting only if the message does not fit.
#[test]
fn case_8_nccl() {
    let late_sender = expect(&[("launch", 5), ("kernel", 600), ("message", 50), ("kernel", 100)]);
    // On the sender's side: its own kernels, or through the receiver's start.
    let not_kept = expect(&[("launch", 5), ("kernel", 200), ("kernel", 100)]);
    let found = case("nccl");
    let paths: Vec<_> = found.requests.iter().map(|request| steps(&request.path)).collect();
    assert_eq!(paths, [late_sender.clone(), late_sender.clone(), not_kept, late_sender]);
    let late: Vec<(i64, i64)> =
        found.requests.iter().map(|r| (r.figures["late_sender_ns"], r.figures["late_receiver_ns"])).collect();
    assert_eq!(late, [(400_000, 0), (400_000, 0), (0, 0), (0, 400_000)]);
}

/// The wire is busy from 205 to 705. Decode computes from 5 until 905, 505 or 105: of the transfer 0, 200 or 500 are not
/// overlapped; it is on the path with all its 500 as soon as it ends last. The figures are those of the records too.
#[test]
fn case_9_exposed() {
    let (found, folder) = recorded("exposed");
    let (kernels, _) = rows::<Kernels>(folder.path());
    let expected = [(905, 0, 0), (505, 200, 500), (105, 500, 500)];
    assert_eq!(found.requests.len(), expected.len());
    for (request, (beside_ends, non_overlapped, on_path)) in found.requests.iter().zip(expected) {
        let transfer = &request.transfers[0];
        let (from, to) = (transfer.wire_start_ns, transfer.completed_ns);
        assert_eq!((from - request.arrival_ns, to - request.arrival_ns), (205_000, 705_000));
        // Written at 205, made and posted at once; the notification takes no time. The last kernel starts 5 us (its launch) after
        // decode has seen it, or after the kernels before it if they last longer.
        let parts =
            [transfer.written_ns, transfer.made_ns, transfer.make_end_ns, transfer.posted_ns, transfer.post_end_ns];
        assert!(parts.iter().all(|at| at - request.arrival_ns == 205_000), "{parts:?}");
        assert_eq!(transfer.notif_arrived_ns, Some(to));
        let decode = request.decode_kernel_ns.unwrap() - request.arrival_ns;
        assert_eq!(decode, (beside_ends * 1000).max(710_000));
        assert_eq!(request.figures["total_ns"], 500_000);
        assert_eq!(request.figures["non_overlapped_ns"], non_overlapped * 1000);
        assert_eq!(request.path_by_category.get("wire").copied().unwrap_or(0), on_path * 1000);
        assert_eq!(request.figures["on_path_ns"], on_path * 1000);
        // No two kernels of decode run at a time, and prefill's is over when the transfer begins.
        let overlapped: i64 = (0..kernels.len())
            .map(|row| (kernels.start_ns[row], kernels.start_ns[row] + kernels.dur_ns[row]))
            .map(|(start, end)| (end.min(to) - start.max(from)).max(0))
            .sum();
        assert_eq!(to - from - overlapped, non_overlapped * 1000);
    }
}

/// Completion lies in (last pending poll, or post, to done poll], which is one poll of 700 us wide.
#[test]
fn case_10_polls() {
    let (found, folder) = recorded("polls");
    let (rows, _) = rows::<NixlTransfers>(folder.path());
    let truths: Vec<_> = found.requests.iter().flat_map(|request| &request.transfers).collect();
    // Two stages, three requests.
    assert_eq!((rows.len(), truths.len()), (6, 6));
    for (row, truth) in truths.iter().enumerate() {
        assert_eq!(rows.transfer_id[row], truth.transfer_id);
        let done = rows.done_poll_ns[row].unwrap();
        let pending = rows.last_pending_poll_ns[row].unwrap();
        assert!(pending < truth.completed_ns && truth.completed_ns <= done);
        assert_eq!(done - pending, 700_000);
    }
}

/// Hosts show +5 ms and +30 ppm, -5 ms and -30 ppm, +10 ppm from 100 s on. A registration from decode to a stage seems to take
/// 23 us (a call of 3, 20 on its way) plus what the stage's clock shows more than decode's; a notification from the stage
/// arrives 20 us after completion, by decode's clock. Kernels lie where their host's clock shows them.
#[test]
fn case_11_clocks() {
    let (found, folder) = recorded("clocks");
    let (kernels, hosts) = rows::<Kernels>(folder.path());
    let ahead = |host: &str, t: i64| {
        let (offset, ppm) = match host {
            "prefill-0" => (5_000_000, 30),
            "prefill-1" => (-5_000_000, -30),
            _ => (0, 10),
        };
        offset + ((t - 100_000_000_000) * ppm).div_euclid(1_000_000)
    };
    let at: BTreeMap<_, _> =
        (0..kernels.len()).map(|row| ((kernels.process_id[row], kernels.correlation_id[row]), row)).collect();
    let mut checked = BTreeSet::new();
    let is_compute = |s: &&Segment| (s.what, s.kind) == (OpKind::Kernel, StepKind::Work);
    for segment in found.requests.iter().flat_map(|r| &r.path).filter(is_compute) {
        let process = found.run.lanes[usize::from(segment.lane)].process_id.unwrap();
        let row = at[&(process, i64::try_from(segment.correlation_id.unwrap()).unwrap())];
        let end = kernels.start_ns[row] + kernels.dur_ns[row];
        assert_eq!(end, segment.end_ns + ahead(&hosts[row], segment.end_ns));
        checked.insert(hosts[row].clone());
    }
    assert_eq!(checked.len(), 3, "on every host");
    let (notifs, hosts) = rows::<NixlNotifs>(folder.path());
    // Sent and arrived, by text; registrations go to both stages in turn.
    let times = |direction: &str, host: &str, is_registration: bool| {
        let is_it = |row: &usize| {
            let is_right = notifs.message[*row].starts_with("PUSH_REG") == is_registration;
            is_right && &*notifs.direction[*row] == direction && hosts[*row] == host
        };
        let mut found: Vec<_> =
            (0..notifs.len()).filter(is_it).map(|row| (notifs.message[row].clone(), notifs.time_ns[row])).collect();
        found.sort();
        found
    };
    let registrations = times("sent", "decode", true);
    for (stage, host) in ["prefill-0", "prefill-1"].into_iter().enumerate() {
        let arrived = times("arrived", host, true);
        assert_eq!((arrived.len(), registrations.len()), (20, 40));
        for ((text, arrival), sent) in arrived.into_iter().zip(registrations.chunks(2)) {
            assert_eq!(text, sent[stage].0);
            // Decode's clock is off by 10 ppm of 6 s at most, which changes the drift between the two by 4 ns.
            let between = ahead(host, sent[stage].1) - ahead("decode", sent[stage].1);
            assert!((arrival - sent[stage].1 - between - 23_000).abs() < 10);
        }
        let (sent, arrived) = (times("sent", host, false), times("arrived", "decode", false));
        for request in &found.requests {
            let transfer = &request.transfers[stage];
            let at = transfer.notif_arrived_ns.unwrap();
            assert_eq!(at, transfer.completed_ns + 20_000);
            let is_own = |(text, _): &&(String, i64)| text.starts_with(&format!("{}-", request.request_id));
            let shown = at + ahead("decode", at);
            assert!(arrived.iter().filter(is_own).any(|(_, time)| *time == shown));
            // The other direction: it is on its way for longer than no time.
            let (_, sent) = sent.iter().find(is_own).unwrap();
            assert!(shown - sent > ahead("decode", at) - ahead(host, at));
        }
    }
}

/// Event handles 20 to 22 only: hosts are two passes ahead, so the event of a pass is waited for after those of the next
/// receive and pass were recorded. What a call waits for is what its handle recorded last, as CUDA has it. One transfer
/// handle a stage, with epochs 0 to 4; the same addresses for every request.
#[test]
fn case_12_reuse() {
    let (_, folder) = recorded("reuse");
    let (events, _) = rows::<CudaEvents>(folder.path());
    let (syncs, _) = rows::<GpuSyncs>(folder.path());
    for process in [2_190, 2_206] {
        let own = (0..events.len()).filter(|row| events.process_id[*row] == process);
        let recorded: Vec<_> = own
            .map(|row| (events.correlation_id[row], events.event_id[row], events.event_sync_id[row].unwrap()))
            .collect();
        let distinct = |of: fn(&(i64, i32, i64)) -> i64| recorded.iter().map(of).collect::<BTreeSet<_>>();
        assert_eq!(distinct(|(_, handle, _)| i64::from(*handle)), BTreeSet::from([20, 21, 22]));
        assert_eq!(distinct(|(.., recording)| *recording).len(), recorded.len());
        let own: Vec<usize> = (0..syncs.len()).filter(|row| syncs.process_id[*row] == process).collect();
        assert!(own.iter().any(|row| &*syncs.kind[*row] == "event"));
        for row in own {
            let before = recorded
                .iter()
                .filter(|(call, handle, _)| *call < syncs.correlation_id[row] && Some(*handle) == syncs.event_id[row]);
            assert_eq!(before.max().map(|(.., recording)| *recording), syncs.event_sync_id[row]);
        }
    }
    let (transfers, _) = rows::<NixlTransfers>(folder.path());
    let (descriptors, _) = rows::<NixlDescriptors>(folder.path());
    for process in [2_190, 2_206] {
        let own: Vec<usize> = (0..transfers.len()).filter(|row| transfers.process_id[*row] == process).collect();
        let handles: Vec<(u64, i64)> = own.iter().map(|row| (transfers.handle[*row], transfers.epoch[*row])).collect();
        let handle = handles[0].0;
        assert_eq!(handles, (0..5).map(|epoch| (handle, epoch)).collect::<Vec<_>>());
        let released_first = own.windows(2).all(|w| transfers.released_ns[w[0]] < transfers.made_ns[w[1]]);
        assert!(released_first, "a handle is used again after its release");
        let addresses = |row: &usize| {
            let of = |d: &usize| descriptors.transfer_id[*d] == transfers.transfer_id[*row];
            (0..descriptors.len()).filter(of).map(|d| descriptors.local_addr[d]).collect::<Vec<_>>()
        };
        assert!(own.iter().all(|row| addresses(row) == addresses(&own[0])));
    }
}

/// One region a process, which every descriptor lies in: no address names a layer.
#[test]
fn case_13_cross_layer() {
    let (found, folder) = recorded("cross-layer");
    assert!(found.run.stages.iter().all(|stage| stage.layer_resolution == "none"));
    let (regions, _) = rows::<NixlRegions>(folder.path());
    assert_eq!(regions.process_id.len(), 3);
    let (descriptors, _) = rows::<NixlDescriptors>(folder.path());
    let within = |row: usize, region: usize| {
        let start = regions.addr[region];
        (start..start + regions.bytes[region].unsigned_abs()).contains(&descriptors.local_addr[row])
    };
    assert!(!descriptors.local_addr.is_empty());
    assert!((0..descriptors.len()).all(|row| (0..regions.len()).any(|region| within(row, region))));
    // Blocks of all 8 layers: the KV of 3 chunks, 8 layers and 16 MiB each.
    assert!(found.requests.iter().flat_map(|r| &r.transfers).all(|t| t.bytes == 3 * 8 * (16 << 20)));
}

/// 1 % of about 5,000 records: 50, and within 5 standard deviations of 7 of that. Every one is counted in `drops`, and the
/// truth is that of the run without losses.
#[test]
fn case_14_loss() {
    let (found, folder) = recorded("loss");
    let lost: u64 = found.run.rows.values().map(|(_, lost)| lost).sum();
    assert!((15..=85).contains(&lost), "{lost}");
    let (drops, _) = rows::<Drops>(folder.path());
    assert_eq!(drops.count.iter().sum::<i64>(), i64::try_from(lost).unwrap());
    let (kernels, _) = rows::<Kernels>(folder.path());
    assert_eq!(kernels.len() as u64, found.run.rows["kernels"].0);
    let whole = case("polls");
    let paths = |found: &CaseTruth| found.requests.iter().map(|r| r.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&whole));
}
