//! A place for a disk in the node: what the configuration says of it, its health, and the volume in it, if any.
//!
//! Promises
//! - A volume whose health is `Failed` is let go of at once: its threads end after their operation, nobody finds it.
//! - A volume that is put back is another [`Live`] with threads of its own; what is stuck in the old one stays there.
//!
//! Does not know: other volumes, what is read or written.

use crate::config::VolumeConfig;
use crate::disk::format::PurgeRecord;
use crate::disk::health::{Change, Event, Health, State};
use crate::disk::medium::Medium;
use crate::disk::pool::{Pool, Stalls, Worker};
use crate::disk::set::placement::Seat;
use crate::disk::volume::{Progress, UnixMillis, Volume};
use antiphon_core::chain;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};

/// A place for a disk.
pub(super) struct Slot {
    pub config: VolumeConfig,
    /// The live value of `config.dwpd`, as bits.
    dwpd: AtomicU64,
    pub name: String,
    pub seat: Seat,
    pub counters: Counters,
    health: Mutex<Health>,
    /// Invariant: both follow from `health` and are written under its lock.
    readable: AtomicBool,
    writable: AtomicBool,
    /// Invariant: empty whenever the health is `Failed`.
    live: RwLock<Option<Arc<Live>>>,
    /// The thread that opens, recovers and writes. Another one after each `put_back`.
    worker: Mutex<Option<Worker>>,
    /// Raised by each start of a worker: a thread of an earlier one finds that it is over.
    life: AtomicU64,
    stalls: Mutex<(Stalls, Stalls)>,
    /// Why the last thing that failed did.
    pub last_error: Mutex<Option<String>>,
    pub progress: Mutex<Option<Progress>>,
    /// Purges that the volume has yet to be told. Invariant: at most [`OWED_MAX`].
    pub owed: Mutex<Vec<PurgeRecord>>,
    /// The node is stopping: the writer closes the volume and ends.
    pub closing: AtomicBool,
    /// Told when it has.
    pub closed: Notify,
    events: broadcast::Sender<DiskEvent>,
}

/// A volume that is open, and those who read it.
pub(super) struct Live {
    pub volume: Volume,
    /// What the volume lies on, for its remarks.
    pub medium: Arc<dyn Medium>,
    pub pool: Pool,
}

/// What the set counts besides the volume.
#[derive(Default)]
pub(super) struct Counters {
    /// Reads given up at the deadline.
    pub late: AtomicU64,
    /// Reads refused because the queue was full.
    pub crowded: AtomicU64,
    /// Operations that failed.
    pub errors: AtomicU64,
}

/// A volume changed its state.
#[derive(Clone, Debug)]
pub struct DiskEvent {
    /// Which volume.
    pub volume: String,
    /// From what to what, and why.
    pub change: Change,
    /// What the disk said last.
    pub last_error: Option<String>,
}

/// Purges kept for a volume that is out; further ones become one of everything.
pub(super) const OWED_MAX: usize = 4_096;

impl Slot {
    pub fn new(config: &VolumeConfig, events: broadcast::Sender<DiskEvent>, now: Duration) -> Arc<Self> {
        let name = config.called();
        Arc::new(Self {
            seat: Seat::new(&name, config.capacity_bytes.0),
            config: config.clone(),
            dwpd: AtomicU64::new(config.dwpd.to_bits()),
            name,
            counters: Counters::default(),
            health: Mutex::new(Health::new(now)),
            readable: AtomicBool::new(true),
            writable: AtomicBool::new(true),
            live: RwLock::new(None),
            worker: Mutex::new(None),
            life: AtomicU64::new(0),
            stalls: Mutex::default(),
            last_error: Mutex::new(None),
            progress: Mutex::new(None),
            owed: Mutex::new(Vec::new()),
            closing: AtomicBool::new(false),
            closed: Notify::new(),
            events,
        })
    }

    /// What the configuration says of the volume, as it is now.
    pub fn config_now(&self) -> VolumeConfig {
        let dwpd = f64::from_bits(self.dwpd.load(Ordering::Relaxed));
        VolumeConfig { dwpd, ..self.config.clone() }
    }

