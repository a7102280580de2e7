//! Tables that the analyzer computes from the raw ones.

use crate::cell::Name;

crate::define_values! {
    /// What a process does for requests; stages are in this order.
    Role {
        /// It computes the KV cache of prompts.
        Prefill = "prefill",
        /// It generates tokens from that.
        Decode = "decode",
        /// Neither its title nor its traffic tells.
        Unknown = "unknown",
    }
}

crate::define_values! {
    /// How the role and rank of a stage were found.
    StageMethod {
        /// By the title of the process.
        Title = "title",
        /// By the direction of its traffic.
        Traffic = "traffic",
        /// By both, which agree.
        TitleAndTraffic = "title+traffic",
        /// Not at all.
        None = "none",
    }
}

crate::define_values! {
    /// How layers were found.
    LayerMethod {
        /// Ranges of the program name them.
        Nvtx = "nvtx",
        /// Nodes of a CUDA graph keep the layer in which they first ran.
        Graph = "graph",
        /// By kernels that run once in each layer.
        KernelSequence = "kernel_sequence",
        /// None was found.
        None = "none",
    }
}

crate::define_values! {
    /// Whether the KV regions and the layers of a stage agree.
    LayersCheck {
        /// There are one or two regions for each layer that kernels show by themselves.
        Agree = "agree",
        /// Kernels alone did not tell how many layers there are, and the number of regions chose.
        Decided = "decided",
        /// There are several regions, and neither one nor two a layer; or one that hand-offs or a prepared list show to have another
        /// number of parts.
        Differ = "differ",
        /// What repeats in a pass holds several layers, as the kernels that mix tokens (attention, scans of states) show. How many
        /// is not known, so there is no `layers`, and each row of `layers` is such a period.
        Periods = "periods",
        /// One of them is not known; or layers share a region, and neither hand-offs nor a prepared list show a part for each.
        Unknown = "unknown",
    }
}

crate::define_values! {
    /// What a row of `layers` is.
    LayerResolution {
        /// One layer of the model: something else than kernels confirms how many there are (registered regions, one or two a layer;
        /// NVTX; the decode worker runs as many as all stages together), and its pass has that many.
        Layer = "layer",
        /// Several layers: there are three or more regions for each.
        Set = "set",
        /// Block `layer` of its pass; what it is in the model is not known.
        None = "none",
    }
}

crate::define_values! {
    /// How requests were told apart.
    RequestMethod {
        /// By the text of notifications.
        Notif = "notif",
        /// By activity.
        Activity = "activity",
        /// By what its client says.
        Client = "client",
    }
}

crate::define_values! {
    /// What a step is.
    StepUnit {
        /// A range that PyTorch's profiler puts around a step: `ProfilerStep#7`.
        ProfilerStep = "profiler_step",
        /// A range that repeats on one thread, and in which most of its process's GPU work is launched.
        Range = "range",
        /// A forward pass (in training also a backward one), by the kernels that repeat in it.
        Pass = "pass",
    }
}

crate::define_values! {
    /// How it is known that what several processes did is one step.
    StepMethod {
        /// Nothing that was recorded connects its process with another one.
        Alone = "alone",
        /// NCCL kernels in it end together on both.
        Collectives = "collectives",
        /// Messages between stages, from the pass that made them to the one that needs them.
        Messages = "messages",
    }
}

crate::define_values! {
    /// How far a request came.
    RequestState {
        /// Its client had a token, or decode began with its KV.
        Done = "done",
        /// Its KV was handed over; whether decode began with it is not known.
        HandedOver = "handed_over",
        /// Its KV was handed over, and decode did not begin with it: its client had given it up.
        Aborted = "aborted",
        /// Its hand-off failed, or its client had an error before it was over.
        Failed = "failed",
        /// The end of its hand-off was not recorded.
        Unfinished = "unfinished",
        /// Prefill worked for it, and handed nothing over.
        Prefilled = "prefilled",
        /// Only its client tells of it.
        Asked = "asked",
    }
}

impl RequestState {
    /// Whether decode did nothing for it.
    #[must_use]
    pub const fn is_given_up(self) -> bool {
        matches!(self, Self::Aborted | Self::Failed | Self::Prefilled | Self::Asked)
    }
}

