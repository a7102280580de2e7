//! Every property and every exact case at the size that is asked for: 10^4 records, or
//!
//!     KVPATH_TRUTH_RECORDS=10000000 cargo test --workspace --profile ci --test truth -- sizes --nocapture --test-threads 1
//!
//! which takes 20 minutes of a core, and 10 GB; and of runs of one record, or none.

use std::fs::File;
use std::path::Path;

use arrow::compute::concat_batches;
use kvpath_analysis::load::Run;
use kvpath_analysis::model::Model as RunModel;
use kvpath_analysis::settings::Settings;
use kvpath_schema::segment;
use kvpath_schema::table::Columns as _;
use kvpath_simulator::cases::Case;
use kvpath_simulator::distort::{Clock, Distortions};
use kvpath_simulator::model::{BEGIN_NS, Grain, HandoffMode, Hosts, Model, simulate};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::path::{Score, assert_agrees, scored};
use crate::properties::{AnalysedRun, Knobs, PropertyResult, add_stranger, assert_held, assert_unchanged, same_paths};
use crate::walks::{MS, Simulated, WalkedRun, model, undistorted};

/// Records of a run, about.
fn records() -> u64 {
    let asked = std::env::var("KVPATH_TRUTH_RECORDS").ok();
    asked.map_or(10_000, |text| text.parse().unwrap_or_else(|_| panic!("KVPATH_TRUTH_RECORDS is no number: {text}")))
}

/// The model with as many requests as make so many records.
fn of_size(model: &Model, records: u64) -> Model {
    let one = simulate(&Model { requests: 1, ..model.clone() }, None, undistorted(model), false, &mut |_| Ok(()));
    let each: u64 = one.expect("a run").rows.values().map(|(written, _)| written).sum();
    let requests = u32::try_from((records / each.max(1)).max(1)).expect("few enough");
    Model { requests, ..model.clone() }
}

fn say(name: &str, walked: &WalkedRun) {
    let rows: i64 = walked.model.run().segments.iter().map(|segment| segment.rows).sum();
    println!("{name}: {rows} records, {} paths, {} segments", walked.found.paths.len(), walked.found.segments.len());
}

#[test]
fn every_property_holds() {
    let records = records();
    // At large sizes one seed each is enough to wait for.
    let seeds: &[u64] = if records > 100_000 { &[7] } else { &[7, 8] };
    let knobs = Knobs { shuffle: 4, segment_rows: 200_000, stranger: (20_000, MS / 2), offset_ns: -7_654_321 * MS };
    for (concurrency, mode, grain) in [
        (1, HandoffMode::Push, Grain::Whole),
        (4, HandoffMode::Push, Grain::Chunk),
        (2, HandoffMode::Push, Grain::Layer),
        (4, HandoffMode::Pull, Grain::Whole),
        (1, HandoffMode::None, Grain::Whole),
    ] {
        for seed in seeds {
            let model = of_size(&Model { seed: *seed, ..model(concurrency, mode, grain) }, records);
            let name = format!("{mode:?} {grain:?}, {concurrency} at a time, seed {seed}");
            let simulated = Simulated::of_model(&model, undistorted(&model));
            let walked = simulated.walk();
            say(&name, &walked);
            assert_held(&name, &walked.seen());
            if mode != HandoffMode::None {
                assert_agrees(&name, &scored(&name, &simulated, &walked));
            }
            assert_unchanged(&name, &model, &simulated, &walked, &knobs);
        }
    }
}

/// Whether what the clocks really showed lies within the bounds of every window of every host.
fn clocks_within_bounds(simulated: &Simulated, walked: &WalkedRun) -> PropertyResult {
    let clocks = &walked.seen().analysis().clocks;
    let mut bounded = 0;
    for row in (0..clocks.len()).map(|row| clocks.row(row)).filter(|row| row.process_id.is_none()) {
        let Some((start, end)) = row.start_ns.zip(row.end_ns) else { continue };
        let Some((least, most)) = row.offset_min_ns.zip(row.offset_max_ns) else { continue };
        let own = simulated.clocks().iter().find(|clock| clock.host == *row.host).ok_or("a host of nowhere")?;
        let middle = start.midpoint(end);
        // When the reference showed that, to the ns or nearly: drift is some millionths.
        let at = middle - (walked.reference.read(middle) - middle);
        let truth = own.read(at) - walked.reference.read(at);
        // A ns for each that is rounded.
        if truth < least - 2 || most + 2 < truth {
            return Err(format!("it was {truth} ns: {row:?}"));
        }
        let off = row.offset_ns.zip(row.eps_ns).is_some_and(|(offset, eps)| (offset - truth).abs() > eps + 2);
        if off {
            return Err(format!("it was {truth} ns, which is further off than eps: {row:?}"));
        }
        bounded += 1;
    }
    if bounded < simulated.clocks().len() { Err(format!("{bounded} windows have bounds")) } else { Ok(()) }
}

