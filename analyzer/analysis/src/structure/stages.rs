//! Which process is which stage: by title, by the direction of its traffic, or both.

use std::collections::{BTreeMap, BTreeSet};

use kvpath_schema::table::Columns;
use kvpath_schema::tables::derived::{
    LayerMethod, LayerResolution, Layers, LayersCheck, Role, Stage, StageMethod, Stages,
};
use kvpath_schema::tables::nixl::NotifDirection;

use super::held_layers;
use super::lanes::{self, Lane, Pass};
use super::posts::Post;
use super::ranks;
use crate::facts::Facts;
use crate::facts::agents::AgentNames;
use crate::serving::notifications::is_registration;
use crate::serving::titles::{self, Title};

/// A stage with what the analyses need of it.
#[derive(Debug)]
pub struct StageWork<'a> {
    /// Its row.
    pub row: Stage,
    /// Its GPU side, if recorded.
    pub lane: Option<&'a Lane<'a>>,
    /// Its hand-offs.
    pub posts: &'a [Post],
    /// What a layer row of it is, if its pass has the usual number of layers: `layers.layer_resolution`.
    resolution: LayerResolution,
}

impl StageWork<'_> {
    /// Whether it computes prompts.
    #[must_use]
    pub fn is_prefill(&self) -> bool {
        self.row.role == Role::Prefill
    }

    /// What the layers of a pass are: `layers.layer_resolution`.
    #[must_use]
    pub fn resolution(&self, pass: &Pass) -> LayerResolution {
        let is_usual = i32::try_from(pass.layers.len()).ok() == self.row.layers;
        if is_usual { self.resolution } else { LayerResolution::None }
    }
}

/// Finds the stages: prefill by PP and TP rank, then decode, then unknown.
#[must_use]
pub fn of<'a>(
    facts: &Facts,
    lanes: &'a BTreeMap<i64, Lane<'a>>,
    posts: &'a BTreeMap<i64, Vec<Post>>,
) -> Vec<StageWork<'a>> {
    let receivers: Vec<i64> = (0..facts.notifs.time_ns.len())
        .filter(|row| *facts.notifs.direction[*row] == NotifDirection::Arrived)
        .map(|row| facts.notifs.process_id[row])
        .collect();
    let anyone_posts = posts.values().flatten().next().is_some();
    let told = roles_by_messages(facts, posts);
    let mut found: Vec<(Title, StageWork)> = Vec::new();
    for (process, name) in processes(facts, lanes, posts) {
        let title = titles::read(&name);
        let lane = lanes.get(&process);
        let posts = posts.get(&process).map_or(&[] as &[Post], Vec::as_slice);
        let talks = receivers.contains(&process) || facts.agents.process_id.contains(&process);
        if lane.is_none() && posts.is_empty() && !talks {
            continue;
        }
        // Handing KV over shows a prefill stage; where some stage does, a process that never does, or pulls, receives. But a rank
        // whose KV another one holds too hands none over: whoever has that only tells it.
        let traffic = match (posts.iter().all(|post| post.pulled), anyone_posts) {
            (false, _) => Some(Role::Prefill),
            (true, true) if facts.presumed.owners.contains(&process) => Some(Role::Prefill),
            (true, true) => Some(told.get(&process).copied().unwrap_or(Role::Decode)),
            (true, false) => None,
        };
        let (role, method) = match (title.role, traffic) {
            (Some(a), Some(b)) if a == b => (a, StageMethod::TitleAndTraffic),
            (Some(role), _) => (role, StageMethod::Title),
            (None, Some(role)) => (role, StageMethod::Traffic),
            (None, None) => (Role::Unknown, StageMethod::None),
        };
        let is_of_periods = lane.is_some_and(|lane| lane.is_of_periods);
        let (layers, layers_method, layers_confidence) =
            if is_of_periods { (None, LayerMethod::None, 0.0) } else { layer_count(lane) };
        let regions = facts.regions.process_id.iter().filter(|p| **p == process).count();
        let stage = Stage {
            stage_id: 0,
            stage: 0,
            role,
            pp_rank: title.pp,
            tp_rank: title.tp,
            process_id: process,
            device_id: lane.and_then(|lane| lane.device_id),
            name,
            kernels: lane.map_or(0, |lane| lane.kernels),
            method,
            regions: i32::try_from(regions).ok().filter(|n| *n > 0),
            layers,
            layers_method,
            layers_confidence,
            kv_regions: None,
            regions_per_layer: None,
            layers_check: if is_of_periods { LayersCheck::Periods } else { LayersCheck::Unknown },
            layer_median_ns: None,
        };
        found.push((title, StageWork { row: stage, lane, posts, resolution: LayerResolution::None }));
    }
    rank_by_traffic(&mut found);
    let first = first_ranks(&found, posts);
    let first_of = |stage: &StageWork| first.get(&stage.row.process_id).copied();
    found.sort_by_key(|(_, stage)| {
        (stage.row.role, stage.row.pp_rank, first_of(stage), stage.row.tp_rank, stage.row.process_id)
    });
    let mut stages: Vec<StageWork> = found.into_iter().map(|(_, stage)| stage).collect();
    let mut ids: BTreeMap<Option<i64>, i32> = BTreeMap::new();
    for (id, stage) in (0..).zip(&mut stages) {
        stage.row.stage_id = id;
        stage.row.stage = *ids.entry(first_of(stage)).or_insert(id);
    }
    resolve(facts, &mut stages);
    stages
}

