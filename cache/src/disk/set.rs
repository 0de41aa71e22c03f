//! All volumes of a node, as the tiers see them.
//!
//! Promises
//! - Nothing here blocks the thread that calls it, and nobody waits for a disk longer than its deadline.
//! - Whatever befalls one volume, the others are read and written as before; it is taken out, shown, and can be put
//!   back without a restart.
//! - Bytes of a read that was given up reach nobody.
//! - A purge that returned `Ok` is on at least one disk, and on every disk that can be written.
//!
//! Does not know: upstream, memory, which bytes a listener wants.

mod command;
mod gate;
mod life;
mod opening;
mod placement;
mod purging;
mod reading;
mod slot;
mod status;

#[cfg(test)]
mod tests;

pub use command::{CommandError, DiskCommand, DiskOrder};
pub use opening::{OpenDisksError, OpenMedium};
pub use purging::{PurgeError, PurgeHook};
pub use reading::{DiskRead, ReadReport};
pub use slot::DiskEvent;
pub use status::DiskStatus;

use crate::config::{AdmissionRule, Class, VolumeConfig};
use crate::disk::format::META_NO;
use crate::disk::health::State;
use crate::disk::volume::{EvictedSink, Lost, NewRecord, Offered, UnixMillis};
use crate::object::{ChunkKey, ObjKey, ObjMeta};
use antiphon_core::{Clock, UnixTime};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use slot::{Live, Slot};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior};

/// The volumes of a node. Clones are the same volumes; the last one dropped lets go of them without closing them.
#[derive(Clone)]
pub struct Disks {
    inner: Arc<Inner>,
}

struct Inner {
    /// In the order of the configuration.
    slots: Vec<Arc<Slot>>,
    context: Arc<Context>,
    events: broadcast::Sender<DiskEvent>,
}

/// What the life of a volume needs besides its slot.
struct Context {
    clock: Arc<dyn Clock>,
    began: Instant,
    began_at: UnixTime,
    seed: u64,
    media: Box<OpenMedium>,
    /// Who has the other volumes. Set once, before the first of them is opened.
    node: OnceLock<Weak<Inner>>,
    /// An [`AdmissionRule`].
    admission: AtomicU8,
    /// How many slots have yet to be opened, or to fail at it, for the first time.
    unopened: Mutex<usize>,
    all_opened: Condvar,
    purged: Mutex<purging::Learned>,
    /// Who hears what volumes have lost.
    losses: OnceLock<LossHook>,
}

/// Hears of records that a volume found damaged or unreadable without being asked for them. Called on the volume's
/// own thread.
pub type LossHook = Box<dyn Fn(&[Lost]) + Send + Sync>;

/// Whether a volume is opened as it is, or made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Open,
    Format,
}

/// Opening waits for volumes this long; those that take longer join when they are ready.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether an operation hangs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A volume may take this long to be closed in order; its index is then found again by its footers.
const CLOSE_WAIT: Duration = Duration::from_secs(20);
/// Changes of state that wait for a slow listener.
const EVENTS_MAX: usize = 64;

