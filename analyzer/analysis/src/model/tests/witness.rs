//! Passes, chunks and layers against what a witness inside the recorded processes logged of the engine's steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Analysis, Recording, Run, Settings};
use kvpath_schema::table::Columns as _;
use kvpath_schema::tables::derived::Role;

/// A step of the engine's model runner.
#[derive(Debug)]
struct Step {
    start: i64,
    /// Tokens of each request, by its name without what a process adds to it.
    requests: Vec<(String, i64)>,
}

/// Steps of each process that hold tokens, by time.
type Steps = BTreeMap<i64, Vec<Step>>;

/// `cmpl-req-0-1000-0-a09f47de` and `cmpl-req-0-1000-0-944919ef` are one request in two processes.
fn common(id: &str) -> &str {
    let is_added = |part: &str| part.len() == 8 && part.chars().all(|digit| digit.is_ascii_hexdigit());
    id.rsplit_once('-').filter(|(_, last)| is_added(last)).map_or(id, |(common, _)| common)
}

/// A line of a witness's log without its process; none if it is no step with tokens.
fn step(fields: &[&str]) -> Option<Step> {
    let ["step", start, _, _, requests, ..] = fields else { return None };
    let request = |text: &str| {
        let (id, tokens) = text.rsplit_once(':')?;
        Some((common(id).to_owned(), tokens.parse().ok()?))
    };
    let requests: Vec<(String, i64)> = requests.split(';').map_while(request).collect();
    let step = Step { start: start.parse().ok()?, requests };
    Some(step).filter(|step| !step.requests.is_empty())
}

/// Of `tests/fixtures/witness`: each line begins with its process.
fn of_fixture(name: &str) -> Steps {
    let mut steps = Steps::new();
    for line in std::fs::read_to_string(fixtures().join(format!("witness/{name}.tsv"))).unwrap().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let Some(step) = step(&fields[1..]) {
            steps.entry(fields[0].parse().unwrap()).or_default().push(step);
        }
    }
    steps
}

/// Of a folder with a file `witness-PID.tsv` for each process.
fn of_folder(folder: &Path) -> Steps {
    let mut steps = Steps::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let process = file.file_stem().unwrap().to_str().unwrap().strip_prefix("witness-").unwrap().parse().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let own: Vec<Step> = text.lines().filter_map(|line| step(&line.split('\t').collect::<Vec<&str>>())).collect();
        steps.insert(process, own);
    }
    steps
}

