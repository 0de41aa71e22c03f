//! A medium in memory that forgets, tears, refuses, hangs and is unplugged, the same way for the same seed.
//!
//! Promises
//! - What was synced survives [`SimMedium::crash`]. Of what was not, every sector of 4 KiB is kept or lost by itself,
//!   in any of the states it had since, and some are torn between two states at a boundary of 512 bytes.
//! - After a sync that failed, what it should have kept is never kept by a later one, as on Linux.
//! - Nothing happens by chance: faults come when they are ordered, and a crash takes its dice as an argument.
//!
//! Does not know: formats, clocks, files.

mod part;

use super::aligned::{AlignedBuf, PAGE_LEN};
pub use antiphon_core::Dice;

use super::medium::{ENODEV, ENOSPC, EROFS, Medium, Part, Trouble};
use parking_lot::{Condvar, Mutex, MutexGuard};
use part::PartState;
use std::collections::BTreeMap;
use std::io;

/// What a fault is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// [`Medium::read`].
    Read,
    /// [`Medium::write`].
    Write,
    /// [`Medium::sync`].
    Sync,
    /// [`Medium::resize`].
    Resize,
}

/// How an operation fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fail {
    /// With a number of the system. A write has stored some of its pages by then.
    Errno(i32),
    /// A read ends early.
    ShortRead,
}

/// What a medium was asked so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// Reads, failed ones too; so the others.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Bytes that reads asked for.
    pub bytes_read: u64,
    /// Bytes that writes brought.
    pub bytes_written: u64,
}

/// A medium in memory.
pub struct SimMedium {
    state: Mutex<State>,
    /// Rung when the gate opens.
    gate: Condvar,
}

struct State {
    parts: BTreeMap<usize, PartState>,
    dice: Dice,
    asked: Asked,
    /// Ordered faults: the operation, how many of its kind pass before, how it fails.
    due: Vec<(Op, u64, Fail)>,
    /// Fails every time, until healed.
    broken: Vec<(Op, i32)>,
    read_only: bool,
    unplugged: bool,
    hangs: bool,
    /// The loss of power that is to come: how many changes it lets pass, and its dice.
    armed: Option<(u64, Dice)>,
    /// What the loss of power left.
    image: Option<BTreeMap<usize, PartState>>,
    /// Operations waiting at the gate.
    waiting: usize,
    /// Bytes that all parts together may have.
    space: u64,
}

impl SimMedium {
    /// An empty medium with room for `space` bytes. `seed` decides how much of a failing write is stored.
    pub fn new(seed: u64, space: u64) -> Self {
        Self::with(BTreeMap::new(), seed, space)
    }

    fn with(parts: BTreeMap<usize, PartState>, seed: u64, space: u64) -> Self {
        let state = State {
            parts,
            dice: Dice::new(seed),
            asked: Asked::default(),
            due: Vec::new(),
            broken: Vec::new(),
            read_only: false,
            unplugged: false,
            hangs: false,
            armed: None,
            image: None,
            waiting: 0,
            space,
        };
        Self { state: Mutex::new(state), gate: Condvar::new() }
    }

    /// The medium as it is found after a loss of power now. This one stays as it is.
    pub fn crash(&self, dice: &mut Dice) -> Self {
        let state = self.state.lock();
        Self::with(state.crashed(dice), dice.roll(), state.space)
    }

    /// Orders a loss of power just before change `nth` from now (0: the next write, sync or resize). This medium
    /// goes on; [`SimMedium::crashed`] has what was left.
    pub fn crash_at(&self, nth: u64, dice: Dice) {
        let mut state = self.state.lock();
        (state.armed, state.image) = (Some((nth, dice)), None);
    }

    /// The medium as it is found after the loss of power that was ordered, if it came. None is under way any more.
    pub fn crashed(&self) -> Option<Self> {
        let mut state = self.state.lock();
        state.armed = None;
        let seed = state.dice.roll();
        state.image.take().map(|parts| Self::with(parts, seed, state.space))
    }