crate::define_values! {
    /// Where the ceiling of a hand-off comes from.
    CeilingMethod {
        /// It was given.
        Given = "given",
        /// The best single copy in this run.
        BestCopy = "best_copy",
        /// The best transfer in this run.
        BestTransfer = "best_transfer",
        /// There is none.
        None = "none",
    }
}

crate::define_table! {
    /// A role that a process plays on one device: a pipeline stage of prefill, or a decode worker; where several processes compute
    /// each layer together, one rank of it.
    Derived stages: Stage, Stages, sorted by [stage_id] {
        /// Id in this run: prefill stages first, by PP rank, then decode workers.
        stage_id: i32 => Plain,
        /// Stage that it is a rank of: the `stage_id` of the first of its ranks, which is its own where it has no other. Ranks of
        /// tensor, context and expert parallelism are of one stage: they compute the same layers of the same passes together.
        stage: i32 => Plain,
        /// What it does.
        role: Role => Dict,
        /// Pipeline-parallel rank, from the title or the direction of its traffic; null if unknown.
        pp_rank: Option<i32> => Plain,
        /// Tensor-parallel rank, from the title; null if the title has none.
        tp_rank: Option<i32> => Plain,
        /// Its process: `processes.process_id` + number of its host * 2^48.
        process_id: i64 => Plain,
        /// GPU on which it ran kernels, as in `kernels`: in recordings of before 2026-12 0 of two processes may be two GPUs, which
        /// `handoffs.same_gpu` can tell. Null without GPU records.
        device_id: Option<i32> => Plain,
        /// Process title.
        name: String => Plain,
        /// How role and rank were found.
        method: StageMethod => Dict,
        /// Kernels recorded.
        kernels: i64 => Plain,
        /// Memory regions registered with NIXL, if that was recorded; engines register one or two a layer.
        regions: Option<i32> => Plain,
        /// Layers that a forward pass runs here; null if no kernels show any. `layers.layer_resolution` says whether anything
        /// else confirms it.
        layers: Option<i32> => Plain,
        /// How `layers` was found.
        layers_method: LayerMethod => Dict,
        /// Share of the forward passes whose layer count equals `layers`, 0 to 1.
        layers_confidence: f64 => Plain,
        /// Registered regions that hold KV, by what hand-offs touch: all of those on the GPU (of all, if none is), or one or two a
        /// layer of them. Null where not all that is touched was recorded, or more was registered and nothing tells which is KV.
        kv_regions: Option<i32> => Plain,
        /// KV regions a layer: 1, or 2 where K and V lie apart. By `layers`; without kernels of this process, as in all others of
        /// the run. Null where not known: several layers share a region, or have more than two.
        regions_per_layer: Option<i32> => Plain,
        /// Whether `kv_regions`, or the parts of them that a prepared list or hand-offs show, and `layers` agree.
        layers_check: LayersCheck => Dict,
        /// Median time of a layer over the chunks of all requests, ns.
        layer_median_ns: Option<i64> => Plain,
    }
}

crate::define_table! {
    /// A request, told apart by its notif text, else by activity.
    Derived requests: Request, Requests, sorted by [request] {
        /// Number in order of start, from 0.
        request: i32 => Plain,
        /// Id by the serving engine; null where the recording holds none.
        request_id: Option<String> => Plain,
        /// How it was told apart.
        method: RequestMethod => Dict,
        /// How far it came.
        state: RequestState => Dict,
        /// When its client sent it, ns; null if no client's span is known.
        sent_ns: Option<i64> => Plain,
        /// When its first token was at the client, ns; null where that is not known.
        first_token_ns: Option<i64> => Plain,
        /// First recorded activity of any prefill stage for it, ns; where there is none, when its client sent it.
        start_ns: i64 => Plain,
        /// End of the last prefill chunk on the last stage, ns; null without GPU records.
        prefill_end_ns: Option<i64> => Plain,
        /// End of its last hand-off (last copy, else the poll or notif that showed completion; where decode then brings the KV into
        /// its own layout, the end of that), ns; null if none seen.
        handoff_end_ns: Option<i64> => Plain,
        /// Start of the first decode kernel after the last hand-off, of whichever rank, ns; null without GPU records of a decode worker, and where
        /// that kernel is of a later request.
        decode_start_ns: Option<i64> => Plain,
        /// From `start_ns` to `prefill_end_ns`, ns.
        prefill_ns: Option<i64> => Plain,
        /// From `prefill_end_ns` to `handoff_end_ns`, ns: what the hand-off adds after compute.
        handoff_exposed_ns: Option<i64> => Plain,
        /// From the first sign of any hand-off of it (make, else post, else copy) to `handoff_end_ns`, ns, hidden behind
        /// compute or not.
        handoff_ns: Option<i64> => Plain,
        /// Prefill chunks on the first stage.
        chunks: Option<i32> => Plain,
        /// KV bytes handed off by all stages.
        handoff_bytes: Option<i64> => Plain,
        /// Stages whose hand-off of this request was seen.
        handoffs: i32 => Plain,
        /// `true` if a hand-off that was begun is not wholly recorded, or a stage's records end before it.
        incomplete: bool => Plain,
        /// `true` if another request's prefill overlaps this one's: which forward pass is whose is then told by the order
        /// of their hand-offs alone, and a batch may hold both.
        overlaps: bool => Plain,
    }
}

