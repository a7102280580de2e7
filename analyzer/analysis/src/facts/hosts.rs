//! Rows of one of several hosts: times on its reference's clock, ids of its own.

use kvpath_schema::table::Columns as _;

use super::Facts;
use crate::clocks::{HostClock, rows};
use crate::error::LoadError;

impl Facts {
    /// Adds the rows of another host.
    pub(super) fn append(&mut self, other: Self) {
        // All are named, so that a new table is not forgotten.
        let Self {
            processes,
            agents,
            calls,
            regions,
            prepared,
            transfers,
            notifs,
            spans,
            // These take rows of all hosts, or are set apart there.
            descriptors: _,
            nvtx: _,
            device_copies: _,
            host_copies: _,
            received: _,
            continued: _,
            presumed: _,
            others: _,
            purposes: _,
        } = other;
        self.processes.append(processes);
        self.agents.append(agents);
        self.calls.append(calls);
        self.regions.append(regions);
        self.prepared.append(prepared);
        self.transfers.append(transfers);
        self.notifs.append(notifs);
        self.spans.append(spans);
    }

    /// Moves all times of a host's rows to the clock of its reference, and makes its ids differ from those of other hosts.
    /// Durations follow their ends, so what touched or overlapped still does.
    ///
    /// # Errors
    /// An id that no recorder gives.
    pub(super) fn settle(&mut self, host: &HostClock) -> Result<(), LoadError> {
        self.give_ids(host)?;
        // All are named, so that a new table is not forgotten.
        let Self {
            processes,
            agents,
            calls,
            regions,
            prepared,
            transfers,
            notifs,
            spans,
            // These take rows of all hosts, or are set apart there.
            descriptors: _,
            nvtx: _,
            device_copies: _,
            host_copies: _,
            received: _,
            continued: _,
            presumed: _,
            others: _,
            purposes: _,
        } = self;
        let time = |t: &mut i64| *t = host.time(*t);
        let times = |column: &mut Vec<i64>| column.iter_mut().for_each(time);
        let optional = |column: &mut Vec<Option<i64>>| column.iter_mut().flatten().for_each(time);
        open_spans(host, &mut regions.time_ns, &mut regions.dur_ns);
        open_spans(host, &mut spans.start_ns, &mut spans.dur_ns);
        optional(&mut processes.start_ns);
        optional(&mut processes.end_ns);
        times(&mut agents.time_ns);
        times(&mut calls.start_ns);
        optional(&mut calls.end_ns);
        times(&mut prepared.time_ns);
        times(&mut notifs.time_ns);
        for (made, dur) in transfers.made_ns.iter_mut().zip(&mut transfers.make_dur_ns) {
            let start = made.unwrap_or(0);
            if let (Some(_), Some(dur)) = (&made, dur) {
                *dur = host.time(start.saturating_add(*dur)).saturating_sub(host.time(start));
            }
            *made = made.map(|made| host.time(made));
        }
        for column in [
            &mut transfers.posted_ns,
            &mut transfers.post_end_ns,
            &mut transfers.last_pending_poll_ns,
            &mut transfers.done_poll_ns,
            &mut transfers.released_ns,
        ] {
            optional(column);
        }
        Ok(())
    }

    fn give_ids(&mut self, host: &HostClock) -> Result<(), LoadError> {
        let ids = |table: &'static str, column: &'static str, ids: &mut Vec<i64>| -> Result<(), LoadError> {
            ids.iter_mut().try_for_each(|id| {
                *id = rows::own(table, column, Some(host), *id)?;
                Ok(())
            })
        };
        ids("processes", "process_id", &mut self.processes.process_id)?;
        ids("nixl_agents", "process_id", &mut self.agents.process_id)?;
        ids("nixl_calls", "process_id", &mut self.calls.process_id)?;
        ids("nixl_regions", "process_id", &mut self.regions.process_id)?;
        ids("nixl_prepared", "process_id", &mut self.prepared.process_id)?;
        ids("nixl_transfers", "process_id", &mut self.transfers.process_id)?;
        ids("nixl_transfers", "transfer_id", &mut self.transfers.transfer_id)?;
        ids("nixl_notifs", "process_id", &mut self.notifs.process_id)?;
        for id in self.processes.parent_process_id.iter_mut().flatten() {
            *id = rows::own("processes", "parent_process_id", Some(host), *id)?;
        }
        for (table, column) in
            [("nixl_notifs", &mut self.notifs.transfer_id), ("nixl_calls", &mut self.calls.transfer_id)]
        {
            for id in column.iter_mut().flatten() {
                *id = rows::own(table, "transfer_id", Some(host), *id)?;
            }
        }
        Ok(())
    }
}

fn open_spans(host: &HostClock, starts: &mut [i64], durations: &mut [Option<i64>]) {
    for (start, dur) in starts.iter_mut().zip(durations) {
        let end = dur.map(|dur| host.time(start.saturating_add(dur)));
        *start = host.time(*start);
        *dur = end.map(|end| end.saturating_sub(*start));
    }
}
