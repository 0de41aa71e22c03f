//! A volume without its bytes: segments, streams, admission and reclaim as `antiphon_cache::policy` decides them.

use super::Tier;
use super::door::Door;
use antiphon_cache::policy::reclaim::{self, Decay, Keep, SegmentFacts};
use antiphon_cache::policy::wear::Pressure;
use std::collections::VecDeque;

/// A log of segments.
pub struct Log {
    door: Door,
    order: Order,
    segments: Vec<Segment>,
    segment_len: usize,
    /// Segments without records.
    free: VecDeque<usize>,
    /// The segments that are written, fresh and hot.
    open: [usize; 2],
    /// By chunk: its segment and record, as one number, if it is kept.
    places: Vec<u32>,
    decay: Decay,
    seq: u64,
    written: u64,
}

/// How the segment that makes room is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The oldest.
    Fifo,
    /// As the shipping engine does.
    CostBenefit,
}

#[derive(Default)]
struct Segment {
    records: Vec<Record>,
    seq: u64,
    /// Invariant: the records whose count of hits is not 0.
    hit: u32,
}

#[derive(Clone, Copy)]
struct Record {
    chunk: u32,
    freq: u8,
}

#[derive(Clone, Copy)]
enum Stream {
    Fresh,
    Hot,
}

const NOWHERE: u32 = u32::MAX;
const FREQ_MAX: u8 = 3;
/// Reclaim starts below so many free segments, so that moving records always finds one.
const FREE_MIN: usize = 3;

impl Log {
    /// For chunks below `chunks`, of which `room` are kept in segments of `segment_len`, as the engine does it.
    pub fn new(chunks: u32, room: usize, segment_len: usize) -> Self {
        Self::with(chunks, room, segment_len, Order::CostBenefit, Door::of_volume(room))
    }

    /// The same without admission, and the oldest segment goes.
    pub fn plain(chunks: u32, room: usize, segment_len: usize) -> Self {
        Self::with(chunks, room, segment_len, Order::Fifo, Door::open())
    }

    fn with(chunks: u32, room: usize, len: usize, order: Order, door: Door) -> Self {
        let segments = (room / len).max(FREE_MIN + 3);
        let mut free: VecDeque<usize> = (0..segments).collect();
        let open = [free.pop_front().unwrap_or(0), free.pop_front().unwrap_or(1)];
        Self {
            door,
            order,
            segments: (0..segments).map(|_| Segment::default()).collect(),
            segment_len: len,
            free,
            open,
            places: vec![NOWHERE; chunks as usize],
            decay: Decay::new(room as u64),
            seq: 0,
            written: 0,
        }
    }

    fn append(&mut self, chunk: u32, freq: u8, stream: Stream) {
        if self.segments[self.open[stream as usize]].records.len() == self.segment_len {
            self.seq += 1;
            // Reclaim keeps segments free.
            let next = self.free.pop_front().unwrap_or(self.open[stream as usize]);
            self.segments[next] = Segment { seq: self.seq, ..Segment::default() };
            self.open[stream as usize] = next;
        }
        let at = self.open[stream as usize];
        let segment = &mut self.segments[at];
        self.places[chunk as usize] = (at * self.segment_len + segment.records.len()) as u32;
        segment.records.push(Record { chunk, freq });
        segment.hit += u32::from(freq > 0);
        self.written += 1;
        if self.decay.wrote(1) {
            self.halve();
        }
    }

    fn halve(&mut self) {
        for segment in &mut self.segments {
            segment.records.iter_mut().for_each(|record| record.freq /= 2);
            segment.hit = segment.records.iter().filter(|record| record.freq > 0).count() as u32;
        }
    }

    fn reclaim(&mut self) {
        self.door.fill();
        let sealed = |(at, segment): &(usize, &Segment)| {
            segment.records.len() == self.segment_len && !self.open.contains(at)
        };
        let sealed = self.segments.iter().enumerate().filter(sealed);
        let victim = match self.order {
            Order::Fifo => sealed.min_by_key(|(_, segment)| segment.seq).map(|(at, _)| at),
            Order::CostBenefit => reclaim::pick(sealed.map(|(at, segment)| (at, segment.facts(self.seq)))),
        };
        let Some(victim) = victim else { return };
        let records = std::mem::take(&mut self.segments[victim].records);
        let mut by_freq = [0; 4];
        records.iter().for_each(|record| by_freq[usize::from(record.freq)] += 1);
        let mut keep = Keep::new(records.len() as u32, by_freq, Pressure::None);
        for record in records {
            self.places[record.chunk as usize] = NOWHERE;
            if keep.keeps(record.freq) {
                self.append(record.chunk, reclaim::freq_when_moved(record.freq), Stream::Hot);
            }
        }
        self.segments[victim].hit = 0;
        self.free.push_back(victim);
    }
}

impl Segment {
    fn facts(&self, seq: u64) -> SegmentFacts {
        SegmentFacts { records: self.records.len() as u32, hit: self.hit, age: seq - self.seq }
    }
}

impl Tier for Log {
    fn access(&mut self, chunk: u32) -> bool {
        let place = self.places[chunk as usize];
        if place != NOWHERE {
            let segment = &mut self.segments[place as usize / self.segment_len];
            let record = &mut segment.records[place as usize % self.segment_len];
            segment.hit += u32::from(record.freq == 0);
            record.freq = (record.freq + 1).min(FREQ_MAX);
            return true;
        }
        if self.door.admits(chunk) {
            while self.free.len() < FREE_MIN {
                self.reclaim();
            }
            self.append(chunk, 0, Stream::Fresh);
        }
        false
    }

    fn written(&self) -> u64 {
        self.written
    }
}