crate::define_table! {
    /// A step, in a run without hand-offs: what a serving engine or a training program does again and again.
    Derived steps: Step, Steps, sorted by [request] {
        /// Number in order of start: `request` of its rows in `chunks`, `layers` and `bubbles`, and in `paths` where no client tells of
        /// requests. From 0, or from the number of requests on that clients tell of.
        request: i32 => Plain,
        /// Text of the range; null of a pass.
        name: Option<String> => Plain,
        /// What it is.
        unit: StepUnit => Dict,
        /// How it is known which processes took part.
        method: StepMethod => Dict,
        /// How sure that is, 0 to 1: of ranges that repeat the share of the GPU work that is launched in them, of passes the share
        /// that have the usual number of layers; of several processes, times the share of what connects them that agrees.
        confidence: f64 => Plain,
        /// Start of the first of its ranges, or its first kernel, ns.
        start_ns: i64 => Plain,
        /// End of the last of its ranges, or its last kernel, ns. What is launched in a range may run after it.
        end_ns: i64 => Plain,
        /// Its length, ns.
        dur_ns: i64 => Plain,
        /// Process of the first stage in it.
        process_id: i64 => Plain,
        /// Processes that took part.
        processes: i32 => Plain,
        /// Forward passes (chunks, micro-batches) in it on the stage with the most, of those that have as many layers as most; null where
        /// none were found. In training, kernels do not tell them from backward passes and parts of either.
        chunks: Option<i32> => Plain,
        /// `true` if GPU work of it is not on record: calls in it launched what no record shows, or graphs of which only the whole is
        /// recorded. Then nothing is said to be idle.
        incomplete: bool => Plain,
    }
}

crate::define_table! {
    /// One prefill chunk (forward pass) of a request on one stage; in a run without hand-offs of a step.
    Derived chunks: Chunk, Chunks, sorted by [request, stage_id, chunk] {
        /// `requests.request`, or `steps.request`.
        request: i32 => Plain,
        /// `stages.stage_id`.
        stage_id: i32 => Plain,
        /// Number within the request and stage, from 0.
        chunk: i32 => Plain,
        /// First kernel, ns.
        start_ns: i64 => Plain,
        /// From first to last kernel, ns.
        dur_ns: i64 => Plain,
        /// Time in which at least one compute kernel ran, ns.
        compute_ns: i64 => Plain,
        /// Time in which an NCCL send or receive ran, ns; includes waiting for the peer.
        p2p_ns: i64 => Plain,
        /// Time of `p2p_ns` in which no compute kernel ran, ns.
        p2p_exposed_ns: i64 => Plain,
        /// Time without any kernel between this chunk's first and last kernel, ns.
        idle_ns: i64 => Plain,
        /// Kernels.
        kernels: i64 => Plain,
        /// Layers (or blocks, see `layers.layer_resolution`) found in it; null if no layer pattern was found.
        layers: Option<i32> => Plain,
        /// Process of the stage: its kernels are those of `kernels` with this `process_id` that start from `start_ns` to `end_ns`.
        process_id: i64 => Plain,
        /// GPU of the stage; null if it is not known.
        device_id: Option<i32> => Plain,
        /// End of the last kernel, ns.
        end_ns: i64 => Plain,
        /// Share of the pass's tokens that are the request's, 0 to 1: below 1, the batch holds other requests too, and its times
        /// are those of the whole batch. Null where grids of kernels and bytes of hand-offs do not tell.
        share: Option<f64> => Plain,
    }
}

