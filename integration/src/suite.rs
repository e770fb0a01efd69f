//! Test matrices made at run time, in which what is absent is a visible skip, and in CI a failure.

use anyhow::Result;
use libtest_mimic::{Completion, Failed, Trial};

use crate::program::Missing;

/// One test. A [`Missing`] anywhere in its error chain makes it a skip, or with `CI=true` a failure.
pub fn trial(name: impl Into<String>, test: impl FnOnce() -> Result<()> + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match test() {
        Ok(()) => Ok(Completion::Completed),
        Err(error) => match error.downcast_ref::<Missing>() {
            Some(missing) if !in_ci() => Ok(Completion::ignored_with(missing)),
            _ => Err(Failed::from(format!("{error:#}"))),
        },
    })
}

/// Whether a skip is a failure here.
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