fn analysed(run: &Path) -> Analysis {
    let (run, settings) = (Run::open(run.to_str().unwrap()).unwrap(), Settings::default());
    Analysis::of(&Recording::of(&run, &settings.memory).unwrap(), &settings)
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

/// Processes whose passes are not, one by one, the steps from the first one of a request on, as (process, steps, passes, passes that
/// began before their step).
fn undivided(analysis: &Analysis, steps: &Steps) -> Vec<(i64, usize, usize, usize)> {
    let mut wrong = Vec::new();
    for (process, own) in steps {
        let is_of_request = |step: &Step| step.requests.iter().any(|(id, _)| id.contains("req-"));
        let own = &own[own.iter().position(is_of_request).unwrap_or(own.len())..];
        let (Some(passes), Some(first)) = (analysis.passes.get(process), own.first()) else { continue };
        let passes = &passes[passes.partition_point(|(start, _)| *start < first.start)..];
        let early = own.iter().zip(passes).filter(|(step, (start, _))| *start < step.start).count();
        if passes.len() != own.len() || early > 0 {
            wrong.push((*process, own.len(), passes.len(), early));
        }
    }
    wrong
}

/// Requests whose chunks on the first prefill stage are not as many as their steps, or which are not said to share a batch, or
/// said to without one, as (request, chunks, steps, said to overlap, in a batch with others).
fn miscounted(analysis: &Analysis, steps: &Steps) -> Vec<(String, Option<i32>, usize, bool, bool)> {
    let stages = &analysis.stages;
    let first = (0..stages.len()).find(|row| stages.role[*row] == Role::Prefill).map(|row| stages.process_id[row]);
    let own = first.and_then(|process| steps.get(&process)).map_or(&[][..], Vec::as_slice);
    let mut wrong = Vec::new();
    for row in 0..analysis.requests.len() {
        let Some(id) = analysis.requests.request_id[row].as_deref().map(common) else { continue };
        let of_request: Vec<&Step> = own.iter().filter(|step| step.requests.iter().any(|(own, _)| own == id)).collect();
        let is_shared = of_request.iter().any(|step| step.requests.len() > 1);
        let (chunks, overlaps) = (analysis.requests.chunks[row], analysis.requests.overlaps[row]);
        // Stages of a pipeline compute different requests at a time: they overlap, without sharing a batch.
        if chunks.unwrap_or(0) != i32::try_from(of_request.len()).unwrap() || is_shared && !overlaps {
            wrong.push((id.to_owned(), chunks, of_request.len(), overlaps, is_shared));
        }
    }
    wrong
}

/// Layers of each stage in the order of the table, and what the regions say of them.
fn layers(analysis: &Analysis) -> Vec<(Option<i32>, String)> {
    let stages = &analysis.stages;
    (0..stages.len()).map(|row| (stages.layers[row], stages.layers_check[row].to_string())).collect()
}

#[test]
fn passes_and_chunks_are_the_steps_of_the_engine() {
    let known = |layers: &[i32]| layers.iter().map(|layers| Some(*layers)).collect::<Vec<_>>();
    for (folder, name, expected, check) in [
        ("v1", "vllm-full", known(&[18, 18, 36]), "agree"),
        ("v1", "even", known(&[18, 18, 36]), "unknown"),
        // Prefixes are cached, so passes differ in size by 500.
        ("steps", "prefix", known(&[12, 12]), "agree"),
        // Layers of six share a region.
        ("steps", "swa", known(&[12, 12]), "differ"),
        // Two state-space blocks, attention and an MLP, three times.
        ("steps", "ssm", vec![None, None], "periods"),
    ] {
        let (analysis, steps) = (analysed(&fixtures().join(folder).join(name)), of_fixture(name));
        let found = layers(&analysis);
        assert_eq!(found, expected.into_iter().map(|layers| (layers, check.to_owned())).collect::<Vec<_>>(), "{name}");
        assert_eq!(undivided(&analysis, &steps), [], "{name}");
        assert_eq!(miscounted(&analysis, &steps), [], "{name}");
    }
    // Of these the last seconds are lost, or no witness logged steps.
    for (name, expected) in [("uneven", known(&[24, 12, 36])), ("sglang", known(&[18, 18, 18, 18]))] {
        let found = layers(&analysed(&fixtures().join("v1").join(name)));
        assert_eq!(found.into_iter().map(|(layers, _)| layers).collect::<Vec<_>>(), expected, "{name}");
    }
}

/// Of recordings that are not in the tree: a folder of them, each with `run` and `witness`.
#[test]
#[ignore = "needs recordings of many configurations: KVPATH_MATRIX"]
fn passes_and_chunks_are_the_steps_in_every_configuration() {
    let folder = std::env::var("KVPATH_MATRIX").expect("KVPATH_MATRIX names a folder of recordings");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|case| case.unwrap().path()).collect();
    cases.sort();
    let mut wrong = 0;
    for case in cases.iter().filter(|case| case.join("witness").is_dir()) {
        let (analysis, steps) = (analysed(&case.join("run")), of_folder(&case.join("witness")));
        let (undivided, miscounted) = (undivided(&analysis, &steps), miscounted(&analysis, &steps));
        println!("{}: layers {:?}", case.display(), layers(&analysis));
        println!("    passes that are not the steps {undivided:?}; chunks {miscounted:?}");
        wrong += undivided.len() + miscounted.len();
    }
    assert_eq!(wrong, 0);
}
