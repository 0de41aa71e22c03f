//! Lets the bytes of a read through until its asker has left.
//!
//! Promises
//! - Once [`Gate::shut`] has returned, or the [`Watch`] is dropped, the sink is not called any more.
//! - What passed before is known by position.
//!
//! Does not know: where the bytes go.

use parking_lot::Mutex;
use std::sync::Arc;

/// Between an I/O thread and whoever asked it to read.
pub(super) struct Gate {
    /// Held while the sink copies a chunk, which is what `shut` may have to wait for: no disk.
    passed: Mutex<Passed>,
}

/// Shuts the gate when the asker goes, in whatever way.
pub(super) struct Watch(pub Arc<Gate>);

struct Passed {
    open: bool,
    /// Positions that went through.
    wants: Vec<bool>,
}

impl Gate {
    /// An open gate for so many wants.
    pub fn new(wants: usize) -> Arc<Self> {
        Arc::new(Self { passed: Mutex::new(Passed { open: true, wants: vec![false; wants] }) })
    }

    /// Calls `sink` for the want at `position` if the gate is open.
    pub fn pass(&self, position: usize, sink: impl FnOnce()) {
        let mut passed = self.passed.lock();
        if passed.open {
            sink();
            if let Some(want) = passed.wants.get_mut(position) {
                *want = true;
            }
        }
    }

    /// Shuts it and says which wants went through.
    pub fn shut(&self) -> Vec<bool> {
        let mut passed = self.passed.lock();
        passed.open = false;
        std::mem::take(&mut passed.wants)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.passed.lock().open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_passes_a_shut_gate_and_what_passed_before_is_known() {
        let gate = Gate::new(2);
        let mut seen = Vec::new();
        gate.pass(1, || seen.push(1));
        assert_eq!(gate.shut(), [false, true]);
        gate.pass(0, || seen.push(0));
        assert_eq!(seen, [1]);
    }

    #[test]
    fn an_asker_who_goes_shuts_it() {
        let gate = Gate::new(1);
        drop(Watch(Arc::clone(&gate)));
        let mut called = false;
        gate.pass(0, || called = true);
        assert!(!called);
    }
}