impl Disks {
    /// No volumes.
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        let context = Context::new(clock, 0, Box::new(opening::on_disk));
        Self::assemble(&[], context)
    }

    /// Opens the volumes of `config`, which has been checked. Returns when each has been looked at, or after
    /// some seconds: finding out what is on them goes on in the background. One that cannot be opened is shown
    /// as failed and stops nobody. `seed` comes from chance. Blocks for as long as it takes to read a few pages.
    pub fn open(
        config: &[VolumeConfig],
        clock: Arc<dyn Clock>,
        runtime: &Handle,
        seed: u64,
    ) -> Result<Self, OpenDisksError> {
        Self::open_on(config, Box::new(opening::on_disk), clock, runtime, seed)
    }

    /// The same on media of the caller's making: how tests unplug a disk.
    pub fn open_on(
        config: &[VolumeConfig],
        media: Box<OpenMedium>,
        clock: Arc<dyn Clock>,
        runtime: &Handle,
        seed: u64,
    ) -> Result<Self, OpenDisksError> {
        let _on_runtime = runtime.enter();
        let disks = Self::start(config, media, clock, seed)?;
        runtime.spawn(watch(Arc::downgrade(&disks.inner)));
        Ok(disks)
    }

    /// Opens the volumes; nobody looks whether they hang yet.
    fn start(
        config: &[VolumeConfig],
        media: Box<OpenMedium>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Result<Self, OpenDisksError> {
        crate::config::check_all(config)?;
        let disks = Self::assemble(config, Context::new(clock, seed, media));
        let inner = &disks.inner;
        *inner.context.unopened.lock() = inner.slots.len();
        for slot in &inner.slots {
            life::begin(slot, &inner.context, Doing::Open);
        }
        inner.context.wait_until_opened(OPEN_WAIT);
        inner.share_purges();
        Ok(disks)
    }

    fn assemble(config: &[VolumeConfig], context: Context) -> Self {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let now = context.now();
        let slots = config.iter().map(|volume| Slot::new(volume, events.clone(), now)).collect();
        let inner = Arc::new(Inner { slots, context: Arc::new(context), events });
        // A new context has no node yet.
        let _ = inner.context.node.set(Arc::downgrade(&inner));
        Self { inner }
    }

    /// Whether there is any volume in the configuration.
    pub fn is_none(&self) -> bool {
        self.inner.slots.is_empty()
    }

    /// Where the chunk may be read. Says yes without having it once in a thousand times. No I/O.
    pub fn holds(&self, key: ChunkKey) -> Option<Class> {
        self.inner.holder(key).map(|(slot, _)| slot.config.class)
    }

    /// Offers a chunk fetched at purge generation `generation`; says whether it is kept. Never waits for a disk.
    pub fn offer(&self, key: ChunkKey, ver: u64, generation: u64, payload: &Bytes) -> bool {
        self.inner.offer(key, ver, generation, payload)
    }

    /// Offers what is known about an object; says whether it is kept. Never waits for a disk.
    pub fn offer_meta(&self, obj: ObjKey, generation: u64, meta: &ObjMeta) -> bool {
        // Longer than a record may be: the object is asked for again after a restart.
        let Ok(bytes) = meta.encode() else { return false };
        self.inner.offer(ChunkKey { obj, no: META_NO }, meta.ver, generation, &bytes)
    }

    /// Which chunks full volumes take from now on.
    pub fn set_admission(&self, rule: AdmissionRule) {
        self.inner.context.admission.store(rule as u8, Ordering::Relaxed);
        for slot in &self.inner.slots {
            if let Some(live) = slot.live() {
                live.volume.set_admission(rule);
            }
        }
    }

    /// How much may be written to a volume in a day from now on, in drive writes; `false` if there is no such volume.
    pub fn set_dwpd(&self, volume: &str, dwpd: f64) -> bool {
        let slot = self.inner.slot(volume);
        if let Some(slot) = slot {
            slot.set_dwpd(dwpd, self.inner.context.millis());
        }
        slot.is_some()
    }

    /// Has `hook` told what volumes lose from now on. The first hook stays.
    pub fn hear_losses(&self, hook: LossHook) {
        // A second one would be told nothing, which costs fetches and no more.
        let _ = self.inner.context.losses.set(hook);
    }

    /// Every change of a volume's state from now on, for the log.
    pub fn events(&self) -> broadcast::Receiver<DiskEvent> {
        self.inner.events.subscribe()
    }

    /// Writes what is in memory and closes each volume in order, so that the next start finds everything at once.
    pub async fn close(&self) {
        let closing = self.inner.slots.iter().filter(|slot| slot.live().is_some()).map(|slot| async move {
            slot.closing.store(true, Ordering::Release);
            slot.wake();
            // A disk that hangs now is recovered at the next start.
            let _ = tokio::time::timeout(CLOSE_WAIT, slot.closed.notified()).await;
            slot.let_go();
        });
        futures_util::future::join_all(closing).await;
    }
}

impl Inner {
    /// The volume that may have the chunk: its home first, SSDs before HDDs.
    fn holder(&self, key: ChunkKey) -> Option<(&Arc<Slot>, Arc<Live>)> {
        [Class::Ssd, Class::Hdd].into_iter().find_map(|class| {
            let holds = |slot: &Arc<Slot>| slot.readable().filter(|live| live.volume.holds(key));
            let home = self.home(key, |slot| slot.config.class == class)?;
            if let Some(live) = holds(home) {
                return Some((home, live));
            }
            let others =
                self.slots.iter().filter(|slot| slot.config.class == class && !Arc::ptr_eq(slot, home));
            others.map(|slot| Some((slot, holds(slot)?))).find_map(|found| found)
        })
    }

