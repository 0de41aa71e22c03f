//! CPU time of a process and everything it started.
//!
//! Does not know: what the processes do.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc`: `USER_HZ`, 100 on every Linux there is.
const TICKS_PER_SEC: u64 = 100;

/// What one line of `/proc/PID/stat` says.
struct Process {
    parent: u32,
    ticks: u64,
}

/// User and system time of `root` and all its descendants that are alive, their dead children included.
pub fn time_of_tree(root: u32) -> Result<Duration> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry.context("list /proc")?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // A process may end while we look; it is then its parent's.
        if let Some(process) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().and_then(parse)
        {
            processes.insert(pid, process);
        }
    }
    anyhow::ensure!(processes.contains_key(&root), "process {root} is gone");
    let ticks: u64 = processes
        .iter()
        .filter(|(pid, _)| descends(**pid, root, &processes))
        .map(|(_, process)| process.ticks)
        .sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SEC))
}

fn descends(mut pid: u32, root: u32, processes: &HashMap<u32, Process>) -> bool {
    // Parents are older, so the way up is no longer than the table.
    for _ in 0..processes.len() {
        if pid == root {
            return true;
        }
        match processes.get(&pid) {
            Some(process) => pid = process.parent,
            None => return false,
        }
    }
    false
}

/// Fields 4 and 14 to 17 of proc(5): parent, and the times of the process and of its waited-for children.
fn parse(stat: &str) -> Option<Process> {
    // The name in parentheses may hold anything, a closing parenthesis too.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = [14, 15, 16, 17].into_iter().map(number).sum::<Option<u64>>()?;
    Some(Process { parent: u32::try_from(number(4)?).ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_whatever_the_process_is_called() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194560 1 0 0 0 100 20 3 1 20 0 1 0 1 1 1";
        let process = parse(line).unwrap();
        assert_eq!((process.parent, process.ticks), (7, 124));
        assert!(parse("42 (a").is_none());
    }

    #[test]
    fn our_own_tree_has_a_time_and_a_stranger_has_none() {
        assert!(time_of_tree(std::process::id()).is_ok());
        assert!(time_of_tree(u32::MAX).is_err());
    }
}