crate::define_table! {
    /// A stage's time inside a request's prefill window (from the request's first kernel on any stage to its last), and
    /// how much of it the stage did not compute. In a run without hand-offs: inside a step.
    Derived bubbles: Bubble, Bubbles, sorted by [request, stage_id] {
        /// `requests.request`, or `steps.request`.
        request: i32 => Plain,
        /// `stages.stage_id`.
        stage_id: i32 => Plain,
        /// Length of the window, ns; null if a stage's records of the request are cut or absent, for then its end is not
        /// known, or if GPU work of the step is not on record.
        window_ns: Option<i64> => Plain,
        /// Time in it in which a compute kernel ran on this stage, ns.
        compute_ns: i64 => Plain,
        /// The rest of the window, ns: the bubble.
        idle_ns: Option<i64> => Plain,
        /// Part of `idle_ns` in which an NCCL send or receive ran, ns: waiting for, or moving data to, another stage.
        p2p_wait_ns: Option<i64> => Plain,
        /// Part of `idle_ns` in which another NCCL kernel (a collective) ran, ns.
        collective_wait_ns: Option<i64> => Plain,
        /// Time in which an NCCL send or receive ran, hidden behind compute or not, ns.
        p2p_ns: i64 => Plain,
        /// Chunks of the request on this stage.
        chunks: i32 => Plain,
        /// Median number of layers in them; null if none were found.
        layers: Option<i32> => Plain,
        /// `true` if this stage's records of the request are cut or absent: then its figures are too low.
        incomplete: bool => Plain,
        /// `true` if another request's prefill overlaps the window: then its compute is in these figures too.
        shared: bool => Plain,
    }
}

crate::define_table! {
    /// One layer of one chunk on one stage.
    Derived layers: Layer, Layers, sorted by [request, stage_id, chunk, layer] {
        /// `requests.request`, or `steps.request`.
        request: i32 => Plain,
        /// `stages.stage_id`.
        stage_id: i32 => Plain,
        /// `chunks.chunk`.
        chunk: i32 => Plain,
        /// Layer within the stage, from 0; where `layer_resolution` is not `layer`, the block's number among those of its pass.
        layer: i32 => Plain,
        /// First kernel, ns.
        start_ns: i64 => Plain,
        /// From its first kernel to the next layer's first, or to its own last for the last layer, ns.
        dur_ns: i64 => Plain,
        /// Time in which a compute kernel of it ran, ns.
        compute_ns: i64 => Plain,
        /// Kernels.
        kernels: i32 => Plain,
        /// How it was found.
        method: LayerMethod => Dict,
        /// Share of what the method tells layers by that was there, 0 to 1: of its kernels, those of which a range or a graph
        /// node tells that they are of this layer; of the kernels that run once in each layer, those that ran in it.
        confidence: f64 => Plain,
        /// What the row is.
        layer_resolution: LayerResolution => Dict,
        /// Kernels at its beginning that may as well be the end of the layer before: the sequence of kernels fits either way. 0
        /// where the program or the sequence decides; as many as a layer has where nothing shows where one begins. They are counted
        /// to this layer, whole: fused kernels that end one layer and begin the next are among them.
        seam_kernels: i32 => Plain,
        /// From its start to the end of the last of those kernels, ns; 0 without them.
        seam_ns: i64 => Plain,
    }
}

crate::define_values! {
    /// Whether all of a hand-off is known.
    Completeness {
        /// Nothing of it is known to be missing.
        Complete = "complete",
        /// Copies are missing from the recording.
        Incomplete = "incomplete",
        /// Another hand-off of the stage was open at the same time, so whose copies are whose is not known.
        Overlapping = "overlapping",
        /// A transfer of it failed and was not made again: `nixl_transfers.status` says how.
        Failed = "failed",
        /// A transfer of it was not seen to end, and its notification not to arrive.
        Unfinished = "unfinished",
    }
}