    /// The medium as it is found when the process is killed and nothing else is: all writes are there.
    pub fn kill(&self) -> Self {
        let state = self.state.lock();
        Self::with(state.parts.clone(), state.dice.clone().roll(), state.space)
    }

    /// Operation `nth` of its kind from now (0: the next one) fails, once.
    pub fn fail_nth(&self, op: Op, nth: u64, fail: Fail) {
        self.state.lock().due.push((op, nth, fail));
    }

    /// All operations of a kind fail until [`SimMedium::heal`].
    pub fn fail_always(&self, op: Op, errno: i32) {
        self.state.lock().broken.push((op, errno));
    }

    /// Ends all faults and orders of faults; what they did stays.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.due.clear();
        state.broken.clear();
        (state.read_only, state.unplugged, state.hangs) = (false, false, false);
        self.gate.notify_all();
    }

    /// Writes, syncs and resizes fail with EROFS.
    pub fn set_read_only(&self) {
        self.state.lock().read_only = true;
    }

    /// Everything fails with ENODEV.
    pub fn unplug(&self) {
        let mut state = self.state.lock();
        state.unplugged = true;
        self.gate.notify_all();
    }

    /// Every operation waits until [`SimMedium::heal`] or [`SimMedium::unplug`].
    pub fn hang(&self) {
        self.state.lock().hangs = true;
    }

    /// Operations that wait because of [`SimMedium::hang`].
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// From now on all parts together have `space` bytes at most; growing further fails with ENOSPC.
    pub fn set_space(&self, space: u64) {
        self.state.lock().space = space;
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Asked {
        self.state.lock().asked
    }

    /// Flips a bit that is stored: the eight bits of byte 0 are 0 to 7. Nothing happens past the end of the part.
    pub fn flip(&self, part: Part, bit: u64) {
        let mut state = self.state.lock();
        let Some(content) = state.parts.get_mut(&(part as usize)) else { return };
        if bit / 8 < content.len {
            content.flip(bit);
        }
    }

    /// The pages of a part that were ever written, by number.
    pub fn written_pages(&self, part: Part) -> Vec<u64> {
        self.state.lock().parts.get(&(part as usize)).map_or_else(Vec::new, |content| content.written())
    }

    /// Waits at the gate, counts, and fails if a fault is due.
    fn enter(
        &self,
        op: Op,
        part: Part,
        offset: u64,
        bytes: usize,
    ) -> (MutexGuard<'_, State>, Result<(), Fail>) {
        let mut state = self.state.lock();
        state.waiting += 1;
        while state.hangs && !state.unplugged {
            self.gate.wait(&mut state);
        }
        state.waiting -= 1;
        debug_assert!(
            part != Part::Data || (offset.is_multiple_of(PAGE_LEN as u64) && bytes.is_multiple_of(PAGE_LEN))
        );
        state.asked.count(op, bytes as u64);
        if op != Op::Read {
            state.come_closer_to_crash();
        }
        let fail = state.fault(op);
        (state, fail)
    }
}

impl Asked {
    fn count(&mut self, op: Op, bytes: u64) {
        match op {
            Op::Read => {
                self.reads += 1;
                self.bytes_read += bytes;
            }
            Op::Write => {
                self.writes += 1;
                self.bytes_written += bytes;
            }
            Op::Sync => self.syncs += 1,
            Op::Resize => {}
        }
    }
}

impl State {
    fn fault(&mut self, op: Op) -> Result<(), Fail> {
        if self.unplugged {
            return Err(Fail::Errno(ENODEV));
        }
        if self.read_only && op != Op::Read {
            return Err(Fail::Errno(EROFS));
        }
        if let Some((_, errno)) = self.broken.iter().find(|(broken, _)| *broken == op) {
            return Err(Fail::Errno(*errno));
        }
        let mut struck = None;
        self.due.retain_mut(|(due, left, fail)| {
            let hit = *due == op && *left == 0 && struck.is_none();
            if hit {
                struck = Some(*fail);
            } else if *due == op {
                *left = left.saturating_sub(1);
            }
            !hit
        });
        struck.map_or(Ok(()), Err)
    }

