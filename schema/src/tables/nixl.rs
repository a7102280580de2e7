//! NIXL, and the other libraries that move KV, as their callers use them. Names follow NIXL: agent, region, descriptor, handle,
//! notif.

use crate::cell::{Bytes, Name};

crate::define_values! {
    /// Which library moves the data.
    Library (Nixl where absent) {
        /// NIXL.
        Nixl = "nixl",
        /// Mooncake's transfer engine.
        Mooncake = "mooncake",
    }
}

crate::define_values! {
    /// How the recorder knows where a library keeps what it read.
    LayoutSource {
        /// The build is in the recorder's table.
        Table = "table",
        /// `kvpath-agent learn` has measured it with this very build.
        Measured = "measured",
        /// The build is in no table: its own text names a release, whose layout was taken. The first posts, held against each other,
        /// did not contradict it.
        Assumed = "assumed",
    }
}

crate::define_values! {
    /// Which way the data of a transfer goes.
    XferOp {
        /// A push: the KV is the poster's.
        Write = "WRITE",
        /// A pull: the KV is the peer's.
        Read = "READ",
    }
}

crate::define_values! {
    /// What became of a transfer; else its status is the name of NIXL's error, or `failed` for Mooncake, which has no names.
    XferStatus {
        /// It was seen to end.
        Done = "done",
        /// It was not seen to end.
        Pending = "pending",
        /// It was made only.
        NotPosted = "not_posted",
    }
}

crate::define_values! {
    /// Which end of a notification a row is of.
    NotifDirection {
        /// It was sent.
        Sent = "sent",
        /// It arrived in the receiving process.
        Arrived = "arrived",
        /// The receiving program got it from `getNotifs`.
        Taken = "taken",
    }
}

crate::define_values! {
    /// How the caller gave a prepared list.
    PreparedForm {
        /// Blocks at a constant distance in one element (NIXL 1.5 and later): a row is an element.
        Strided = "strided",
        /// An element a block: a row is a run of them at a constant distance, as elements that were looked at show. Runs that follow each other without a gap
        /// are one row.
        Blocks = "blocks",
    }
}

crate::define_values! {
    /// A function of a NIXL agent, as NIXL names it.
    CallName {
        /// Takes in what a peer says of itself: its memory, and how to reach it. Before this, nothing can be handed over to it.
        LoadRemoteMd = "loadRemoteMD",
        /// Connects to a peer, rather than at the first transfer.
        MakeConnection = "makeConnection",
        /// Asks a peer, or a store of metadata, for what the peer says of itself. It may come later, on another thread.
        FetchRemoteMd = "fetchRemoteMD",
        /// Sends what the agent says of itself to a peer or a store.
        SendLocalMd = "sendLocalMD",
        /// Forgets a peer.
        InvalidateRemoteMd = "invalidateRemoteMD",
        /// Registers memory: `nixl_regions` says which.
        RegisterMem = "registerMem",
        /// Deregisters memory.
        DeregisterMem = "deregisterMem",
        /// Prepares a list of blocks: `nixl_prepared` says which.
        PrepXferDlist = "prepXferDlist",
        /// Makes a request of prepared lists. Only where it failed: else it is a row of `nixl_transfers`.
        MakeXferReq = "makeXferReq",
        /// Makes a request of plain lists. Only where it failed.
        CreateXferReq = "createXferReq",
        /// Releases a request. Only where NIXL refused it: then the transfer goes on, and callers try again.
        ReleaseXferReq = "releaseXferReq",
    }
}