#[test]
fn clocks_that_are_apart_lie_within_their_bounds() {
    for hosts in [Hosts::Split, Hosts::Each] {
        let model = of_size(&Model { hosts, ..model(1, HandoffMode::Push, Grain::Whole) }, records());
        let mut distort = Distortions { probe_hz: 20, ..undistorted(&model) };
        for (at, clock) in (0i64..).zip(&mut distort.clocks) {
            *clock = Clock { offset_ns: 3 * MS * at, drift_ppb: 20_000 * at, zero_ns: BEGIN_NS, ..clock.clone() };
        }
        let name = format!("{hosts:?}");
        let simulated = Simulated::of_model(&model, distort);
        let walked = simulated.walk();
        say(&name, &walked);
        assert_held(&name, &walked.seen());
        assert_eq!(clocks_within_bounds(&simulated, &walked), Ok(()), "{name}");
        assert_agrees(&name, &scored(&name, &simulated, &walked));
    }
}

/// A hundredth.
const LOST_PPM: u32 = 10_000;

/// Where a hundredth of the records is lost, hardly any of the time is put on what it was not spent on. Seen at 10^6 and 10^7
/// records: 0.08 % for sure, where layers are pushed, and 0.14 % with guesses, where chunks are.
fn assert_lossy(name: &str, score: &Score) {
    let (sure, guessed) = score.wrong_shares();
    assert!(score.explained < 1.0 && score.category_share() > 0.98, "{name}: {score:?}");
    assert!(sure < 0.002 && guessed < 0.003, "{name}: {score:?}");
}

fn lossy(name: &str, model: &Model, distort: Distortions) -> Score {
    let simulated = Simulated::of_model(model, distort);
    let walked = simulated.walk();
    say(name, &walked);
    assert_held(name, &walked.seen());
    scored(name, &simulated, &walked)
}

#[test]
fn what_is_lost_is_unexplained_and_hardly_blames_another() {
    for (concurrency, mode, grain) in [
        (2, HandoffMode::Push, Grain::Whole),
        (2, HandoffMode::Push, Grain::Chunk),
        (4, HandoffMode::Push, Grain::Chunk),
        (2, HandoffMode::Push, Grain::Layer),
        (4, HandoffMode::Pull, Grain::Whole),
        (1, HandoffMode::None, Grain::Whole),
    ] {
        let model = of_size(&model(concurrency, mode, grain), records());
        let of = |loss_ppm: u32| {
            let name = format!("{mode:?} {grain:?}, {concurrency} at a time, {loss_ppm} ppm lost");
            let score = lossy(&name, &model, Distortions { loss_ppm, ..undistorted(&model) });
            (name, score)
        };
        let ((name, whole), (_, lossy)) = (of(0), of(LOST_PPM));
        assert!(whole.explained > lossy.explained && whole.wrong == 0, "{name}: {whole:?}, {lossy:?}");
        assert_lossy(&name, &lossy);
    }
}

/// Two stages of the first case end at the same ns, chunk by chunk: where the record of a kernel is lost that ended then, the path
/// may as well go over the other one, and says that it is a guess.
#[test]
fn the_exact_cases_blame_hardly_another_where_records_are_lost() {
    for number in 1..=14 {
        let Some((model, distort)) = case_model(number, records()) else { continue };
        let name = format!("case {number}, {LOST_PPM} ppm lost");
        let score = lossy(&name, &model, Distortions { loss_ppm: LOST_PPM, ..distort });
        if number == 1 {
            assert!(score.wrong_shares().0 < 0.002, "{name}: {score:?}");
        } else {
            assert_lossy(&name, &score);
        }
    }
}

