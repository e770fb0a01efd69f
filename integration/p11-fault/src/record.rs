//! The file `stats.PID`: records of 32 bytes, a name padded with zero bytes to 24 and a little-endian count.
//!
//! Besides one record for each function that was called there are `sessions` (open now) and `sessions-most`.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const NAME_BYTES: usize = 24;
const RECORD_BYTES: usize = NAME_BYTES + 8;

/// Counts of this process.
pub(crate) struct Record {
    file: Option<File>,
    counts: Mutex<Vec<(&'static str, u64)>>,
}

impl Record {
    pub(crate) fn new(directory: &Path) -> Self {
        let file = File::create(directory.join(format!("stats.{}", std::process::id()))).ok();
        Self { file, counts: Mutex::default() }
    }

    /// Counts a call.
    pub(crate) fn called(&self, function: &'static str) {
        self.change(function, |count| count + 1);
    }

    /// Notes how many sessions are open.
    pub(crate) fn sessions(&self, open: usize) {
        let open = open as u64;
        self.change("sessions", |_| open);
        self.change("sessions-most", |most| most.max(open));
    }

    fn change(&self, name: &'static str, change: impl Fn(u64) -> u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let index = counts.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            counts.push((name, 0));
            counts.len() - 1
        });
        let count = change(counts[index].1);
        counts[index].1 = count;
        let mut record = [0; RECORD_BYTES];
        let length = name.len().min(NAME_BYTES);
        record[..length].copy_from_slice(&name.as_bytes()[..length]);
        record[NAME_BYTES..].copy_from_slice(&count.to_le_bytes());
        if let Some(file) = &self.file {
            let _ = file.write_all_at(&record, (index * RECORD_BYTES) as u64);
        }
    }
}
