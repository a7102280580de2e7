//! Threads that do what they are given, in the order in which it comes.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

type Job<'scope, T> = Box<dyn FnOnce() -> T + Send + 'scope>;
type Outcome<T> = Result<T, Box<dyn Any + Send>>;

/// Worker threads, and the outcomes of their jobs.
pub(super) struct WorkerThreads<'scope, 'env, T> {
    scope: &'scope Scope<'scope, 'env>,
    desk: JobQueue<'scope, T>,
    outcomes: Receiver<Outcome<T>>,
}

/// The queue that jobs are handed in to.
pub(super) struct JobQueue<'scope, T> {
    jobs: SyncSender<Job<'scope, T>>,
    outcome: Sender<Outcome<T>>,
}

impl<T> Clone for JobQueue<'_, T> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone(), outcome: self.outcome.clone() }
    }
}

impl<'scope, T: Send + 'scope> WorkerThreads<'scope, '_, T> {
    /// So many threads; as many jobs may wait for one of them.
    pub(super) fn new<'env>(scope: &'scope Scope<'scope, 'env>, threads: usize) -> WorkerThreads<'scope, 'env, T> {
        let (jobs, waiting) = sync_channel::<Job<'scope, T>>(threads);
        let (outcome, outcomes) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads {
            let (waiting, outcome) = (Arc::clone(&waiting), outcome.clone());
            scope.spawn(move || {
                while let Some(job) = next(&waiting) {
                    // Who waits for it gets to know of a panic; without it, it would wait for ever.
                    if outcome.send(catch_unwind(AssertUnwindSafe(job))).is_err() {
                        break;
                    }
                }
            });
        }
        WorkerThreads { scope, desk: JobQueue { jobs, outcome }, outcomes }
    }

    /// Another thread, for what waits more than it computes; what it finds it hands in.
    pub(super) fn beside(&self, work: impl FnOnce(JobQueue<'scope, T>) + Send + 'scope) {
        let desk = self.desk.clone();
        self.scope.spawn(move || {
            let outcome = desk.outcome.clone();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(desk))) {
                // Without anyone who waits there is nobody to tell.
                let _ = outcome.send(Err(panic));
            }
        });
    }

    /// Gives them something to do; waits until there is room for it.
    pub(super) fn give(&self, job: impl FnOnce() -> T + Send + 'scope) {
        // The threads end after this.
        let _ = self.desk.give(job);
    }

    /// The next outcome, of whatever.
    ///
    /// # Panics
    /// If what was done panicked.
    pub(super) fn take(&self) -> T {
        let outcome = self.outcomes.recv().expect("a sender of outcomes is held beside");
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

impl<'scope, T> JobQueue<'scope, T> {
    /// Hands in a job; none is taken any more where nobody waits for what comes of it.
    pub(super) fn give(&self, job: impl FnOnce() -> T + Send + 'scope) -> Option<()> {
        self.jobs.send(Box::new(job)).ok()
    }

    /// Hands in what is done already.
    pub(super) fn done(&self, outcome: T) -> Option<()> {
        self.outcome.send(Ok(outcome)).ok()
    }
}

fn next<'scope, T>(waiting: &Mutex<Receiver<Job<'scope, T>>>) -> Option<Job<'scope, T>> {
    // Nothing is done under the lock that could panic half way.
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_given_is_done_however_many_there_are() {
        for threads in [1, 2, 7] {
            let sum: u64 = std::thread::scope(|scope| {
                let crew = WorkerThreads::new(scope, threads);
                crew.beside(|desk| {
                    for number in 0..100u64 {
                        desk.give(move || number).expect("someone waits");
                    }
                    desk.done(1_000).expect("someone waits");
                });
                crew.give(|| 10_000);
                (0..102).map(|_| crew.take()).sum()
            });
            assert_eq!(sum, 4_950 + 1_000 + 10_000);
        }
    }

    #[test]
    fn a_panic_comes_to_whoever_waits() {
        let caught = catch_unwind(|| {
            std::thread::scope(|scope| {
                let crew: WorkerThreads<()> = WorkerThreads::new(scope, 2);
                crew.give(|| panic!("on purpose"));
                crew.take();
            });
        });
        assert!(caught.is_err());
    }

    #[test]
    fn threads_end_when_nobody_waits_any_more() {
        std::thread::scope(|scope| {
            let crew = WorkerThreads::new(scope, 1);
            crew.beside(|desk| while desk.give(|| ()).is_some() {});
            crew.take();
        });
    }
}