crate::define_table! {
    /// A call of a NIXL agent beside its transfers: one that makes a peer or memory known or forgets it, which costs time before the
    /// first hand-off; and one that failed to make or to release a request.
    Raw nixl_calls: NixlCall, NixlCalls, sorted by [start_ns] {
        /// When it was entered, ns.
        start_ns: i64 => Delta,
        /// When it returned, ns; null if that was not seen.
        end_ns: Option<i64> => Delta,
        /// Process that made it.
        process_id: i64 => Dict,
        /// Thread that made it.
        tid: i32 => Dict,
        /// Address of the agent object.
        agent_ptr: u64 => Dict,
        /// Name of the agent, if its making was seen.
        agent: Option<Name> => Dict,
        /// The function.
        call: Name => Dict of CallName,
        /// Name of the peer: as the call gives it, of `loadRemoteMD` as it tells when it has succeeded. Null where there is none (an
        /// agent's own memory, `sendLocalMD`, `makeXferReq`) or it was not read.
        peer: Option<Name> => Dict,
        /// What it returned: `NIXL_SUCCESS`, `NIXL_IN_PROG` or the name of NIXL's error; null if its return was not seen.
        status: Option<Name> => Dict,
        /// The transfer of a refused release, where its post was seen: `nixl_transfers.transfer_id`.
        transfer_id: Option<i64> => Delta,
    }
}

crate::define_table! {
    /// An agent of NIXL, seen when it was made; or an engine of Mooncake, seen when it first registered memory or transferred.
    Raw nixl_agents: NixlAgent, NixlAgents, sorted by [time_ns] {
        /// When its constructor was entered, ns; of Mooncake: of the first call that was seen with this name.
        time_ns: i64 => Delta,
        /// Its process.
        process_id: i64 => Dict,
        /// Address of the agent object in that process.
        agent_ptr: u64 => Dict,
        /// Its name, which peers use; of Mooncake `HOST:PORT`.
        name: Name => Dict,
        /// Which library it is of; recordings before this column hold NIXL alone.
        library: Name => Dict of Library,
    }
}

crate::define_table! {
    /// A memory region registered for transfers; serving engines register one or two a layer.
    Raw nixl_regions: NixlRegion, NixlRegions, sorted by [time_ns] {
        /// When `registerMem` (Mooncake: `registerLocalMemory` or its batch) was entered, ns.
        time_ns: i64 => Delta,
        /// Time in `registerMem` for the whole list, ns; null if its return was not seen. Mooncake's is not probed: always null,
        /// and a region whose registration failed is there too.
        dur_ns: Option<i64> => Split,
        /// Process that registered it.
        process_id: i64 => Dict,
        /// Address of the agent object.
        agent_ptr: u64 => Dict,
        /// Name of the agent, if its making was seen.
        agent: Option<Name> => Dict,
        /// Position in its process's order of registration, from 0.
        region: i32 => Delta,
        /// First byte.
        addr: u64 => Delta,
        /// Size, bytes.
        bytes: i64 => Dict,
        /// Device as the process numbers it (0 for DRAM). Of Mooncake as its caller names it, else 0: engines mostly leave it open.
        device_id: i64 => Dict,
        /// `DRAM`, `VRAM`, `BLK`, `OBJ`, `FILE` or a number. Of Mooncake as its caller names it; where it is left open, by the
        /// process's memory map: what the CPU may not read is `VRAM` (`unknown` if the process had ended).
        memory: Name => Dict,
        /// Which library it is registered with; recordings before this column hold NIXL alone.
        library: Name => Dict of Library,
    }
}

