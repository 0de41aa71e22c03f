//! The bounded threads that wait for a disk, so that nobody else has to.
//!
//! Promises
//! - A pool has a fixed number of threads and a queue of a fixed length: one job more is refused at once.
//! - Listeners come before background work, which never holds more than half of the threads.
//! - Who asks waits until its deadline and no longer. A job whose asker has left is not begun.
//! - A job that panics costs its asker an error, not the pool a thread.
//! - Nothing here blocks the thread that calls it.
//!
//! Does not know: what the jobs do, the time of day. How long a job runs is seen from outside: see [`Stalls`].

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// Threads for one disk. Cloning shares them; the last one dropped ends them.
#[derive(Clone)]
pub struct Pool {
    owner: Arc<Owner>,
}

/// One thread that does the same small thing again and again. Dropping it lets the thread end after its step.
pub struct Worker {
    shared: Arc<Wakeable>,
}

/// Who waits for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody who hears nothing meanwhile.
    Listener,
    /// Nobody in particular.
    Background,
}

/// Why a job was not done, or not in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is full: the disk is slower than what is asked of it.
    #[error("the disk's queue is full")]
    Full,
    /// The pool has ended.
    #[error("the disk's threads have ended")]
    Closed,
    /// The deadline passed. The job may still be running.
    #[error("the disk took longer than {deadline:?}")]
    Late {
        /// What it was given.
        deadline: Duration,
    },
    /// The job panicked.
    #[error("a job of the disk panicked")]
    Died,
}

/// What a [`Worker`]'s step asks for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another step at once.
    Again,
    /// Another step when it is woken, or after this long.
    Wait(Duration),
    /// No more.
    End,
}

/// Whether a thread is in the middle of something, readable from any other.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Invariant: odd exactly while an operation runs, and never the same odd number twice.
    beats: AtomicU64,
}

/// Watches pulses and tells how long the longest operation has been running, as seen by whoever looks.
#[derive(Debug, Default)]
pub struct Stalls {
    /// The last value of each pulse, and when it was first seen.
    seen: Vec<(u64, Duration)>,
}

/// Ends the threads when the last handle goes.
struct Owner {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    /// One for each thread.
    pulses: Vec<Pulse>,
    queue_max: usize,
    /// Threads that background work may hold at a time.
    background_max: usize,
}

#[derive(Default)]
struct Queue {
    /// Invariant: both together hold at most `queue_max` jobs.
    listeners: VecDeque<Job>,
    background: VecDeque<Job>,
    /// Invariant: at most `background_max`.
    background_running: usize,
    closed: bool,
}

struct Wakeable {
    state: Mutex<Wake>,
    ready: Condvar,
    pulse: Pulse,
}

#[derive(Default)]
struct Wake {
    woken: bool,
    ended: bool,
}

type Job = Box<dyn FnOnce() + Send>;

impl Pool {
    /// Starts `threads` threads (at least one) named after `name`, with room for `queue_max` waiting jobs.
    pub fn open(name: &str, threads: usize, queue_max: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            ready: Condvar::new(),
            pulses: (0..threads).map(|_| Pulse::default()).collect(),
            queue_max: queue_max.max(1),
            background_max: (threads / 2).max(1),
        });
        // Made first: if a thread cannot be started, dropping it ends those that could.
        let owner = Arc::new(Owner { shared: Arc::clone(&shared) });
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || shared.serve(number))?;
        }
        Ok(Self { owner })
    }

    /// Does `job` on one of the threads and gives back its result, or says within `deadline` why not.
    pub async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        deadline: Duration,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (answer, waiting) = oneshot::channel();
        self.submit(urgency, move || {
            if !answer.is_closed() {
                // An asker who leaves while the job runs wants no answer.
                let _ = answer.send(job());
            }
        })?;
        match tokio::time::timeout(deadline, waiting).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) if self.owner.shared.queue.lock().closed => Err(PoolError::Closed),
            Ok(Err(_)) => Err(PoolError::Died),
            Err(_) => Err(PoolError::Late { deadline }),
        }
    }

    /// Queues a job that nobody waits for.
    pub fn submit(&self, urgency: Urgency, job: impl FnOnce() + Send + 'static) -> Result<(), PoolError> {
        let shared = &self.owner.shared;
        let mut queue = shared.queue.lock();
        if queue.closed {
            return Err(PoolError::Closed);
        }
        if queue.len() >= shared.queue_max {
            return Err(PoolError::Full);
        }
        match urgency {
            Urgency::Listener => queue.listeners.push_back(Box::new(job)),
            Urgency::Background => queue.background.push_back(Box::new(job)),
        }
        drop(queue);
        shared.ready.notify_one();
        Ok(())
    }

    /// Jobs that wait for a thread.
    pub fn queued(&self) -> usize {
        self.owner.shared.queue.lock().len()
    }

    /// One pulse for each thread.
    pub fn pulses(&self) -> impl Iterator<Item = &Pulse> {
        self.owner.shared.pulses.iter()
    }

    /// Ends the threads: jobs that wait are dropped, those that run are not waited for.
    pub fn close(&self) {
        self.owner.shared.close();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn close(&self) {
        let dropped = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            (std::mem::take(&mut queue.listeners), std::mem::take(&mut queue.background))
        };
        self.ready.notify_all();
        // Outside of the lock: dropping a job wakes its asker.
        drop(dropped);
    }

    /// The life of one thread.
    fn serve(&self, number: usize) {
        while let Some((urgency, job)) = self.next() {
            // The asker learns of a panic by its dropped channel.
            let _ = self.pulses[number].during(|| catch_unwind(AssertUnwindSafe(job)));
            if urgency == Urgency::Background {
                self.queue.lock().background_running -= 1;
                self.ready.notify_one();
            }
        }
    }

    /// The next job, waited for; `None` once the pool is closed.
    fn next(&self) -> Option<(Urgency, Job)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.listeners.pop_front() {
                return Some((Urgency::Listener, job));
            }
            if queue.background_running < self.background_max
                && let Some(job) = queue.background.pop_front()
            {
                queue.background_running += 1;
                return Some((Urgency::Background, job));
            }
            self.ready.wait(&mut queue);
        }
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.listeners.len() + self.background.len()
    }
}

