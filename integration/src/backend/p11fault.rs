//! The fault module of `integration/p11-fault` in front of a real PKCS#11 module: what it breaks, and what it counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::program::{Missing, workspace};

/// The environment variable that names the directory the module is steered by.
pub const VARIABLE: &str = "PROKURA_PLUGIN_P11_FAULT";

const RECORD_BYTES: usize = 32;
const NAME_BYTES: usize = 24;

/// A directory that steers the fault module in whatever process has [`VARIABLE`] set to it.
pub struct Faults {
    /// The directory.
    pub directory: PathBuf,
    rules: Mutex<Vec<(u32, String)>>,
    next: AtomicU32,
}

/// Calls by name of the function; besides them `sessions` and `sessions-most`.
pub type Counts = BTreeMap<String, u64>;

impl Faults {
    /// Nothing broken yet: calls go to `module`, which is initialised with `reserved` if that is given.
    ///
    /// # Errors
    /// If the directory cannot be filled.
    pub fn new(directory: PathBuf, module: &Path, reserved: Option<&str>) -> Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let second = reserved.map_or_else(String::new, |line| format!("{line}\n"));
        std::fs::write(directory.join("module"), format!("{}\n{second}", module.display()))?;
        Ok(Self { directory, rules: Mutex::default(), next: AtomicU32::new(1) })
    }

    /// The module to load.
    ///
    /// # Errors
    /// [`Missing`] if `integration/p11-fault` is not built.
    pub fn module() -> Result<PathBuf> {
        let module = workspace().join("integration/p11-fault/target/release/libprokura_p11_fault.so");
        if !module.is_file() {
            return Err(Missing::new("the PKCS#11 fault module", "integration/p11-fault/build").into());
        }
        Ok(module)
    }

    /// Adds a rule such as `C_Sign 1 0 return CKR_DEVICE_ERROR`: the function, the call it starts with, how often (0 for
    /// ever), what happens. Returns its number.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&self, rule: &str) -> Result<u32> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.push((number, rule.to_owned()));
        self.write(&rules)?;
        Ok(number)
    }

    /// Takes a rule away.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remove(&self, number: u32) -> Result<()> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|(known, _)| *known != number);
        self.write(&rules)
    }

    /// Takes all rules away.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn clear(&self) -> Result<()> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.clear();
        self.write(&rules)
    }

    /// The rules that stand and were never applied.
    pub fn unused(&self) -> Vec<String> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        let is_unused = |number: &u32| !self.directory.join(format!("fired.{number}")).exists();
        rules.iter().filter(|(number, _)| is_unused(number)).map(|(_, rule)| rule.clone()).collect()
    }

    fn write(&self, rules: &[(u32, String)]) -> Result<()> {
        let text: String = rules.iter().map(|(number, rule)| format!("{number} {rule}\n")).collect();
        // Renamed into place: the module reads it at each call.
        let staged = self.directory.join("faults.new");
        std::fs::write(&staged, text)?;
        Ok(std::fs::rename(staged, self.directory.join("faults"))?)
    }

    /// What all processes together have called.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        let mut sums = Counts::new();
        for pid in self.pids()? {
            for (name, count) in self.counts_of(pid)? {
                *sums.entry(name).or_default() += count;
            }
        }
        Ok(sums)
    }

    /// How often a function was called by all processes together.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn calls(&self, function: &str) -> Result<u64> {
        Ok(self.counts()?.get(function).copied().unwrap_or(0))
    }

    /// What one process has called.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn counts_of(&self, pid: u32) -> Result<Counts> {
        let bytes = std::fs::read(self.directory.join(format!("stats.{pid}")))?;
        let mut counts = Counts::new();
        for record in bytes.chunks_exact(RECORD_BYTES) {
            let (name, count) = record.split_at(NAME_BYTES);
            let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
            let count = u64::from_le_bytes(count.try_into().context("eight bytes")?);
            counts.insert(String::from_utf8(name)?, count);
        }
        Ok(counts)
    }

    /// The processes that have loaded the module.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let mut pids = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let pid = name.to_str().and_then(|n| n.strip_prefix("stats."));
            let pid: Option<u32> = pid.and_then(|p| p.parse().ok());
            pids.extend(pid);
        }
        Ok(pids)
    }
}