crate::define_table! {
    /// One use of a NIXL request handle: from post (or make) to release; or what one `submitTransfer` of Mooncake sends one peer
    /// one way, from there to `freeBatchID`. Handle addresses are reused at once, so a transfer is (process, handle, epoch).
    Raw nixl_transfers: NixlTransfer, NixlTransfers, sorted by [transfer_id] {
        /// Id in this run and node, never reused.
        transfer_id: i64 => Delta,
        /// Process that posted it.
        process_id: i64 => Dict,
        /// Thread that posted (else made) it.
        tid: i32 => Dict,
        /// Address of the request handle (Mooncake: batch id).
        handle: u64 => Dict,
        /// How many earlier uses of this handle address the recording holds. Transfers of one batch of Mooncake follow each other.
        epoch: i64 => Delta,
        /// Address of the agent object.
        agent_ptr: u64 => Dict,
        /// Name of the posting agent, if its making was seen.
        agent: Option<Name> => Dict,
        /// Remote agent's name; null if it could not be read, or if Mooncake opened the peer before recording began.
        peer: Option<Name> => Dict,
        /// Which way the data goes.
        op: Name => Dict of XferOp,
        /// Entry of makeXferReq or createXferReq, ns; null if made before recording began, for a repeated post, and for Mooncake,
        /// which has no such call.
        made_ns: Option<i64> => Delta,
        /// Time in that call, ns.
        make_dur_ns: Option<i64> => Split,
        /// Descriptors asked for, before NIXL merged neighbours; null where not seen.
        made_descriptors: Option<i64> => Dict,
        /// Entry of postXferReq (Mooncake: `submitTransfer`), ns; null if made and never posted.
        posted_ns: Option<i64> => Delta,
        /// Return of postXferReq, ns; null if it never returned, and for Mooncake, whose return is not probed.
        post_end_ns: Option<i64> => Delta,
        /// Entry of the last getXferStatus that still said in progress, ns: the transfer ended after it was called. Null for
        /// Mooncake, whose callers poll in a loop without a pause, which is not probed.
        last_pending_poll_ns: Option<i64> => Delta,
        /// Return of the getXferStatus (or post) that first said done, ns: the transfer had ended by then. Completion lies
        /// in (`last_pending_poll_ns` or `posted_ns`, `done_poll_ns`], never at a point. Null with status `done` if that
        /// call was not recorded (polls came so often that they would have cost too much): ended by `released_ns`. Of Mooncake the
        /// entry of `freeBatchID`, which callers make as soon as they see the end.
        done_poll_ns: Option<i64> => Delta,
        /// Polls that still said in progress; null if not all of them were recorded, and for Mooncake.
        pending_polls: Option<i64> => Dict,
        /// Entry of the releaseXferReq that succeeded (Mooncake: `freeBatchID`), ns: refused ones are in `nixl_calls`.
        released_ns: Option<i64> => Delta,
        /// What became of it; anything else is NIXL's error name. `failed`: a part of Mooncake's batch failed, or it could not be
        /// submitted.
        status: Name => Dict of XferStatus,
        /// Payload, bytes; null if not read, or not all descriptors of Mooncake's were recorded.
        bytes: Option<i64> => Dict,
        /// Descriptors after NIXL merged neighbours (Mooncake: requests of the batch).
        descriptors: Option<i64> => Dict,
        /// Memory type of the local side; of Mooncake that of the regions that it lies in, null if they are not known.
        local_memory: Option<Name> => Dict,
        /// Memory type of the remote side; null for Mooncake, whose poster does not say.
        remote_memory: Option<Name> => Dict,
        /// Notif text sent with it, cut at the recorder's limit: vLLM and SGLang put the request id there.
        notif: Option<String> => Plain,
        /// Whole length of the notif, bytes; null where `notif` is.
        notif_bytes: Option<i64> => Dict,
        /// Request id that the notif names by the rules of the serving engines; null where none matches, or where the text
        /// was cut before the id ends. SQL, `report` and `path` read it from the notif: in the files it is null, but in
        /// recordings of older agents, and for Mooncake, which has no notifs: there the room that SGLang's last write of a request
        /// carries. `report` and `path` give it to the write right before as well, and to those of earlier chunks where these end in the
        /// receiver's memory where that one begins.
        request: Option<String> => Plain,
        /// Chunk of the prompt that the notif names, from 0 (SGLang); read as `request`.
        chunk: Option<i32> => Dict,
        /// Rank that the notif names as sender, `pp_rank * tp_size + tp_rank` (SGLang); read as `request`.
        sender_rank: Option<i32> => Dict,
        /// Which library moves it; recordings before this column hold NIXL alone.
        library: Name => Dict of Library,
        /// How the layout of the library that the process uses is known. Null in recordings before this column, which hold builds of the
        /// table alone, and for Mooncake.
        layout: Option<Name> => Dict of LayoutSource,
    }
}

crate::define_table! {
    /// A descriptor of a transfer (after merging). Long lists are recorded up to a limit, the rest is counted in `drops`.
    Raw nixl_descriptors: NixlDescriptor, NixlDescriptors, sorted by [transfer_id, position] {
        /// `nixl_transfers.transfer_id`.
        transfer_id: i64 => Delta,
        /// Position in the list.
        position: i32 => Delta,
        /// Local address.
        local_addr: u64 => Delta,
        /// Remote address; null if it could not be read.
        remote_addr: Option<u64> => Delta,
        /// Size, bytes.
        bytes: i64 => Dict,
        /// Local device (0 for DRAM).
        device_id: i64 => Dict,
    }
}

