//! Clocks that are known, and what alignment makes of them.

use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Clock as Row;
use kvpath_simulator::cases::Case;
use kvpath_simulator::distort::{Clock, Distortions};
use kvpath_simulator::engine::{OpKind, StepKind};
use kvpath_simulator::model::{BEGIN_NS, Hosts, Model, simulate};
use proptest::prelude::*;

use super::{Carrier, Clocks, HostFacts, Message};
use crate::load::Run;
use crate::model::Recording;
use crate::spill::Memory;
use crate::timeline::{Lane, LaneId};

const S: i64 = 1_000_000_000;

fn clock(host: &str, offset_ns: i64, drift_ppb: i64) -> Clock {
    Clock { offset_ns, drift_ppb, ..Clock::true_time(host) }
}

fn facts(clocks: &[Clock], last: i64) -> Vec<HostFacts> {
    let rows = |at: usize| i64::try_from(clocks.len() - at).unwrap();
    let extent = |clock: &Clock| Some((clock.read(0), clock.read(last)));
    let one =
        |(at, clock): (usize, &Clock)| HostFacts { name: clock.host.clone(), rows: rows(at), extent: extent(clock) };
    clocks.iter().enumerate().map(one).collect()
}

/// A message that left at `at` by true time and took `way`.
fn message(clocks: &[Clock], (from, to): (usize, usize), at: i64, way: i64) -> Message {
    let (sent_ns, arrived_ns) = (clocks[from].read(at), clocks[to].read(at + way));
    Message { from, to, sent_ns, arrived_ns, carrier: Carrier::Probe }
}

/// Probes 50 ms apart, `there` and `back` so long.
fn probes(clocks: &[Clock], pair: (usize, usize), last: i64, (there, back): (i64, i64)) -> Vec<Message> {
    let each = (0..=last / 50_000_000).flat_map(|i| {
        let at = i * 50_000_000;
        [message(clocks, pair, at, there), message(clocks, (pair.1, pair.0), at + there + 3_000, back)]
    });
    each.collect()
}

fn rows(clocks: &Clocks) -> Vec<Row> {
    let table = clocks.table();
    (0..table.len()).map(|row| table.row(row)).collect()
}

/// Without those before the first message and after the last one.
fn windows(clocks: &Clocks) -> Vec<Row> {
    rows(clocks).into_iter().filter(|row| &*row.method != "outside").collect()
}

/// Quarters of a second, for 10 s.
fn quarters() -> Vec<i64> {
    (0..=40).map(|i| i * S / 4).collect()
}

