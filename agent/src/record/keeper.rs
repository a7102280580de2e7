//! Keeps the probes within their budget: adds up what their hits cost, and takes groups of them off and on.

use std::collections::BTreeMap;

use kvpath_schema::wire::nixl::Kind;

use crate::budget::{self, Budget, Change, Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::capture::nixl::assemble::Assembler;
use crate::capture::nixl::attach::Programs;
use crate::capture::ucx::source::Source;
use crate::record::libraries::Libraries;
use crate::segments::Facts;
use crate::system::{Clock, now_ns};

/// See the module.
pub struct Keeper {
    budget: Budget,
    percent: f64,
    costs: Costs,
    hits: BTreeMap<(Kind, bool), u64>,
    spent_ns: f64,
    began_ns: i64,
    /// How often a group was taken off.
    pub sheds: u32,
}

impl Keeper {
    /// Measures what hits cost here. At most `percent` of a core is for them.
    ///
    /// # Errors
    /// The kernel refuses to probe this program.
    pub fn new(
        programs: &mut Programs,
        percent: f64,
        has_ucx: bool,
        spares_returns: bool,
        now_ns: i64,
    ) -> Result<Self, AttachError> {
        let costs = budget::measure(programs, spares_returns)?;
        let groups = Group::ALL.into_iter().filter(|group| has_ucx || *group != Group::Ucx);
        let budget = Budget::new(percent / 100.0, now_ns, groups);
        Ok(Self { budget, percent, costs, hits: BTreeMap::new(), spent_ns: 0.0, began_ns: now_ns, sheds: 0 })
    }

    /// States what is known from the start.
    pub fn introduce(&self, facts: &mut Facts) {
        let Costs { emulated, stepped, returning } = self.costs;
        facts.say("nixl", "setting.max_overhead", format!("{} % of a core", self.percent));
        let text = format!("{emulated:.0} emulated, {stepped:.0} single-stepped, {returning:.0} more with its return");
        facts.say("nixl", "measured.hit_ns", text);
    }

    /// Takes the hits since the last time, and does what they ask for. Gives the group that was taken off, if any: its calls in
    /// flight will not be seen to return.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn step(
        &mut self,
        now: i64,
        programs: &mut Programs,
        libraries: &mut Libraries,
        ucx: Option<&mut Source>,
        assembler: &mut Assembler,
        facts: &mut Facts,
    ) -> Result<Option<Group>, AttachError> {
        let mut ucx = ucx;
        let spent = self.take_spent(programs, libraries, ucx.as_deref_mut())?;
        match self.budget.step(now, &spent) {
            None => Ok(None),
            Some(Change::Shed { group, share, pause_ns }) => {
                self.sheds += 1;
                match (group, ucx.as_deref_mut()) {
                    (Group::Ucx, Some(ucx)) => ucx.shed(facts),
                    _ => libraries.shed(group, programs, facts),
                }
                // Taking them off may last most of a second, in which they are still hit: no reason to shed the next group.
                self.take_spent(programs, libraries, ucx)?;
                self.budget.resume(now_ns(Clock::Monotonic));
                let (share, name) = (100.0 * share, group.name());
                let text = format!(
                    "off at {now} ns for {} s: probes cost {share:.1} % of a core, over {} %",
                    pause_ns / 1_000_000_000,
                    self.percent
                );
                eprintln!("kvpath-agent: {name} {text}");
                self.tell(assembler, facts, group, false, text);
                Ok(Some(group))
            }
            Some(Change::Restore(group)) => {
                let are_on = match (group, ucx) {
                    (Group::Ucx, Some(ucx)) => ucx.restore(facts),
                    _ => libraries.restore(group, programs, facts),
                };
                // What did not go on is not recorded, and the library's fact says why.
                let said = if are_on {
                    format!("on again at {now} ns")
                } else {
                    self.budget.put_off(group, now);
                    format!("cannot go on again at {now} ns")
                };
                self.tell(assembler, facts, group, are_on, said);
                Ok(None)
            }
        }
    }

    /// What all hits since the last time have cost.
    fn take_spent(
        &mut self,
        programs: &mut Programs,
        libraries: &Libraries,
        ucx: Option<&mut Source>,
    ) -> Result<Spent, AttachError> {
        let mut spent = Spent::new();
        if let Some(ucx) = ucx {
            spent.insert(Group::Ucx, ucx.spent_ns(self.costs)?);
        }
        for (kind, is_return, count) in programs.hits()? {
            *self.hits.entry((kind, is_return)).or_default() += count;
            *spent.entry(Group::of(kind)).or_default() += self.cost_ns(libraries, kind, is_return, count);
        }
        self.spent_ns += spent.values().sum::<f64>();
        Ok(spent)
    }

    fn tell(&self, assembler: &mut Assembler, facts: &mut Facts, group: Group, is_on: bool, text: String) {
        if group == Group::Polls {
            assembler.record_polls(is_on);
        }
        facts.say("nixl", format!("budget {} {}", group.name(), text.split(" ns").next().unwrap_or_default()), text);
        self.sum_up(facts);
    }

    /// States what the probes have cost so far.
    pub fn finish(&self, now_ns: i64, facts: &mut Facts) {
        self.sum_up(facts);
        facts.say("nixl", "hits.over_ns", (now_ns - self.began_ns).to_string());
    }

    fn sum_up(&self, facts: &mut Facts) {
        for ((kind, is_return), count) in &self.hits {
            let what = if *is_return { "return" } else { "entry" };
            facts.say("nixl", format!("hits.{kind:?}.{what}"), count.to_string());
        }
        facts.say("nixl", "hits.cost_ns", format!("{:.0}", self.spent_ns));
    }

    #[expect(clippy::cast_precision_loss, reason = "hits of a few ms")]
    fn cost_ns(&self, libraries: &Libraries, kind: Kind, is_return: bool, count: u64) -> f64 {
        let each = if is_return { self.costs.returning } else { self.costs.entry_ns(libraries.first_of(kind)) };
        each * count as f64
    }
}
