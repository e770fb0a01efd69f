//! The table at the end: how many signatures and other deeds of each backend went well.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use libtest_mimic::Trial;
use prokura_integration::program::Missing;
use prokura_integration::suite::trial;

use crate::scene::Scene;

/// The columns, in order.
const COLUMNS: [&str; 11] = [
    "grpc·layout",
    "grpc·registry",
    "stdio·layout",
    "stdio·registry",
    "blob",
    "config",
    "discover",
    "create",
    "request",
    "self-sign",
    "install",
];

/// What happened to the tests of one cell.
#[derive(Clone, Copy, Default)]
struct Cell {
    passed: u32,
    failed: u32,
    missing: u32,
}

/// Counts by backend and column.
#[derive(Default)]
pub(crate) struct Tally(Mutex<BTreeMap<(&'static str, &'static str), Cell>>);

impl Tally {
    /// A test whose outcome is counted in a column.
    pub(crate) fn trial(
        self: &Arc<Self>,
        scene: &Arc<Scene>,
        column: &'static str,
        name: &str,
        test: impl FnOnce(&Scene) -> Result<()> + Send + 'static,
    ) -> Trial {
        let (tally, scene) = (Arc::clone(self), Arc::clone(scene));
        let backend = scene.backend.name;
        trial(format!("{backend}::{name}"), move || {
            let outcome = test(&scene);
            let mut cells = tally.0.lock().unwrap_or_else(PoisonError::into_inner);
            let cell = cells.entry((backend, column)).or_default();
            match &outcome {
                Ok(()) => cell.passed += 1,
                Err(error) if error.downcast_ref::<Missing>().is_some() => cell.missing += 1,
                Err(_) => cell.failed += 1,
            }
            outcome
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let backends: std::collections::BTreeSet<_> = cells.keys().map(|(backend, _)| *backend).collect();
        write!(f, "\n{:26}", "backend")?;
        COLUMNS.iter().try_for_each(|column| write!(f, " {column:>14}"))?;
        writeln!(f)?;
        for backend in backends {
            write!(f, "{backend:26}")?;
            for column in COLUMNS {
                let text = match cells.get(&(backend, column)) {
                    None => "-".to_owned(),
                    Some(Cell { missing, .. }) if *missing > 0 => "skipped".to_owned(),
                    Some(Cell { passed, failed: 0, .. }) => format!("{passed} ok"),
                    Some(Cell { passed, failed, .. }) => format!("{failed} of {} BAD", passed + failed),
                };
                write!(f, " {text:>14}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
