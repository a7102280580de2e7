//! What was recorded: facts and what ran, of all hosts whose clocks could be related, on the clock of one of them.

use std::collections::BTreeMap;

use kvpath_schema::table::TableDef;
use kvpath_schema::tables::clock::ClockProbes;

use crate::clocks::observe::{self, Observed};
use crate::clocks::{Clocks, HostClock, HostFacts};
use crate::error::LoadError;
use crate::facts::staging::Staging;
use crate::facts::{Consumer, Facts};
use crate::load::Run;
use crate::load::batches;
use crate::load::limits::TIME;
use crate::serving::continued::name_earlier_chunks;
use crate::serving::notifications::name_transfers;
use crate::serving::purposes;
use crate::serving::rooms::name_last_writes;
use crate::spill::Memory;
use crate::structure::ranges::Ranges;
use crate::timeline::build::Builder;
use crate::timeline::{Timeline, presumed};

/// Facts and what ran.
#[derive(Debug, Default)]
pub struct Recording {
    /// Facts.
    pub facts: Facts,
    /// What ran: GPU work and calls.
    pub timeline: Timeline,
    /// Layers that programs name.
    pub ranges: Ranges,
    /// Copies of KV between GPUs and the host memory from which it is handed over.
    pub staging: Staging,
    /// How the clocks of the run's hosts stand to each other.
    pub clocks: Clocks,
    /// The same of hosts whose clocks could not be related to those of these: nothing crosses over.
    pub apart: Vec<Self>,
}

impl Recording {
    /// Reads them from a run, the times of each host moved to the clock of its reference, and the ids of each its own. What ran
    /// takes no more than `memory`; beyond that it is in files.
    ///
    /// # Errors
    /// A segment that does not decode, values that cannot be, or no room for files.
    pub fn of(run: &Run, memory: &Memory) -> Result<Self, LoadError> {
        let hosts = hosts(run);
        let several = hosts.len() > 1;
        let of_host = |host: &HostFacts| {
            let own = if several { run.of_host(&host.name) } else { run.clone() };
            Ok((host.name.clone(), Host::read(own, several)?))
        };
        let mut own = hosts.iter().map(of_host).collect::<Result<BTreeMap<String, Host>, LoadError>>()?;
        let messages = if several {
            let observed: Vec<Observed> = hosts.iter().map(|host| own[&host.name].observed()).collect();
            observe::messages(&hosts, &observed)?
        } else {
            Vec::new()
        };
        let clocks = Clocks::align(hosts, &messages);
        let mut groups: BTreeMap<usize, (Facts, Builder)> = BTreeMap::new();
        for clock in &clocks.hosts {
            let Some(host) = own.remove(&clock.name) else { continue };
            let empty = || (Facts::within(memory), Builder::within(memory));
            host.add_to(groups.entry(clock.reference).or_insert_with(empty), several.then_some(clock))?;
        }
        let finish = |(mut facts, builder): (Facts, Builder)| {
            facts.finish(memory)?;
            name_transfers(&mut facts.transfers);
            name_last_writes(&mut facts.transfers);
            purposes::set_apart(&mut facts);
            name_earlier_chunks(&mut facts);
            let ranges = Ranges::of(&facts.nvtx, memory)?;
            let mut timeline = builder.finish(&facts.transfers)?;
            let staging = timeline.mark_staging(Staging::of(&facts));
            facts.presumed = presumed::of(&facts, &timeline);
            Ok::<Self, LoadError>(Self { facts, timeline, ranges, staging, ..Self::default() })
        };
        let mut groups = groups.into_values().map(finish);
        let first = groups.next().transpose()?.unwrap_or_default();
        let apart = groups.collect::<Result<Vec<Self>, LoadError>>()?;
        Ok(Self { clocks, apart, ..first })
    }
}

/// Hosts of a run and what is known of them without their clocks.
fn hosts(run: &Run) -> Vec<HostFacts> {
    let facts = |name: &str| {
        let own = run.segments.iter().filter(|segment| segment.meta.host == name);
        let rows = own.clone().fold(0i64, |sum, segment| sum.saturating_add(segment.rows));
        let extents = own.filter_map(|segment| segment.extent);
        let extent = extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        HostFacts {
            name: name.to_owned(),
            rows,
            extent: extent.map(|(a, b)| (a.clamp(-TIME, TIME), b.clamp(-TIME, TIME))),
        }
    };
    run.hosts().into_iter().map(facts).collect()
}

/// A host's tables that are kept in memory, as they were recorded, and where the others are.
struct Host {
    run: Run,
    facts: Facts,
    probes: ClockProbes,
}

impl Host {
    /// Probes are needed only where there are several hosts.
    fn read(run: Run, is_one_of_several: bool) -> Result<Self, LoadError> {
        let facts = Facts {
            processes: run.table()?,
            agents: run.table()?,
            calls: run.table()?,
            regions: run.table()?,
            prepared: run.table()?,
            transfers: run.table()?,
            notifs: run.table()?,
            spans: run.table()?,
            ..Facts::default()
        };
        let probes = if is_one_of_several { run.table()? } else { ClockProbes::default() };
        Ok(Self { run, facts, probes })
    }

    fn observed(&self) -> Observed<'_> {
        Observed { probes: &self.probes, notifs: &self.facts.notifs, agents: &self.facts.agents }
    }

    /// Adds its rows to those of hosts that it is related to.
    fn add_to(self, (facts, lanes): &mut (Facts, Builder), clock: Option<&HostClock>) -> Result<(), LoadError> {
        facts.add(self.facts, clock)?;
        let Facts { device_copies, host_copies, nvtx, descriptors, .. } = facts;
        read(&self.run, clock, &mut [lanes, device_copies, host_copies, nvtx, descriptors])
    }
}

/// Reads each table that any of `consumers` wants once, in the order in which they name them.
fn read(run: &Run, clock: Option<&HostClock>, consumers: &mut [&mut dyn Consumer]) -> Result<(), LoadError> {
    let mut tables: Vec<&'static TableDef> = Vec::new();
    for wanted in consumers.iter().flat_map(|consumer| consumer.wants()) {
        if tables.iter().all(|table| table.name != wanted.table.name) {
            tables.push(wanted.table);
        }
    }
    for table in tables {
        let of_table = |consumer: &dyn Consumer| {
            consumer.wants().iter().find(|wanted| wanted.table.name == table.name).map(|wanted| wanted.columns)
        };
        let mut columns: Vec<&str> = Vec::new();
        for column in consumers.iter().filter_map(|consumer| of_table(*consumer)).flatten() {
            if !columns.contains(column) {
                columns.push(column);
            }
        }
        batches::for_each(run, table, &columns, |batch| {
            consumers
                .iter_mut()
                .filter(|consumer| of_table(**consumer).is_some())
                .try_for_each(|consumer| consumer.take(batch, clock))
        })?;
    }
    Ok(())
}