/// The model of a case with as many requests as make so many records, if it is one, and what is done to them.
fn case_model(number: u32, records: u64) -> Option<(Model, Distortions)> {
    let found = Case::named(&number.to_string()).expect("a case").make(None, 1).expect("a run");
    let model: Model = serde_json::from_value(found.run.model?).expect("the settings of a model");
    let model = of_size(&model, records);
    let distort = Distortions {
        clocks: found.run.clocks,
        poll_ns: if number == 10 { 700_000 } else { 0 },
        loss_ppm: if number == 14 { LOST_PPM } else { 0 },
        probe_hz: 20,
        ..undistorted(&model)
    };
    Some((model, distort))
}

/// A case of about so many records: with as many requests, where it is a model; else beside a process that takes no part.
fn case(number: u32, records: u64) -> Simulated {
    if let Some((model, distort)) = case_model(number, records) {
        return Simulated::of_model(&model, distort);
    }
    let simulated = Simulated::of_case(number);
    let alone = simulated.walk();
    // Where nothing is handed over nothing but kernels tells who serves.
    let has_kernels = simulated.truth.iter().any(|request| !request.transfers.is_empty());
    let many = usize::try_from(if has_kernels { records / 2 } else { records }).expect("few enough");
    add_stranger(&simulated, (many, 20_000), has_kernels);
    assert_eq!(same_paths(&alone, &simulated.walk()), Ok(()), "case {number}");
    simulated
}

#[test]
fn the_exact_cases_have_their_paths() {
    for number in 1..=14 {
        let name = format!("case {number}");
        let simulated = case(number, records());
        let walked = simulated.walk();
        say(&name, &walked);
        assert_held(&name, &walked.seen());
        let score = scored(&name, &simulated, &walked);
        match number {
            // Nothing recorded tells on which of two streams that end together the first token came.
            8 => assert!(score.category == score.all && score.stage_share() > 0.96, "{score:?}"),
            14 => assert_lossy(&name, &score),
            _ => assert_agrees(&name, &score),
        }
    }
}

/// Copies the rows of a segment that are wanted, as a segment of another run.
fn copy(from: &Path, to: &Path, first: usize, rows: usize) {
    let (_, builder) = segment::open(from).expect("a segment");
    let (schema, said) = (builder.schema().clone(), builder.metadata().file_metadata().key_value_metadata().cloned());
    let batches: Vec<_> = builder.build().expect("readable").map(|batch| batch.expect("whole")).collect();
    let all = concat_batches(&schema, &batches).expect("of one schema");
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    // Arrow writes its own.
    let said = said.map(|pairs| pairs.into_iter().filter(|pair| pair.key != "ARROW:schema").collect());
    let properties = WriterProperties::builder().set_key_value_metadata(said).build();
    let file = File::create(to).expect("a file");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a writer");
    writer.write(&all.slice(first, rows)).expect("written");
    writer.close().expect("written");
}

fn assert_held_of(name: &str, folder: &Path) {
    let run = Run::open(folder.to_str().expect("temporary folders are UTF-8")).expect(name);
    let model = RunModel::new(run, Settings::default());
    let found = model.walker().expect(name).paths(|_| true);
    assert_held(name, &AnalysedRun { run: model.run(), model: &model, found: &found });
}

#[test]
fn runs_of_one_record_or_none_hold_as_well() {
    let model = Model { hosts: Hosts::Split, ..model(2, HandoffMode::Push, Grain::Chunk) };
    let simulated = Simulated::of_model(&model, Distortions { probe_hz: 20, ..undistorted(&model) });
    let walked = simulated.walk();
    let whole = walked.model.run();
    let empty = tempfile::tempdir().expect("a temporary folder");
    let mut tables = 0;
    for segment in &whole.segments {
        let place = segment.path.strip_prefix(simulated.folder()).expect("below the run");
        let rows = usize::try_from(segment.rows).expect("a count");
        for first in [0, rows / 2, rows - 1] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            copy(&segment.path, &folder.path().join(place), first, 1);
            assert_held_of(&format!("row {first} of {}", place.display()), folder.path());
        }
        copy(&segment.path, &empty.path().join(place), 0, 0);
        tables += 1;
    }
    assert!(tables > 15, "{tables}");
    assert_held_of("no rows", empty.path());
}
