//! Who is let in: everybody, or whom the volume's admission lets in.

use crate::trace::chance::Chance;
use antiphon_cache::policy::admission::{Admission, GHOSTS_PER_CHUNK, Room};
use antiphon_cache::policy::wear::Pressure;

/// The way into a tier.
pub struct Door {
    /// None lets everybody in.
    admission: Option<Admission>,
    room: Room,
}

impl Door {
    /// Lets everybody in.
    pub fn open() -> Self {
        Self { admission: None, room: Room::Free }
    }

    /// Lets in whom a volume of so many chunks lets in.
    pub fn of_volume(chunks: usize) -> Self {
        let ghosts = (chunks as f64 * GHOSTS_PER_CHUNK) as usize;
        Self { admission: Some(Admission::new(ghosts)), room: Room::Free }
    }

    /// Whether a missed chunk is kept.
    pub fn admits(&mut self, chunk: u32) -> bool {
        // Chunk numbers spread over 64 bits, as the engine's keyed hash does.
        let hash = Chance::new(u64::from(chunk)).word();
        let room = self.room;
        self.admission.as_mut().is_none_or(|admission| admission.admit(hash, room, Pressure::None))
    }

    /// From now on somebody has to go for whoever comes.
    pub fn fill(&mut self) {
        self.room = Room::Full;
    }
}