/// Times moved to the reference's clock against what that showed: never farther off than is said.
fn assert_within(aligned: &Clocks, clocks: &[Clock], times: &[i64]) {
    for host in &aligned.hosts {
        let own = clocks.iter().find(|clock| clock.host == host.name).unwrap();
        let reference = clocks.iter().find(|clock| clock.host == aligned.hosts[host.reference].name).unwrap();
        let eps = host.eps_ns().unwrap();
        for t in times.iter().copied() {
            let off = (host.time(own.read(t)) - reference.read(t)).abs();
            let here = host.chain.worst(own.read(t)..=own.read(t)).unwrap();
            assert!(off <= here && off <= eps, "{} at {t}: off by {off}, said {here}, at worst {eps}", host.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Two to four hosts, each probing the one before it or the first, and ways that differ.
    #[test]
    fn the_truth_lies_within_the_error(
        skews in prop::collection::vec((-5_000_000i64..5_000_000, -30_000i64..30_000), 2..5),
        ways in prop::collection::vec((1_000i64..200_000, 1_000i64..200_000), 4),
        in_chain in any::<bool>(),
        late in prop::collection::vec((0usize..400, 0i64..3_000_000), 0..40),
    ) {
        let clocks: Vec<Clock> = skews
            .iter()
            .enumerate()
            .map(|(at, (offset, drift))| clock(&format!("node-{at}"), *offset, *drift))
            .collect();
        let mut messages: Vec<Message> = (1..clocks.len())
            .flat_map(|at| probes(&clocks, (if in_chain { at - 1 } else { 0 }, at), 10 * S, ways[at - 1]))
            .collect();
        // Some were held up.
        for (at, by) in late {
            let at = at % messages.len();
            messages[at].arrived_ns += by;
        }
        let aligned = Clocks::align(facts(&clocks, 10 * S), &messages);
        prop_assert!(aligned.hosts.iter().all(|host| host.reference == 0 && host.open_triangles == 0));
        assert_within(&aligned, &clocks, &quarters());
        let table = rows(&aligned);
        prop_assert!(table.iter().all(|row| row.violations == 0 && row.eps_ns.is_some()));
        prop_assert!(table.iter().all(|row| ["reference", "probes", "outside"].contains(&&*row.method)));
    }

    /// Whatever the messages say, there is an answer, it says the same whatever their order, and time never runs backwards.
    #[test]
    fn any_messages_give_an_answer(
        wild in prop::collection::vec((0usize..3, 0usize..3, -(1i64 << 61)..1 << 61, -(1i64 << 61)..1 << 61), 0..60),
        near in prop::collection::vec((0usize..3, 0usize..3, 0i64..1_000_000, 0i64..1_000_000), 0..200),
    ) {
        let all = wild.into_iter().chain(near);
        let mut messages: Vec<Message> = all
            .map(|(from, to, sent_ns, arrived_ns)| Message { from, to, sent_ns, arrived_ns, carrier: Carrier::Notif })
            .collect();
        let clocks: Vec<Clock> = ["a", "b", "c"].map(|host| clock(host, 0, 0)).to_vec();
        let forward = Clocks::align(facts(&clocks, S), &messages);
        messages.reverse();
        let backward = Clocks::align(facts(&clocks, S), &messages);
        prop_assert_eq!(rows(&forward), rows(&backward));
        for host in &forward.hosts {
            let times: Vec<i64> = (-20..20).map(|i| host.time(i * 100_000)).collect();
            prop_assert!(times.is_sorted());
        }
    }
}

#[test]
fn one_host_is_its_own_reference() {
    let aligned = Clocks::align(facts(&[clock("node-a", 7, 7)], S), &[]);
    let all = rows(&aligned);
    assert_eq!((all.len(), &*all[0].method, all[0].eps_ns), (1, "reference", Some(0)));
    assert_eq!((aligned.hosts[0].time(12_345), aligned.hosts[0].id(7)), (12_345, Some(7)));
}

#[test]
fn the_reference_has_most_rows_and_ids_of_others_are_moved() {
    let clocks = [clock("b", 0, 0), clock("c", 900, 0), clock("a", -900, 0)];
    let messages = [probes(&clocks, (0, 1), S, (500, 500)), probes(&clocks, (0, 2), S, (500, 500))].concat();
    let aligned = Clocks::align(facts(&clocks, S), &messages);
    assert_eq!(aligned.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!(aligned.hosts[2].id(5), Some((2 << 48) + 5));
    assert_eq!((aligned.hosts[1].id(1 << 48), aligned.hosts[1].id(-1)), (None, None));
    let offsets: Vec<i64> = windows(&aligned).iter().map(|row| row.offset_ns.unwrap()).collect();
    assert!(
        (offsets[0], (offsets[1] + 900).abs() <= 2, (offsets[2] - 900).abs() <= 2) == (0, true, true),
        "{offsets:?}"
    );
    assert!(windows(&aligned).iter().skip(1).all(|row| row.eps_ns < Some(530) && &*row.method == "probes"));
}

#[test]
fn messages_in_one_direction_leave_the_error_open() {
    let clocks = [clock("a", 0, 0), clock("b", 5_000_000, 20_000)];
    let one: Vec<Message> = (0..100).map(|i| message(&clocks, (0, 1), i * S / 10, 20_000)).collect();
    let aligned = Clocks::align(facts(&clocks, 10 * S), &one);
    assert_eq!((aligned.hosts[1].reference, aligned.hosts[1].time(77)), (1, 77), "it stays on its own clock");
    let row = &rows(&aligned)[1];
    assert_eq!((&*row.method, row.eps_ns, row.offset_ns, row.offset_min_ns), ("one_way", None, None, None));
    let most = row.offset_max_ns.unwrap();
    assert!((5_000_000 + 100_000..5_000_000 + 100_000 + 21_000).contains(&most), "{most}");
    let aligned = Clocks::align(facts(&clocks, 10 * S), &[]);
    assert_eq!((&*rows(&aligned)[1].method, rows(&aligned)[1].observations), ("none", 0));
}

#[test]
fn a_step_splits_and_a_wrong_observation_is_excluded() {
    let clocks = [clock("a", 0, 0), clock("b", 5_000_000, 30_000)];
    let stepped = [clocks[0].clone(), clock("b", 8_000_000, 30_000)];
    let mut messages = probes(&clocks, (0, 1), 5 * S, (20_000, 40_000));
    messages.extend(probes(&stepped, (0, 1), 10 * S, (20_000, 40_000)).into_iter().skip(messages.len()));
    messages[40].arrived_ns -= 700_000;
    let aligned = Clocks::align(facts(&clocks, 10 * S), &messages);
    let of_b = || windows(&aligned).into_iter().skip(1);
    assert_eq!(of_b().map(|row| row.method.to_string()).collect::<Vec<_>>(), ["probes", "between", "probes"]);
    assert_eq!(of_b().map(|row| row.violations).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(of_b().map(|row| row.observations + row.violations).sum::<i64>(), 402);
    let eps: Vec<i64> = of_b().map(|row| row.eps_ns.unwrap()).collect();
    assert!(eps[0] < 60_000 && eps[1] > 1_500_000 && eps[2] < 60_000, "{eps:?}");
    for (t, b) in [(S, &clocks[1]), (4 * S, &clocks[1]), (6 * S, &stepped[1]), (9 * S, &stepped[1])] {
        assert!((aligned.hosts[1].time(b.read(t)) - t).abs() <= 60_000, "{t}");
    }
}

#[test]
fn a_third_host_relates_two_and_errors_add_up() {
    let clocks = [clock("a", 0, 0), clock("b", 5_000_000, 30_000), clock("c", -5_000_000, -30_000)];
    let mut messages = probes(&clocks, (0, 1), 10 * S, (10_000, 10_000));
    messages.extend(probes(&clocks, (1, 2), 10 * S, (20_000, 20_000)));
    let aligned = Clocks::align(facts(&clocks, 10 * S), &messages);
    let of_c = &windows(&aligned)[2];
    assert_eq!((of_c.via.as_deref(), of_c.drift_ppb.map(|drift| drift / 100)), (Some("b"), Some(-300)));
    assert!((30_000..34_000).contains(&of_c.eps_ns.unwrap()), "{of_c:?}");
    // Directly, but worse: the way through b stays.
    messages.extend(probes(&clocks, (0, 2), 10 * S, (400_000, 400_000)));
    let aligned = Clocks::align(facts(&clocks, 10 * S), &messages);
    assert_eq!(windows(&aligned)[2].via.as_deref(), Some("b"));
    assert_within(&aligned, &clocks, &quarters());
}

#[test]
fn a_triangle_that_does_not_close_is_counted() {
    let clocks = [clock("a", 0, 0), clock("b", 5_000_000, 0), clock("c", 0, 0)];
    let other = [clocks[0].clone(), clocks[1].clone(), clock("c", 900_000, 0)];
    let mut messages = probes(&clocks, (0, 1), S, (10_000, 10_000));
    messages.extend(probes(&clocks, (0, 2), S, (10_000, 10_000)));
    messages.extend(probes(&other, (1, 2), S, (10_000, 10_000)));
    let open: Vec<i32> =
        windows(&Clocks::align(facts(&clocks, S), &messages)).iter().map(|row| row.open_triangles).collect();
    assert_eq!(open, [0, 1, 1]);
}

/// Case 11 with its three hosts, with and without probes: all compute kernels of all paths, on the reference's clock.
#[test]
fn case_11_lies_within_the_error_by_probes_and_by_notifications_alone() {
    for (seed, probe_hz) in [(1, 20), (2, 20), (3, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let found = Case::named("clocks").unwrap().make_probed(Some(folder.path()), seed, probe_hz).unwrap();
        let recording =
            Recording::of(&Run::open(folder.path().to_str().unwrap()).unwrap(), &Memory::default()).unwrap();
        assert!(recording.apart.is_empty());
        let reference = found.run.clocks.iter().find(|clock| clock.host == recording.clocks.hosts[0].name).unwrap();
        let mut checked = 0;
        for segment in found.requests.iter().flat_map(|request| &request.path) {
            if (segment.what, segment.kind) != (OpKind::Kernel, StepKind::Work) {
                continue;
            }
            let process = found.run.lanes[usize::from(segment.lane)].process_id.unwrap();
            let stage = found.run.stages.iter().find(|stage| stage.process_id == process).unwrap();
            let host = &found.run.clocks[stage.host].host;
            let host = recording.clocks.hosts.iter().find(|clock| clock.name == *host).unwrap();
            let correlation = i64::try_from(segment.correlation_id.unwrap()).unwrap();
            let (lane, at) = recording.timeline.started_by(host.id(process).unwrap(), correlation).unwrap();
            let lane = recording.timeline.lane(lane);
            let off = lane.end[at] - reference.read(segment.end_ns);
            let eps = host.eps_at_ns(lane.start[at]).unwrap();
            assert!(off.abs() <= eps && Some(eps) <= host.eps_ns(), "{}: {off} of {eps}", host.name);
            checked += 1;
        }
        assert!(checked > 1_000, "{checked}");
        for row in windows(&recording.clocks).iter().skip(1) {
            let most = if probe_hz > 0 { 40_000 } else { 5_000_000 };
            assert!(row.eps_ns.unwrap() < most && row.violations == 0, "{row:?}");
        }
    }
}

/// The same run recorded with clocks apart, and with the reference's clock on every host: each time of each row agrees to the error.
#[test]
fn runs_of_two_and_more_hosts_are_as_if_recorded_on_one_clock() {
    for (seed, hosts) in [(1, Hosts::Split), (2, Hosts::Split), (3, Hosts::Each), (4, Hosts::Each), (5, Hosts::Each)] {
        let mut model = Model::ideal(&[6, 8, 5], &[200_000, 300_000]);
        (model.requests, model.concurrency, model.seed, model.hosts) = (4, 2, seed, hosts);
        model.handoff.bytes_per_s = 50_000_000_000;
        let names = hosts.names(3, true);
        let names = names.iter().map(String::as_str).collect::<Vec<_>>();
        let plain = Distortions { probe_hz: 200, ..Distortions::none(&names) };
        let read = |distort: Distortions| {
            let folder = tempfile::tempdir().unwrap();
            simulate(&model, Some(folder.path()), distort, false, &mut |_| Ok(())).unwrap();
            Recording::of(&Run::open(folder.path().to_str().unwrap()).unwrap(), &Memory::default()).unwrap()
        };
        let mut apart = plain.clone();
        let one = read(plain);
        let sign = if seed % 2 == 0 { 1 } else { -1 };
        for (i, clock) in (0i64..).zip(&mut apart.clocks).filter(|(_, clock)| clock.host != one.clocks.hosts[0].name) {
            let (offset_ns, drift_ppb) = (sign * (5_000_000 - i * 3_000_000), sign * 30_000 * (i % 3 - 1));
            *clock = Clock { offset_ns, drift_ppb, zero_ns: BEGIN_NS, ..clock.clone() };
        }
        let several = read(apart);
        assert_eq!(several.clocks.hosts[0].name, one.clocks.hosts[0].name, "its clock is the true one");
        let eps = several.clocks.hosts.iter().map(|host| host.eps_ns().unwrap()).max().unwrap();
        assert!(eps < 60_000, "{eps}");
        let starts = |recording: &Recording| -> std::collections::BTreeMap<_, i64> {
            let ops = |(id, lane): &(LaneId, Lane)| {
                let id = *id;
                (0..lane.len()).map(move |at| (id, at)).zip(lane.start.to_vec()).collect::<Vec<_>>()
            };
            recording.timeline.lanes.iter().flat_map(ops).collect()
        };
        let (one_kernels, several_kernels) = (starts(&one), starts(&several));
        assert_eq!(one_kernels.keys().collect::<Vec<_>>(), several_kernels.keys().collect::<Vec<_>>());
        for (kernel, start) in &one_kernels {
            assert!((start - several_kernels[kernel]).abs() <= eps, "{kernel:?}");
        }
        let arrivals = |recording: &Recording| {
            let mut all: Vec<_> = (0..recording.notifs.len())
                .map(|row| {
                    (
                        recording.notifs.message[row].clone(),
                        recording.notifs.process_id[row],
                        recording.notifs.time_ns[row],
                    )
                })
                .collect();
            all.sort();
            all
        };
        for (one, several) in arrivals(&one).iter().zip(&arrivals(&several)) {
            assert!((one.2 - several.2).abs() <= eps, "{one:?} {several:?}");
        }
    }
}