crate::define_values! {
    /// What the rate of a hand-off is explained by.
    Cause {
        /// Most bytes went in pieces below 1 MiB and the rate is below half the ceiling.
        Scattered = "scattered",
        /// Most bytes went in larger pieces.
        Contiguous = "contiguous",
        /// Neither, or the pieces, the rate or the ceiling are not known.
        Unknown = "unknown",
    }
}

crate::define_values! {
    /// Completeness and cause in one word.
    HandoffFinding {
        /// It is complete, and `cause` is the same.
        Scattered = "scattered",
        /// It is complete, and `cause` is the same.
        Contiguous = "contiguous",
        /// `completeness` is the same.
        Incomplete = "incomplete",
        /// `completeness` is the same.
        Overlapping = "overlapping",
        /// `completeness` is the same.
        Failed = "failed",
        /// `completeness` is the same.
        Unfinished = "unfinished",
        /// It is complete, and `cause` is the same.
        Unknown = "unknown",
    }
}

impl HandoffFinding {
    /// What is not complete is called that, whatever the cause.
    #[must_use]
    pub const fn of(completeness: Completeness, cause: Cause) -> Self {
        match (completeness, cause) {
            (Completeness::Incomplete, _) => Self::Incomplete,
            (Completeness::Overlapping, _) => Self::Overlapping,
            (Completeness::Failed, _) => Self::Failed,
            (Completeness::Unfinished, _) => Self::Unfinished,
            (Completeness::Complete, Cause::Scattered) => Self::Scattered,
            (Completeness::Complete, Cause::Contiguous) => Self::Contiguous,
            (Completeness::Complete, Cause::Unknown) => Self::Unknown,
        }
    }
}

crate::define_values! {
    /// How the copies between a GPU and host memory were found that belong to a hand-off.
    StagingMethod {
        /// By process, time and bytes: together they are as many as what was handed over.
        Bytes = "bytes",
        /// By process and time alone: those that follow the request's passes, and they are fewer.
        Time = "time",
    }
}

crate::define_values! {
    /// Who asks for the transfers of a hand-off.
    HandoffWay {
        /// The stage, which writes its KV into memory of the receiver.
        Push = "push",
        /// The receiver, which reads it.
        Pull = "pull",
        /// Not known: only copies were recorded.
        Unknown = "unknown",
    }
}