crate::define_table! {
    /// A row of a list that a NIXL agent prepared (`prepXferDlist`), of its own memory or of a peer's: mostly once for each peer.
    /// Engines prepare the blocks of all layers, one layer after another, so that a row is a layer's, or K or V of one, where all lie in
    /// one region too. A list is there as it was asked for: whether NIXL accepted it, and how long that took, says the row of `nixl_calls`
    /// of the same process and time.
    Raw nixl_prepared: NixlPreparedRow, NixlPrepared, sorted by [time_ns] {
        /// When `prepXferDlist` was entered, ns.
        time_ns: i64 => Delta,
        /// Process that prepared it.
        process_id: i64 => Dict,
        /// Address of the agent object.
        agent_ptr: u64 => Dict,
        /// Name of the agent, if its making was seen.
        agent: Option<Name> => Dict,
        /// Number of the list in its process, from 0.
        list: i32 => Dict,
        /// Name of the agent whose memory it is; null for the agent's own.
        peer: Option<Name> => Dict,
        /// How the caller gave the list.
        form: Name => Dict of PreparedForm,
        /// `DRAM`, `VRAM`, `BLK`, `OBJ`, `FILE` or a number.
        memory: Name => Dict,
        /// Rows of the whole list; null if not all could be counted. Those beyond the recorder's limit are counted in `drops`.
        rows: Option<i64> => Dict,
        /// Position in the list, from 0.
        row: i32 => Delta,
        /// First byte of the first block.
        addr: u64 => Delta,
        /// Size of a block, bytes.
        bytes: i64 => Dict,
        /// Device as the process numbers it (0 for DRAM).
        device_id: i64 => Dict,
        /// From the start of a block to that of the next, bytes.
        stride: i64 => Dict,
        /// Blocks.
        count: i64 => Dict,
    }
}

crate::define_table! {
    /// A NIXL notification at one of its ends.
    Raw nixl_notifs: NixlNotif, NixlNotifs, sorted by [time_ns] {
        /// When, ns: `sent`, entry of the call; `arrived`, when the backend queued it at the receiver; `taken`, when the `getNotifs`
        /// returned that handed it to the program.
        time_ns: i64 => Delta,
        /// Process at this end.
        process_id: i64 => Dict,
        /// Thread at this end.
        tid: i32 => Dict,
        /// Which end of it the row is of.
        direction: Name => Dict of NotifDirection,
        /// `transfer` (goes out when the data is there), `genNotif`, or `unknown` at the receiver.
        via: Name => Dict,
        /// The other end's agent name; null if it could not be read.
        peer: Option<Name> => Dict,
        /// Message text, cut at the recorder's limit; bytes that are not UTF-8 are replaced.
        message: String => Plain,
        /// Its bytes, cut at the same place, where they are not all UTF-8: vLLM's registrations are msgpack. Null where
        /// `message` says the same, and in recordings before this column.
        message_raw: Option<Bytes> => Plain,
        /// Whole length of the message, bytes.
        message_bytes: i64 => Dict,
        /// The transfer that carries it, where known.
        transfer_id: Option<i64> => Delta,
    }
}

crate::define_table! {
    /// What NIXL's own telemetry counted (`--with telemetry`), an agent, event and span of time each: a second account of the
    /// transfers, to hold the first against. It has no times and no requests of its own.
    Raw nixl_telemetry: NixlTelemetryRow, NixlTelemetry, sorted by [start_ns] {
        /// Start of the span, ns.
        start_ns: i64 => Delta,
        /// Its length, ns.
        dur_ns: i64 => Delta,
        /// Name of the agent.
        agent: Name => Dict,
        /// `tx_bytes`, `rx_bytes`, `tx_requests`, `rx_requests`, `mem_registered`, `mem_deregistered`, `xfer_time` (us, to when
        /// the end was polled), `post_time` (us), `dropped`, or `error` and NIXL's number of the event.
        event: Name => Dict,
        /// How often.
        count: i64 => Dict,
        /// Sum of its values: bytes, requests or us.
        value: i64 => Plain,
    }
}
