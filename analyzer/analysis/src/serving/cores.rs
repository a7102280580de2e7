//! Which process gives workers their steps, where engines have one of its own for that.

use std::collections::BTreeMap;

use kvpath_schema::tables::process::Processes;

use super::vllm;

/// The process that gives each worker its steps, by the worker's: the one that started it, where the engine has its workers wait for it.
#[must_use]
pub fn of(processes: &Processes) -> BTreeMap<i64, i64> {
    let titles: BTreeMap<i64, &str> =
        processes.process_id.iter().copied().zip(processes.name.iter().map(String::as_str)).collect();
    let with_parents = processes.process_id.iter().zip(&processes.parent_process_id);
    let found = with_parents.filter_map(|(process, parent)| {
        let (own, core) = (titles.get(process)?, titles.get(&(*parent)?)?);
        vllm::waits_for_core(own, core).then_some((*process, (*parent)?))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvpath_schema::table::Columns as _;
    use kvpath_schema::tables::process::Process;

    #[test]
    fn a_worker_waits_for_the_core_that_started_it() {
        let mut processes = Processes::default();
        let named =
            [(1, "python -m vllm serve", None), (2, "VLLM::EngineCore", Some(1)), (3, "VLLM::Worker_PP0", Some(2))];
        for (process_id, name, parent_process_id) in named {
            let name = name.to_owned();
            processes.push(Process { process_id, pid: 1, name, start_ns: None, end_ns: None, parent_process_id });
        }
        assert_eq!(of(&processes), BTreeMap::from([(3, 2)]));
    }
}
