//! A network HSM that stalls, drops and restarts.

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    Vec::new()
}
