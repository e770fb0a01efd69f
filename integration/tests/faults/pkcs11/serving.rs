//! One long-lived plugin, whose token changes under it.

use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    Vec::new()
}
