//! Stands between a client and a server on UNIX sockets and can delay what they say, hold it back and cut them off.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

/// How often a stalled connection looks whether it may go on.
const POLL: Duration = Duration::from_millis(5);
const CHUNK_BYTES: usize = 16 * 1024;

/// A relay that runs until it is dropped.
pub struct Relay {
    path: PathBuf,
    listener: u64,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    delay_us: AtomicU64,
    is_stalled: AtomicBool,
    is_ended: AtomicBool,
    connections: Mutex<Connections>,
}

/// Both ends of each connection there is.
#[derive(Default)]
struct Connections {
    next: u64,
    open: BTreeMap<u64, [UnixStream; 2]>,
}

impl Control {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relay {
    /// Listens at `path` and connects each client to `server`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn start(path: PathBuf, server: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let number = inode(&listener)?;
        let control = Arc::<Control>::default();
        let shared = Arc::clone(&control);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_ended.load(Ordering::Relaxed) {
                    break;
                }
                // A server that is not there is what the client sees as a closed connection.
                if let Ok(server) = UnixStream::connect(&server) {
                    let _ = connect(&client, &server, &shared);
                }
            }
        });
        Ok(Self { path, listener: number, control })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The inodes of its sockets: the one it listens on and both ends of each connection. However many descriptors
    /// this process has of them, they are the relay's.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn sockets(&self) -> Result<BTreeSet<u64>> {
        let connections = self.control.connections();
        let ends = connections.open.values().flatten().map(inode);
        Ok(ends.chain([Ok(self.listener)]).collect::<std::io::Result<_>>()?)
    }

    /// Every message takes this much longer, in each direction.
    pub fn delay(&self, delay: Duration) {
        let us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.control.delay_us.store(us, Ordering::Relaxed);
    }

    /// Passes nothing on until it is called with `false`.
    pub fn stall(&self, is_stalled: bool) {
        self.control.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Cuts all connections there are; new ones are taken.
    pub fn cut(&self) {
        for end in self.control.connections().open.values().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.control.is_ended.store(true, Ordering::Relaxed);
        self.cut();
        // Wakes the thread that listens.
        let _ = UnixStream::connect(&self.path);
    }
}

fn inode(socket: impl AsFd) -> std::io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

fn connect(client: &UnixStream, server: &UnixStream, control: &Arc<Control>) -> std::io::Result<()> {
    let number = {
        let mut connections = control.connections();
        connections.next += 1;
        let number = connections.next;
        connections.open.insert(number, [client.try_clone()?, server.try_clone()?]);
        number
    };
    for (from, to) in [(client, server), (server, client)] {
        let (from, to, control) = (from.try_clone()?, to.try_clone()?, Arc::clone(control));
        std::thread::spawn(move || {
            let _ = pass(&from, &to, &control);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            control.connections().open.remove(&number);
        });
    }
    Ok(())
}

fn pass(mut from: &UnixStream, mut to: &UnixStream, control: &Control) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        let delay = control.delay_us.load(Ordering::Relaxed);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay));
        }
        while control.is_stalled.load(Ordering::Relaxed) && !control.is_ended.load(Ordering::Relaxed) {
            std::thread::sleep(POLL);
        }
        to.write_all(chunk.get(..read).unwrap_or_default())?;
    }
}