crate::define_table! {
    /// The hand-off of one request's KV cache from one stage to a decode worker: a row for each rank of it, and each rank of that.
    Derived handoffs: Handoff, Handoffs, sorted by [request, stage_id, peer_process_id] {
        /// `requests.request`.
        request: i32 => Plain,
        /// Sending stage: `stages.stage_id`; the receiving one if it pulled and the recording does not show from whom.
        stage_id: i32 => Plain,
        /// Receiving process, if known.
        peer_process_id: Option<i64> => Plain,
        /// Receiving device of the peer copies, as in `memcpys`.
        peer_device_id: Option<i32> => Plain,
        /// Whether sender and receiver use the same GPU, as the copies show; null without, and where they may be another hand-off's.
        same_gpu: Option<bool> => Plain,
        /// Who asks for the transfers.
        way: HandoffWay => Dict,
        /// NIXL transfers in it, failed ones among them; 0 where NIXL was not recorded.
        transfers: i64 => Plain,
        /// KV bytes: of the copies, else of the transfers, and of these too where a copy may be another hand-off's. What a failed transfer carried is not counted, nor are copies that carry
        /// activations.
        bytes: i64 => Plain,
        /// Descriptors asked for, before merging; null where NIXL was not recorded.
        made_descriptors: Option<i64> => Plain,
        /// Descriptors after NIXL merged neighbours; null where NIXL was not recorded.
        descriptors: Option<i64> => Plain,
        /// Registered regions of the sender that the descriptors of its KV touch; null where not all of them were recorded.
        regions: Option<i32> => Plain,
        /// Layers of the stage whose KV it carries, from 0, as `0-17` or `0-3,8`: those of the regions that its transfers touch.
        /// Null where not all descriptors were recorded, or it is not known which layers the regions hold (`joins`).
        layers: Option<String> => Plain,
        /// The same by the receiver's regions, in layers of the receiver: of a decode worker that runs the whole model, which layers
        /// of the model these are.
        peer_layers: Option<String> => Plain,
        /// How `layers` is known: `all` (all KV regions are touched), `one_each` (a layer has one region, in order of registration),
        /// `prepared` (a layer has one row of a list that the process prepared, `nixl_prepared`, in its order), `slots` (layers share a
        /// region in equal parts: at their distance the addresses of hand-offs repeat, which is less sure), else by what shows the
        /// order of K and V: `sizes`, `transfers` (those of single layers), `peer` (where they go in its longer list) or `engine`
        /// (as this engine registers them; or, without kernels that tell how many layers there are, vLLM's row a layer).
        layers_method: Option<Name> => Dict,
        /// Copies that carried it: peer copies, and those within a GPU that sender and receiver share; null without GPU records.
        copies: Option<i64> => Plain,
        /// Process that made the copies, of a pull the receiving one; of several the first. Null where `copies` is.
        copy_process_id: Option<i64> => Plain,
        /// Median size of a copy (else of a descriptor), bytes.
        piece_median_bytes: Option<i64> => Plain,
        /// Bytes of it that went in pieces smaller than 1.05 MB (2^20 bytes); where only the first descriptors of a list were recorded,
        /// reckoned from their share if the rest is in pieces as small on average, else null.
        small_piece_bytes: Option<i64> => Plain,
        /// First copy's start, ns.
        copy_start_ns: Option<i64> => Plain,
        /// From the first copy's start to the last one's end, ns.
        copy_span_ns: Option<i64> => Plain,
        /// Time in which at least one copy ran, ns.
        copy_busy_ns: Option<i64> => Plain,
        /// Decode's registration arrived (`PUSH_REG`), ns; null if not seen or not of this engine.
        ready_ns: Option<i64> => Plain,
        /// First make entered, ns.
        made_ns: Option<i64> => Plain,
        /// Time in make, ns.
        make_ns: Option<i64> => Plain,
        /// First post entered, ns.
        posted_ns: Option<i64> => Plain,
        /// Time in post, ns.
        post_ns: Option<i64> => Plain,
        /// Completion of the last transfer is after this, ns.
        done_after_ns: Option<i64> => Plain,
        /// Completion of the last transfer is at or before this, ns.
        done_by_ns: Option<i64> => Plain,
        /// Time between post and `done_by_ns` in which the thread that posted was off the CPU for 10 ms or more at a time, ns. Engines poll
        /// with it, and a library that moves data when it is polled (UCX over TCP or shared memory) moved none then. Null: none, or not recorded.
        poll_off_ns: Option<i64> => Plain,
        /// What it was at for the longest of it, as `critical_path.name` says it: a call, or `stopped` (by a signal or a debugger), `preempted`.
        poll_off: Option<Name> => Dict,
        /// Last notif of it arrived at decode, ns.
        notif_arrived_ns: Option<i64> => Plain,
        /// First kernel by which the receiver brings the KV into its own layout (another order, another block size), ns; null where
        /// none is recorded. KV that came together is brought over together.
        relayout_start_ns: Option<i64> => Plain,
        /// From that to the end of the last such kernel, ns.
        relayout_ns: Option<i64> => Plain,
        /// Where KV is handed over from host memory: start of the first copy that brought it there from the sender's GPU, ns; null where none
        /// is recorded, or it is not known whose it is.
        staging_out_start_ns: Option<i64> => Plain,
        /// Time from the first to the last of the copies that followed each pass, ns.
        staging_out_ns: Option<i64> => Plain,
        /// What they copied, bytes: the same KV as `bytes` again, and no part of that.
        staging_out_bytes: Option<i64> => Plain,
        /// The same of the copies from host memory to the receiver's GPU: start of the first, ns.
        staging_in_start_ns: Option<i64> => Plain,
        /// From that to the end of the last, ns.
        staging_in_ns: Option<i64> => Plain,
        /// What they copied, bytes.
        staging_in_bytes: Option<i64> => Plain,
        /// How the copies were found, whose host addresses are not recorded.
        staging_method: Option<StagingMethod> => Dict,
        /// Effective rate over `span_ns`, bytes a second.
        rate_bytes_per_s: Option<f64> => Plain,
        /// What `rate_bytes_per_s` is taken over, ns: the time in which a transfer of it was under way, each from its first
        /// copy's start to its last one's end, else from its post to its completion seen. Overlaps count once, and the time
        /// between transfers, in which the next chunk is computed, does not count.
        span_ns: Option<i64> => Plain,
        /// Ceiling, bytes a second: as given, else the best single copy or transfer between the same ends in this run.
        ceiling_bytes_per_s: Option<f64> => Plain,
        /// Where the ceiling comes from.
        ceiling_method: CeilingMethod => Dict,
        /// `completeness` where that is not `complete`, else `cause`.
        finding: HandoffFinding => Dict,
        /// Whether all of it is known.
        completeness: Completeness => Dict,
        /// What its rate is explained by; `unknown` where it is not complete.
        cause: Cause => Dict,
    }
}