    fn crashed(&self, dice: &mut Dice) -> BTreeMap<usize, PartState> {
        self.parts.iter().map(|(part, content)| (*part, content.crashed(dice))).collect()
    }

    fn come_closer_to_crash(&mut self) {
        match self.armed.take() {
            Some((0, mut dice)) => self.image = Some(self.crashed(&mut dice)),
            Some((left, dice)) => self.armed = Some((left - 1, dice)),
            None => {}
        }
    }

    fn part(&mut self, part: Part) -> &mut PartState {
        self.parts.entry(part as usize).or_default()
    }

    /// Refuses to let `part` grow to `len` bytes where the space does not suffice.
    fn room(&self, part: Part, len: u64) -> Result<(), Fail> {
        let others = self.parts.iter().filter(|(other, _)| **other != part as usize);
        let taken: u64 = others.map(|(_, content)| content.len).sum();
        let here = self.parts.get(&(part as usize)).map_or(0, |content| content.len);
        if len > here && taken.saturating_add(len) > self.space { Err(Fail::Errno(ENOSPC)) } else { Ok(()) }
    }
}

impl Medium for SimMedium {
    fn read(&self, part: Part, offset: u64, into: &mut [u8]) -> io::Result<()> {
        debug_assert!(part != Part::Data || AlignedBuf::fits(into));
        let (mut state, fault) = self.enter(Op::Read, part, offset, into.len());
        fault.map_err(|fail| error("read", part, offset, fail))?;
        let content = state.part(part);
        if offset.saturating_add(into.len() as u64) > content.len {
            return Err(error("read", part, offset, Fail::ShortRead));
        }
        content.read(offset, into);
        Ok(())
    }

    fn write(&self, part: Part, offset: u64, from: &[u8]) -> io::Result<()> {
        debug_assert!(part != Part::Data || AlignedBuf::fits(from));
        let (mut state, fault) = self.enter(Op::Write, part, offset, from.len());
        let room = state.room(part, offset.saturating_add(from.len() as u64));
        if let Err(fail) = fault.and(room) {
            if !state.unplugged && !state.read_only {
                let stored = state.dice.below(from.len() / PAGE_LEN + 1) * PAGE_LEN;
                if state.room(part, offset + stored as u64).is_ok() {
                    state.part(part).write(offset, &from[..stored]);
                }
            }
            return Err(error("write", part, offset, fail));
        }
        state.part(part).write(offset, from);
        Ok(())
    }

    fn sync(&self, part: Part) -> io::Result<()> {
        let (mut state, fault) = self.enter(Op::Sync, part, 0, 0);
        if let Err(fail) = fault {
            state.part(part).forsake();
            return Err(error("sync", part, 0, fail));
        }
        state.part(part).sync();
        Ok(())
    }

    fn len(&self, part: Part) -> io::Result<u64> {
        let state = self.state.lock();
        if state.unplugged {
            return Err(error("measure", part, 0, Fail::Errno(ENODEV)));
        }
        Ok(state.parts.get(&(part as usize)).map_or(0, |content| content.len))
    }

    fn resize(&self, part: Part, len: u64) -> io::Result<()> {
        let (mut state, fault) = self.enter(Op::Resize, part, 0, 0);
        fault.and(state.room(part, len)).map_err(|fail| error("resize", part, len, fail))?;
        state.part(part).resize(len);
        Ok(())
    }
}

fn error(doing: &'static str, part: Part, offset: u64, fail: Fail) -> io::Error {
    let cause = match fail {
        Fail::Errno(number) => io::Error::from_raw_os_error(number),
        Fail::ShortRead => io::ErrorKind::UnexpectedEof.into(),
    };
    Trouble::wrap(doing, format!("{part:?} at {offset}"), cause)
}

#[cfg(test)]
mod tests;