    /// How much may be written in a day from now on, and after it was put back.
    pub fn set_dwpd(&self, dwpd: f64, now: UnixMillis) {
        self.dwpd.store(dwpd.to_bits(), Ordering::Relaxed);
        if let Some(live) = self.live() {
            live.volume.set_dwpd(dwpd, now);
        }
    }

    /// The volume, if it may be read now.
    pub fn readable(&self) -> Option<Arc<Live>> {
        if self.readable.load(Ordering::Acquire) { self.live() } else { None }
    }

    /// The volume, if it may be given chunks now.
    pub fn writable(&self) -> Option<Arc<Live>> {
        if self.writable.load(Ordering::Acquire) { self.live() } else { None }
    }

    /// The volume, if it is open.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.live.read().clone()
    }

    /// Its health, looked at.
    pub fn health<R>(&self, look: impl FnOnce(&Health) -> R) -> R {
        look(&self.health.lock())
    }

    /// Takes note of `event`; lets go of a volume that has failed.
    pub fn note(&self, event: Event, now: Duration) -> Option<Change> {
        let change = {
            let mut health = self.health.lock();
            let change = health.note(event, now);
            self.readable.store(health.is_readable(), Ordering::Release);
            self.writable.store(health.is_writable(), Ordering::Release);
            change
        };
        let change = change?;
        if change.to == State::Failed {
            self.let_go();
        }
        // Nobody may be listening.
        let _ = self.events.send(DiskEvent {
            volume: self.name.clone(),
            change,
            last_error: self.last_error.lock().clone(),
        });
        Some(change)
    }

    /// Takes note of an error of the disk.
    pub fn failed(&self, event: Event, error: &dyn std::error::Error, now: Duration) -> Option<Change> {
        *self.last_error.lock() = Some(chain(error));
        self.counters.errors.fetch_add(1, Ordering::Relaxed);
        self.note(event, now)
    }

    /// Begins a life of the volume: whatever an earlier one still does has no effect any more.
    pub fn begin_life(&self) -> u64 {
        self.life.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether `life` is the present one.
    pub fn is_life(&self, life: u64) -> bool {
        self.life.load(Ordering::Acquire) == life
    }

    /// Puts an open volume into its place, unless its life is over.
    pub fn install(&self, life: u64, live: Live) -> bool {
        let mut place = self.live.write();
        let stays = self.is_life(life) && self.health(|health| health.state() != State::Failed);
        if stays {
            *place = Some(Arc::new(live));
        }
        stays
    }

    /// The thread of the present life.
    pub fn employ(&self, worker: Worker) {
        *self.worker.lock() = Some(worker);
    }

    /// Wakes the writer.
    pub fn wake(&self) {
        if let Some(worker) = self.worker.lock().as_ref() {
            worker.wake();
        }
    }

    /// Ends its threads after what they are doing, and forgets the volume.
    pub fn let_go(&self) {
        self.life.fetch_add(1, Ordering::AcqRel);
        let gone = self.live.write().take();
        if let Some(live) = &gone {
            live.pool.close();
        }
        drop(self.worker.lock().take());
    }

    /// Looks how long its threads have been at what they do.
    pub fn look(&self, now: Duration) {
        let mut stalls = self.stalls.lock();
        let reading = self.live().map_or(Duration::ZERO, |live| stalls.0.longest(live.pool.pulses(), now));
        let worker = self.worker.lock();
        let working = stalls.1.longest(worker.iter().map(Worker::pulse), now);
        drop((stalls, worker));
        // A step of the writer may take its time; only one that does not come back is a sign.
        let working = if working > crate::disk::health::HANG_FAILS && !self.is_recovering() {
            working
        } else {
            Duration::ZERO
        };
        self.note(Event::Running(reading.max(working)), now);
    }

    fn is_recovering(&self) -> bool {
        self.health(|health| health.state() == State::Recovering)
    }
}