crate::define_table! {
    /// What a recording covers of a process, a table each; where a process fell silent before the others.
    Derived coverage: Coverage, Coverages, sorted by [process_id, table_name] {
        /// `processes.process_id`.
        process_id: i64 => Plain,
        /// Process title.
        process: String => Plain,
        /// Raw table.
        table_name: Name => Dict,
        /// Rows.
        rows: i64 => Plain,
        /// First row's start, ns.
        first_ns: i64 => Plain,
        /// Last row's end, ns.
        last_ns: i64 => Plain,
        /// How long before the last record of the run this one ends, ns.
        ends_early_ns: i64 => Plain,
        /// `complete`, or why it is thought to have lost records.
        verdict: String => Plain,
    }
}

crate::define_table! {
    /// How a host's clock stands to that of the reference host, a window of time each; and, a row a process, what launches say
    /// of GPU times. In a run of several hosts the times of all derived tables are moved to the reference's clock. The bounds
    /// hold if within the window both clocks run at steady rates that differ by 500 ppm at most, and no message arrived before
    /// it was sent; where observations contradict that, the window is split, or the observation excluded and counted.
    Derived clocks: Clock, Clocks, sorted by [host_index, start_ns] {
        /// Host: `node=` of its segments.
        host: Name => Dict,
        /// Number of the host: 0 is the reference, the others by name. Ids of its rows in derived tables are the raw ones +
        /// `host_index` * 2^48.
        host_index: i32 => Plain,
        /// Host whose clock it is compared with: the one with most rows (by name, if several have), or, for hosts that cannot be
        /// related to that, the one with most rows among them.
        reference: Name => Dict,
        /// The process, for `gpu_causality`; else null.
        process_id: Option<i64> => Plain,
        /// Start of the window, ns, as the derived tables show it; null where no record tells.
        start_ns: Option<i64> => Plain,
        /// End of the window, ns, as the derived tables show it; null where no record tells.
        end_ns: Option<i64> => Plain,
        /// What this host's clock shows more than the reference's in the middle of the window, ns; null if not known.
        offset_ns: Option<i64> => Plain,
        /// How much faster it runs, billionths; null if not known.
        drift_ppb: Option<i64> => Plain,
        /// Nowhere in the window is a time moved to the reference's clock wrong by more than this, ns; null if there is no such
        /// bound.
        eps_ns: Option<i64> => Plain,
        /// The least that `offset_ns` can be, ns; null if it is not bounded. For `gpu_causality` null.
        offset_min_ns: Option<i64> => Plain,
        /// The most that `offset_ns` can be, ns; null if it is not bounded. For `gpu_causality`: the smallest time from a launch's
        /// entry to its kernel's start; below 0, GPU times are too early by as much at least.
        offset_max_ns: Option<i64> => Plain,
        /// Messages (a probe is two) in the window that bound it; for `gpu_causality` kernels with their launch.
        observations: i64 => Plain,
        /// Messages in the window that contradict the others beyond any drift and were left out; for `gpu_causality` kernels that
        /// start before their launch.
        violations: i64 => Plain,
        /// Other hosts through which the offset comes out outside of the bounds found here (the triangle does not close).
        open_triangles: i32 => Plain,
        /// `reference` (nothing to find), `probes`, `messages` (NIXL notifications), `probes+messages`, `between` (two windows
        /// that one line does not fit: either may hold), `outside` (before the first message or after the last: the next window drawn
        /// on), `one_way` (messages in one direction only), `none` (no message), or `gpu_causality`.
        method: Name => Dict,
        /// Host through which it was related; then the errors of both parts are summed. Null if directly.
        via: Option<Name> => Dict,
    }
}
