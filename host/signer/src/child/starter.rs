//! The thread that starts processes. It lives as long as this process, and so do the plugins that it started.
//!
//! A tied process ([`super::tether`]) ends with the thread that started it. Threads of a runtime come and go; this one
//! never ends by itself.

use std::io;
use std::sync::{LazyLock, mpsc};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Order {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
}

static STARTER: LazyLock<io::Result<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel();
    std::thread::Builder::new().name("plugin-starter".to_owned()).spawn(move || work(&orders))?;
    Ok(sender)
});

/// Starts the command on the thread for that, with its pipes in the runtime of the caller. Whoever stops waiting has
/// the process killed.
///
/// # Errors
/// As [`Command::spawn`]; if there can be no such thread.
pub(super) async fn start(mut command: Command) -> io::Result<Child> {
    command.kill_on_drop(true);
    let (answer, started) = oneshot::channel();
    let starter = STARTER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let order = Order { command, runtime: Handle::current(), answer };
    starter.send(order).map_err(|_| gone())?;
    started.await.map_err(|_| gone())?
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts processes is gone")
}

fn work(orders: &mpsc::Receiver<Order>) {
    while let Ok(Order { mut command, runtime, answer }) = orders.recv() {
        let _guard = runtime.enter();
        // A caller who went away hands the child back, and dropping it kills it.
        let _ = answer.send(command.spawn());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tether;
    use super::*;

    #[test]
    fn a_process_lives_on_when_the_thread_that_asked_for_it_has_ended() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let asking = std::thread::spawn(move || handle.block_on(start(sleeping())).unwrap());
        let mut child = asking.join().unwrap();
        // The signal would come while the thread ends, before it can be joined.
        let ended = runtime.block_on(async {
            tokio::time::timeout(std::time::Duration::from_millis(200), child.wait()).await
        });
        assert!(ended.is_err(), "{ended:?}");
        runtime.block_on(child.kill()).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "a process to watch")]
    fn sleeping() -> Command {
        let path = std::ffi::OsStr::new("/bin/sleep");
        let mut command = Command::new(path);
        let arguments = [std::ffi::OsStr::new("600")].into_iter();
        tether::tie(&mut command, tether::Image::new(path, arguments, std::iter::empty()).unwrap());
        command
    }
}
