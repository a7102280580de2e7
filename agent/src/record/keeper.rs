//! Keeps the probes within their budget: adds up what their hits cost, and has sources take groups of them off and on.

use kvpath_schema::tables::capture::{RecordingState, SubjectKind};

use crate::budget::{Budget, Change, Costs, Group, Spent};
use crate::capture::error::AttachError;
use crate::capture::{Budgeted, Context, RecordSource};
use crate::segments::Facts;
use crate::states::Subject;
use crate::system::{Clock, now_ns};

/// The budget of a recording.
pub struct Keeper {
    budget: Budget,
    percent: f64,
    costs: Costs,
    spent_ns: f64,
    began_ns: i64,
    /// How often a group was taken off.
    pub sheds: u32,
}

impl Keeper {
    /// For the probes of these sources, whose hits cost so much here; at most `percent` of a core is for them.
    pub fn new(costs: Costs, percent: f64, sources: &mut [Box<dyn RecordSource>], context: &mut Context) -> Self {
        let Costs { emulated, stepped, returning } = costs;
        context.facts.say("nixl", "setting.max_overhead", format!("{percent} % of a core"));
        let text = format!("{emulated:.0} emulated, {stepped:.0} single-stepped, {returning:.0} more with its return");
        context.facts.say("nixl", "measured.hit_ns", text);
        let groups: Vec<Group> = Group::ALL.into_iter().filter(|group| owner(sources, *group).is_some()).collect();
        let budget = Budget::new(percent / 100.0, context.now_ns, groups);
        Self { budget, percent, costs, spent_ns: 0.0, began_ns: context.now_ns, sheds: 0 }
    }

    /// Takes the hits since the last time, and does what they ask for.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn step(&mut self, sources: &mut [Box<dyn RecordSource>], context: &mut Context) -> Result<(), AttachError> {
        let now = context.now_ns;
        let spent = self.take_spent(sources)?;
        match self.budget.step(now, &spent) {
            None => {}
            Some(Change::Shed { group, share, pause_ns }) => {
                self.sheds += 1;
                if let Some(owner) = owner(sources, group) {
                    owner.shed(group, context);
                }
                // Taking them off may last most of a second, in which they are still hit: no reason to shed the next group.
                self.take_spent(sources)?;
                self.budget.resume(now_ns(Clock::Monotonic));
                let (share, name) = (100.0 * share, group.name());
                let reason = format!("probes cost {share:.1} % of a core, over {} %", self.percent);
                let text = format!("off at {now} ns for {} s: {reason}", pause_ns / 1_000_000_000);
                tracing::warn!("{name} {text}");
                context.states.set(now, subject(group), RecordingState::Shed, reason);
                self.tell(&mut context.facts, group, text);
            }
            Some(Change::Restore(group)) => {
                let outcome = owner(sources, group).map_or(Ok(()), |owner| owner.restore(group, context));
                let name = group.name();
                let said = match outcome {
                    Ok(()) => {
                        tracing::info!("{name} on again");
                        context.states.set(now, subject(group), RecordingState::Recording, "");
                        format!("on again at {now} ns")
                    }
                    Err(error) => {
                        tracing::warn!("{name} cannot go on again: {error}");
                        self.budget.put_off(group, now);
                        let reason = format!("cannot go on again: {error}");
                        context.states.set(now, subject(group), RecordingState::Refused, reason);
                        format!("cannot go on again at {now} ns")
                    }
                };
                self.tell(&mut context.facts, group, said);
            }
        }
        Ok(())
    }

    /// What all hits since the last time have cost.
    fn take_spent(&mut self, sources: &mut [Box<dyn RecordSource>]) -> Result<Spent, AttachError> {
        let mut spent = Spent::new();
        for source in sources.iter_mut().filter_map(|source| source.budgeted()) {
            source.add_spent(self.costs, &mut spent)?;
        }
        self.spent_ns += spent.values().sum::<f64>();
        Ok(spent)
    }

    fn tell(&self, facts: &mut Facts, group: Group, text: String) {
        facts.say("nixl", format!("budget {} {}", group.name(), text.split(" ns").next().unwrap_or_default()), text);
        self.say_costs(facts);
    }

    /// States what the probes have cost.
    pub fn finish(&self, context: &mut Context) {
        self.say_costs(&mut context.facts);
        context.facts.say("nixl", "hits.over_ns", (context.now_ns - self.began_ns).to_string());
    }

    fn say_costs(&self, facts: &mut Facts) {
        facts.say("nixl", "hits.cost_ns", format!("{:.0}", self.spent_ns));
    }
}

fn subject(group: Group) -> Subject {
    Subject::new(group.source(), SubjectKind::Group, group.name())
}

/// The source whose probes those are.
fn owner(sources: &mut [Box<dyn RecordSource>], group: Group) -> Option<&mut dyn Budgeted> {
    sources.iter_mut().filter_map(|source| source.budgeted()).find(|source| source.groups().contains(&group))
}