impl Worker {
    /// Starts a thread that does `step` until it asks for the end or panics.
    pub fn start(name: &str, mut step: impl FnMut() -> Next + Send + 'static) -> io::Result<Self> {
        let shared =
            Arc::new(Wakeable { state: Mutex::default(), ready: Condvar::new(), pulse: Pulse::default() });
        let thread = Arc::clone(&shared);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while !thread.state.lock().ended {
                match thread.pulse.during(&mut step) {
                    Next::Again => {}
                    Next::Wait(time) => thread.wait(time),
                    Next::End => return,
                }
            }
        })?;
        Ok(Self { shared })
    }

    /// Ends its pause, if it is in one, or the next one before it begins.
    pub fn wake(&self) {
        self.shared.state.lock().woken = true;
        self.shared.ready.notify_one();
    }

    /// Beats for each step.
    pub fn pulse(&self) -> &Pulse {
        &self.shared.pulse
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.ready.notify_one();
    }
}

impl Wakeable {
    fn wait(&self, time: Duration) {
        let mut state = self.state.lock();
        if !state.woken && !state.ended {
            // Woken, timed out or neither: the next step finds out what there is to do.
            self.ready.wait_for(&mut state, time);
        }
        state.woken = false;
    }
}

impl Pulse {
    /// Beats before and after `operation`, also if it panics.
    pub fn during<T>(&self, operation: impl FnOnce() -> T) -> T {
        struct Beat<'a>(&'a AtomicU64);
        impl Drop for Beat<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Release);
            }
        }
        let before = self.beats.fetch_add(1, Ordering::Acquire);
        debug_assert!(before.is_multiple_of(2), "an operation began inside another");
        let _beat = Beat(&self.beats);
        operation()
    }

    fn beats(&self) -> u64 {
        self.beats.load(Ordering::Acquire)
    }
}