/// What processes that carry no KV themselves do, by whom they tell that it was carried, or who tells them: the receiver tells a
/// stage whose KV it has read, or registers with one that is to write; a stage tells the receiver what it wrote.
fn roles_by_messages(facts: &Facts, posts: &BTreeMap<i64, Vec<Post>>) -> BTreeMap<i64, Role> {
    let pulls = |owner: i64, post: &Post| post.by != owner || post.pulled;
    let every = || posts.iter().flat_map(|(owner, posts)| posts.iter().map(move |post| (*owner, post)));
    let pullers: BTreeSet<i64> = every().filter(|(owner, post)| pulls(*owner, post)).map(|(_, post)| post.by).collect();
    let owners: BTreeSet<i64> = every().filter(|(_, post)| !post.pulled).map(|(owner, _)| owner).collect();
    let (names, notifs) = (AgentNames::of(facts), &facts.notifs);
    let mut found = BTreeMap::new();
    for row in 0..notifs.time_ns.len() {
        let process = notifs.process_id[row];
        if pullers.contains(&process) || owners.contains(&process) {
            continue;
        }
        let is_sent = *notifs.direction[row] == NotifDirection::Sent;
        if is_registration(&notifs.message[row]) {
            found.insert(process, if is_sent { Role::Decode } else { Role::Prefill });
            continue;
        }
        let Some(peer) = notifs.peer[row].as_deref().and_then(|name| names.at(name, notifs.time_ns[row])) else {
            continue;
        };
        // A worker that serves both ways tells nothing of who it talks to.
        let role = match (is_sent, pullers.contains(&peer), owners.contains(&peer)) {
            (false, true, false) => Role::Prefill,
            (_, false, true) => Role::Decode,
            _ => continue,
        };
        found.entry(process).or_insert(role);
    }
    found
}

/// Of each process the first rank of its stage.
fn first_ranks(found: &[(Title, StageWork)], posts: &BTreeMap<i64, Vec<Post>>) -> BTreeMap<i64, i64> {
    let mut requests: BTreeMap<i64, BTreeSet<&str>> = BTreeMap::new();
    for (owner, post) in posts.iter().flat_map(|(owner, posts)| posts.iter().map(move |post| (*owner, post))) {
        let Some(request) = post.request.as_deref() else { continue };
        requests.entry(owner).or_default().insert(request);
        requests.entry(post.by).or_default().insert(request);
    }
    let process = |(title, stage): &(Title, StageWork)| ranks::Process {
        id: stage.row.process_id,
        role: stage.row.role,
        title: *title,
        pp: stage.row.pp_rank,
        requests: requests.get(&stage.row.process_id).cloned().unwrap_or_default(),
    };
    ranks::first_of_stage(&found.iter().map(process).collect::<Vec<_>>())
}

/// Holds the number of layers against what else is known of it.
fn resolve(facts: &Facts, stages: &mut [StageWork]) {
    let layers = |stage: &StageWork| stage.row.layers.and_then(|n| u32::try_from(n).ok());
    // A stage has a process for each rank of tensor parallelism.
    let mut of_ranks: BTreeMap<Option<i32>, Option<u32>> = BTreeMap::new();
    for stage in stages.iter().filter(|stage| stage.is_prefill()) {
        of_ranks.entry(stage.row.pp_rank).or_insert(layers(stage));
    }
    let is_pipeline = of_ranks.len() > 1 && !of_ranks.contains_key(&None);
    let all = of_ranks.into_values().try_fold(0u32, |sum, n| sum.checked_add(n?)).filter(|_| is_pipeline);
    let decode: Vec<u32> = stages.iter().filter(|stage| stage.row.role == Role::Decode).filter_map(layers).collect();
    let is_whole_model = all.is_some_and(|all| decode.contains(&all));
    for stage in stages {
        let Some(own) = layers(stage) else { continue };
        let regions = lanes::regions(facts, stage.row.process_id).unwrap_or(0);
        let of_model = stage.is_prefill() && is_whole_model || all == Some(own) && stage.row.role == Role::Decode;
        stage.resolution =
            if stage.row.layers_method == LayerMethod::Nvtx || regions == own || regions == 2 * own || of_model {
                LayerResolution::Layer
            } else if regions > 2 * own && regions.is_multiple_of(own) {
                LayerResolution::Set
            } else {
                LayerResolution::None
            };
    }
}

/// Every process that a row names, with its title: empty where the recording lacks its row of `processes`.
fn processes(facts: &Facts, lanes: &BTreeMap<i64, Lane>, posts: &BTreeMap<i64, Vec<Post>>) -> BTreeMap<i64, String> {
    let mut titles: BTreeMap<i64, String> =
        lanes.keys().chain(posts.keys()).map(|process| (*process, String::new())).collect();
    titles.extend(facts.processes.process_id.iter().copied().zip(facts.processes.name.iter().cloned()));
    titles
}

