//! What a plugin started and left behind outside its process group: found by its working directory, and killed.
//!
//! A descendant that calls `setsid(2)` leaves the group, and once its parent has ended nothing in the kernel says whose
//! it was. It still has the private working directory it inherited. A daemon that was made one properly (`chdir("/")`,
//! daemon(7)) has not; such a service of the user's, a `gpg-agent` for one, is meant to stay and does.

#[cfg(target_os = "linux")]
pub(super) use linux::end;

/// There is no such way to find them here.
#[cfg(not(target_os = "linux"))]
pub(super) fn end(_: &std::path::Path) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use rustix::event::{PollFd, PollFlags, Timespec};
    use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

    use crate::limits::{PROCESSES_LOOKED_AT_MAX, STRAGGLER_GRACE, STRAGGLER_ROUNDS_MAX, STRAGGLERS_MAX};

    /// Kills every process that works in `directory` or below, as often as new ones appear, within bounds. Blocks for
    /// a few milliseconds, [`STRAGGLER_GRACE`] at most for each round. Processes that this user may not look at are not
    /// found.
    pub(in super::super) fn end(directory: &Path) {
        for _ in 0..STRAGGLER_ROUNDS_MAX {
            let killed = kill_all(directory);
            if killed.is_empty() {
                return;
            }
            await_end(&killed);
        }
        tracing::warn!(directory = %directory.display(), "a plugin's processes could not all be ended");
    }

    fn kill_all(directory: &Path) -> Vec<OwnedFd> {
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        processes
            .take(PROCESSES_LOOKED_AT_MAX)
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .filter(|id| *id != getpid())
            .filter_map(|id| straggler(id, directory))
            .filter(|process| pidfd_send_signal(process, Signal::KILL).is_ok())
            .take(STRAGGLERS_MAX)
            .collect()
    }

    /// A descriptor of a process is readable once it has ended.
    fn await_end(killed: &[OwnedFd]) {
        let until = Instant::now() + STRAGGLER_GRACE;
        for process in killed {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
            let _ = rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], left.as_ref());
        }
    }

    /// The process if it works there. It is held before it is looked at, so that a number that came to mean another
    /// process meanwhile harms nobody.
    fn straggler(id: Pid, directory: &Path) -> Option<OwnedFd> {
        works_in(id, directory).then_some(())?;
        let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
        works_in(id, directory).then_some(process)
    }

    fn works_in(id: Pid, directory: &Path) -> bool {
        working_directory(id).is_some_and(|found| found.starts_with(directory))
    }

    fn working_directory(id: Pid) -> Option<PathBuf> {
        std::fs::read_link(format!("/proc/{}/cwd", id.as_raw_pid())).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_process_is_found_where_it_works_and_nowhere_else() {
            let here = working_directory(getpid()).unwrap();
            assert!(works_in(getpid(), &here) && works_in(getpid(), here.parent().unwrap()));
            assert!(!works_in(getpid(), &here.join("below")));
        }
    }
}