impl Stalls {
    /// How long the longest operation among `pulses` is known to run at `now`: zero if none was running at the last
    /// look too. Look at the same pulses in the same order each time.
    pub fn longest<'a>(&mut self, pulses: impl Iterator<Item = &'a Pulse>, now: Duration) -> Duration {
        let mut longest = Duration::ZERO;
        let mut count = 0;
        for (number, beats) in pulses.map(Pulse::beats).enumerate() {
            count = number + 1;
            match self.seen.get_mut(number) {
                Some(seen) if seen.0 == beats => {
                    if beats % 2 == 1 {
                        longest = longest.max(now.saturating_sub(seen.1));
                    }
                }
                Some(seen) => *seen = (beats, now),
                None => self.seen.push((beats, now)),
            }
        }
        self.seen.truncate(count);
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const LONG: Duration = Duration::from_secs(60);

    /// A job that says when it runs and waits to be let go.
    fn gate() -> (impl FnOnce() + Send + 'static, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (running, runs) = mpsc::channel();
        let (open, opened) = mpsc::channel::<()>();
        let job = move || {
            running.send(()).unwrap();
            // A dropped sender opens it as well.
            let _ = opened.recv();
        };
        (job, runs, open)
    }

    #[tokio::test]
    async fn a_job_is_done_and_its_result_comes_back() {
        let pool = Pool::open("test", 2, 4).unwrap();
        assert_eq!(pool.run(Urgency::Listener, LONG, || 6 * 7).await, Ok(42));
        assert_eq!(pool.run(Urgency::Background, LONG, || "done").await, Ok("done"));
    }

    #[tokio::test]
    async fn one_job_more_than_the_queue_holds_is_refused_at_once() {
        let pool = Pool::open("test", 1, 2).unwrap();
        let (job, runs, open) = gate();
        pool.submit(Urgency::Listener, job).unwrap();
        runs.recv().unwrap();
        pool.submit(Urgency::Listener, || ()).unwrap();
        pool.submit(Urgency::Background, || ()).unwrap();
        assert_eq!(pool.run(Urgency::Listener, LONG, || ()).await, Err(PoolError::Full));
        drop(open);
    }

    #[tokio::test]
    async fn listeners_overtake_background_work() {
        let pool = Pool::open("test", 1, 8).unwrap();
        let (job, runs, open) = gate();
        pool.submit(Urgency::Background, job).unwrap();
        runs.recv().unwrap();
        let (order, seen) = mpsc::channel();
        for (urgency, name) in [(Urgency::Background, "scrub"), (Urgency::Listener, "music")] {
            let order = order.clone();
            pool.submit(urgency, move || order.send(name).unwrap()).unwrap();
        }
        drop(open);
        assert_eq!([seen.recv().unwrap(), seen.recv().unwrap()], ["music", "scrub"]);
    }

    #[tokio::test]
    async fn background_work_leaves_half_of_the_threads_to_listeners() {
        let pool = Pool::open("test", 4, 16).unwrap();
        let gates: Vec<_> = (0..4)
            .map(|_| {
                let (job, runs, open) = gate();
                pool.submit(Urgency::Background, job).unwrap();
                (runs, open)
            })
            .collect();
        gates[0].0.recv().unwrap();
        gates[1].0.recv().unwrap();
        assert_eq!(pool.run(Urgency::Listener, LONG, || 1).await, Ok(1));
        assert!(gates[2].0.try_recv().is_err() && gates[3].0.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_asks_leaves_at_the_deadline_and_a_job_not_begun_by_then_is_skipped() {
        let pool = Pool::open("test", 1, 8).unwrap();
        let (job, runs, open) = gate();
        let soon = Duration::from_millis(5);
        assert_eq!(pool.run(Urgency::Listener, soon, job).await, Err(PoolError::Late { deadline: soon }));
        runs.recv().unwrap();
        let (begun, began) = mpsc::channel();
        let late = pool.run(Urgency::Listener, soon, move || begun.send(()));
        assert!(late.await.is_err());
        drop(open);
        assert_eq!(pool.run(Urgency::Listener, LONG, || 1).await, Ok(1));
        assert!(began.recv().is_err(), "a job began whose asker had left");
    }

    #[tokio::test]
    async fn a_job_that_panics_costs_its_asker_an_error_and_the_pool_nothing() {
        let pool = Pool::open("test", 1, 2).unwrap();
        let died = pool.run(Urgency::Listener, LONG, || assert_eq!(1, 2, "on purpose"));
        assert_eq!(died.await, Err(PoolError::Died));
        assert_eq!(pool.run(Urgency::Listener, LONG, || 1).await, Ok(1));
    }

    #[tokio::test]
    async fn a_closed_pool_refuses_and_lets_go_of_those_who_wait() {
        let pool = Pool::open("test", 1, 2).unwrap();
        let (job, runs, _open) = gate();
        pool.submit(Urgency::Listener, job).unwrap();
        runs.recv().unwrap();
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(Urgency::Listener, LONG, || ()).await }
        });
        while pool.queued() == 0 {
            tokio::task::yield_now().await;
        }
        pool.close();
        assert_eq!(waits.await.unwrap(), Err(PoolError::Closed));
        assert_eq!(pool.run(Urgency::Listener, LONG, || ()).await, Err(PoolError::Closed));
    }

    #[test]
    fn an_operation_is_timed_from_the_first_look_that_saw_it() {
        let (pulses, mut stalls) = ([Pulse::default(), Pulse::default()], Stalls::default());
        let at = Duration::from_millis;
        pulses[1].during(|| {
            assert_eq!(stalls.longest(pulses.iter(), at(100)), at(0));
            assert_eq!(stalls.longest(pulses.iter(), at(900)), at(800));
            assert_eq!(stalls.longest(pulses.iter(), at(1_500)), at(1_400));
        });
        assert_eq!(stalls.longest(pulses.iter(), at(1_600)), at(0));
        // Another operation is not the same operation, even if every look sees one.
        pulses[1].during(|| assert_eq!(stalls.longest(pulses.iter(), at(1_700)), at(0)));
        pulses[1].during(|| assert_eq!(stalls.longest(pulses.iter(), at(1_800)), at(0)));
    }

    #[test]
    fn a_worker_steps_when_it_is_woken_and_ends_when_it_is_told() {
        let (step, steps) = mpsc::channel();
        let mut count = 0;
        let worker = Worker::start("test", move || {
            count += 1;
            step.send(count).unwrap();
            if count == 3 { Next::End } else { Next::Wait(LONG) }
        })
        .unwrap();
        for expected in 1..=3 {
            assert_eq!(steps.recv(), Ok(expected));
            worker.wake();
        }
        assert!(steps.recv().is_err());
    }

    #[test]
    fn a_worker_that_is_dropped_ends() {
        let (step, steps) = mpsc::channel();
        let worker = Worker::start("test", move || {
            step.send(()).unwrap();
            Next::Wait(LONG)
        })
        .unwrap();
        steps.recv().unwrap();
        drop(worker);
        assert!(steps.recv().is_err());
    }
}