/// Where titles name no PP rank, the order in which the stages first compute: data flows down the pipeline. Only stages
/// that send to or receive from each other form one; without that they may be replicas.
fn rank_by_traffic(found: &mut [(Title, StageWork)]) {
    let mut prefill: Vec<usize> = (0..found.len()).filter(|i| found[*i].1.row.role == Role::Prefill).collect();
    if prefill.len() < 2 || prefill.iter().any(|i| found[*i].0.pp.is_some()) {
        return;
    }
    let first_pass = |i: usize| found[i].1.lane.and_then(|lane| lane.passes.first()).map(|pass| pass.span.0);
    let is_piped = |i: usize| found[i].1.lane.is_some_and(|lane| !lane.p2p.is_empty());
    if prefill.iter().any(|i| first_pass(*i).is_none() || !is_piped(*i)) {
        return;
    }
    prefill.sort_by_key(|i| first_pass(*i));
    for (rank, i) in prefill.into_iter().enumerate() {
        found[i].1.row.pp_rank = i32::try_from(rank).ok();
        found[i].1.row.method = StageMethod::Traffic;
    }
}

/// Holds the number of layers against the regions that hand-offs touch.
pub fn check(stages: &mut [StageWork], known: &held_layers::RegionLayerMap) {
    for stage in stages {
        let Some(kv) = known.kv.get(&stage.row.process_id) else { continue };
        let layers = known.layers.get(&stage.row.process_id);
        let regions = known.regions.get(&stage.row.process_id).copied().unwrap_or(kv.len());
        stage.row.kv_regions = i32::try_from(regions).ok();
        stage.row.regions_per_layer =
            layers.filter(|_| regions == kv.len()).and_then(|own| i32::try_from(own.each).ok());
        if stage.row.layers.is_some() {
            stage.row.layers_check = match (layers, stage.lane.is_some_and(|lane| lane.is_by_regions)) {
                // Layers that share a region in no way that shows do not contradict their number.
                (None, _) if kv.len() == 1 => LayersCheck::Unknown,
                // A row of a list may be of a layer of each of several groups.
                (None, _)
                    if known.prepared.contains(&stage.row.process_id) && is_multiple(stage.row.layers, kv.len()) =>
                {
                    LayersCheck::Unknown
                }
                (None, _) => LayersCheck::Differ,
                (Some(_), true) => LayersCheck::Decided,
                (Some(_), false) => LayersCheck::Agree,
            };
        }
    }
}

fn is_multiple(layers: Option<i32>, rows: usize) -> bool {
    layers.and_then(|layers| usize::try_from(layers).ok()).is_some_and(|layers| layers.is_multiple_of(rows))
}

/// Layers of a forward pass: the most frequent count among its passes.
fn layer_count(lane: Option<&Lane>) -> (Option<i32>, LayerMethod, f64) {
    let counts: Vec<usize> = lane.iter().flat_map(|lane| &lane.passes).map(|pass| pass.layers.len()).collect();
    let mut by_count: BTreeMap<usize, usize> = BTreeMap::new();
    for count in &counts {
        *by_count.entry(*count).or_default() += 1;
    }
    if let Some((layers, passes)) = by_count.into_iter().max_by_key(|(layers, passes)| (*passes, *layers)) {
        #[expect(clippy::cast_precision_loss, reason = "counts of passes are far below 2^52")]
        let confidence = passes as f64 / counts.len() as f64;
        let method = lane.and_then(method).unwrap_or(LayerMethod::KernelSequence);
        return (i32::try_from(layers).ok(), method, confidence);
    }
    (None, LayerMethod::None, 0.0)
}

/// How most layers of its passes were found.
fn method(lane: &Lane) -> Option<LayerMethod> {
    let mut counts: BTreeMap<LayerMethod, usize> = BTreeMap::new();
    for layer in lane.passes.iter().flat_map(|pass| &pass.layers) {
        *counts.entry(layer.method).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(method, count)| (*count, method.text())).map(|(method, _)| method)
}

/// The processes of prefill, with the device of each.
#[must_use]
pub fn prefill_devices(stages: &[StageWork]) -> Vec<(i64, Option<i32>)> {
    let prefill = stages.iter().filter(|stage| stage.is_prefill());
    prefill.map(|stage| (stage.row.process_id, stage.row.device_id)).collect()
}

/// The table.
#[must_use]
pub fn table(stages: &[StageWork]) -> Stages {
    let mut table = Stages::default();
    for stage in stages {
        table.push(stage.row.clone());
    }
    table
}

/// Fills in each stage's median layer time over the requests' chunks.
pub fn layer_medians(stages: &mut Stages, layers: &Layers) {
    let mut by_stage: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for row in 0..layers.len() {
        by_stage.entry(layers.stage_id[row]).or_default().push(layers.dur_ns[row]);
    }
    for row in 0..stages.len() {
        stages.layer_median_ns[row] = by_stage.get_mut(&stages.stage_id[row]).map(|times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
    }
}
