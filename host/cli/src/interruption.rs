//! The signals that ask for the end: the work is cancelled, so that plugins and private directories go with it.

use crate::exit::Exit;

/// Waits for a signal that asks for the end; the exit code that goes with it. A signal that was ignored when the
/// process started (`nohup`, a shell's background job) stays ignored.
#[cfg(unix)]
pub(crate) async fn wait() -> Exit {
    use tokio::signal::unix::SignalKind;
    let ignored = ignored_at_start();
    let on = |kind: SignalKind| received(kind, ignored);
    tokio::select! {
        () = on(SignalKind::hangup()) => Exit::HungUp,
        () = on(SignalKind::interrupt()) => Exit::Interrupted,
        () = on(SignalKind::quit()) => Exit::Quit,
        () = on(SignalKind::terminate()) => Exit::Terminated,
    }
}

/// Waits for one signal; forever if it is ignored or cannot be watched, which leaves the system's own reaction.
#[cfg(unix)]
async fn received(kind: tokio::signal::unix::SignalKind, ignored: u64) {
    let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or(u32::MAX);
    if ignored.checked_shr(bit).unwrap_or(0) & 1 == 0
        && let Ok(mut signal) = tokio::signal::unix::signal(kind)
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// The mask of ignored signals, bit 0 for signal 1 (proc(5), `SigIgn`); none where the system does not tell.
#[cfg(unix)]
fn ignored_at_start() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
pub(crate) async fn wait() -> Exit {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
    Exit::Interrupted
}