    /// The volume that `key` belongs to among those that are `fit`.
    fn home(&self, key: ChunkKey, fit: impl Fn(&Slot) -> bool) -> Option<&Arc<Slot>> {
        let bids = self.slots.iter().filter(|slot| fit(slot)).map(|slot| (slot.seat.bid(key), slot));
        bids.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, slot)| slot)
    }

    fn offer(&self, key: ChunkKey, ver: u64, generation: u64, payload: &[u8]) -> bool {
        if self.context.admission() == AdmissionRule::Nothing {
            return false;
        }
        // HDDs are fed by what SSDs give up, unless there is no SSD that could be written.
        let [ssd, hdd] = [Class::Ssd, Class::Hdd]
            .map(|class| self.home(key, |slot| slot.config.class == class && slot.writable().is_some()));
        let Some(slot) = ssd.or(hdd) else { return false };
        self.keep(
            slot,
            NewRecord {
                key,
                ver,
                generation,
                written_secs: u32::try_from(self.context.clock.now().0).unwrap_or(u32::MAX),
                payload,
            },
        )
    }

    /// Gives what an SSD gives up to an HDD, if there is one.
    fn hand_on(&self, record: &NewRecord<'_>) {
        let home = self.home(record.key, |slot| slot.config.class == Class::Hdd && slot.writable().is_some());
        if let Some(slot) = home {
            self.keep(slot, *record);
        }
    }

    /// Gives `record` to the volume in `slot`.
    fn keep(&self, slot: &Slot, record: NewRecord<'_>) -> bool {
        let Some(live) = slot.writable() else { return false };
        let offered = live.volume.offer(&record, self.context.millis());
        if live.volume.flush_ready() {
            slot.wake();
        }
        offered == Offered::Admitted
    }

    fn slot(&self, name: &str) -> Option<&Arc<Slot>> {
        self.slots.iter().find(|slot| slot.name == name)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.slots.iter().for_each(|slot| slot.let_go());
    }
}

impl Context {
    fn new(clock: Arc<dyn Clock>, seed: u64, media: Box<OpenMedium>) -> Self {
        Self {
            began_at: clock.now(),
            clock,
            began: Instant::now(),
            seed,
            media,
            node: OnceLock::new(),
            admission: AtomicU8::new(AdmissionRule::SecondHit as u8),
            unopened: Mutex::new(0),
            all_opened: Condvar::new(),
            purged: Mutex::default(),
            losses: OnceLock::new(),
        }
    }

    /// A volume has lost these.
    fn lost(&self, losses: &[Lost]) {
        if let Some(hook) = self.losses.get().filter(|_| !losses.is_empty()) {
            hook(losses);
        }
    }

    /// Time since the volumes were opened.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The time of day when the volumes were opened, and since then as the crow flies.
    fn millis(&self) -> UnixMillis {
        let passed = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        UnixMillis(self.began_at.0.saturating_mul(1_000).saturating_add(passed))
    }

    fn admission(&self) -> AdmissionRule {
        let stored = self.admission.load(Ordering::Relaxed);
        let rules = [AdmissionRule::SecondHit, AdmissionRule::Everything, AdmissionRule::Nothing];
        rules.into_iter().find(|rule| *rule as u8 == stored).unwrap_or_default()
    }

    /// Who takes what an SSD gives up while it is warm: the HDDs.
    fn next_tier(&self) -> EvictedSink {
        let node = self.node.get().cloned().unwrap_or_default();
        Arc::new(move |record| {
            if let Some(inner) = node.upgrade() {
                inner.hand_on(record);
            }
        })
    }

    /// One slot has been opened, or has failed at it.
    fn opened(&self) {
        let mut unopened = self.unopened.lock();
        *unopened = unopened.saturating_sub(1);
        self.all_opened.notify_all();
    }

    fn wait_until_opened(&self, time: Duration) {
        let mut unopened = self.unopened.lock();
        // Those that are late join by themselves.
        self.all_opened.wait_while_for(&mut unopened, |unopened| *unopened > 0, time);
    }
}

/// Looks for operations that hang, for as long as there are volumes.
async fn watch(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let now = inner.context.now();
        for slot in inner.slots.iter().filter(|slot| slot.health(|health| health.state() != State::Failed)) {
            slot.look(now);
        }
    }
}
