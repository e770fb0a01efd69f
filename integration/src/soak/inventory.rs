//! What processes hold open, told apart by process and by kind, and compared once nothing is under way any more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long calls in flight, processes that stop and connections that close may take. A plugin has 5 s to stop and a
/// call that hangs 5 s until it is noticed; what is open after that is left for good.
const SETTLE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// What was the same so many times is at rest.
const SAME: usize = 5;

/// What belongs to the vault and not to host or plugin.
#[derive(Clone, Debug, Default)]
pub struct Backend {
    /// Inodes of sockets that the test holds in its own process on behalf of the vault.
    pub sockets: BTreeSet<u64>,
    /// Processes of the vault, and what they are called. Several may have one name.
    pub processes: Vec<(&'static str, u32)>,
}

/// Counts by whose it is and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<(&'static str, String), u64>);

/// Something there is more of than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surplus {
    /// Whose: `host`, `plugin`, `relay`, or a process of the vault.
    pub owner: &'static str,
    /// `socket`, `pipe`, `anon_inode:[eventfd]`, the name of a file, or `process`.
    pub kind: String,
    /// How many more.
    pub count: u64,
}

impl Inventory {
    /// Counts now: what this process holds as the host, what the plugin's process holds, what the vault's do.
    pub fn take(plugin: Option<u32>, backend: &Backend) -> Self {
        let mut inventory = Self::default();
        let own = std::process::id();
        for name in descriptors(own) {
            let of_backend = socket(&name).is_some_and(|inode| backend.sockets.contains(&inode));
            inventory.add(if of_backend { "relay" } else { "host" }, kind(&name));
        }
        (0..ended_children(own)).for_each(|_| inventory.add("host", "process that ended".to_owned()));
        let others = plugin.map(|pid| ("plugin", pid)).into_iter().chain(backend.processes.iter().copied());
        for (owner, pid) in others {
            descriptors(pid).iter().for_each(|name| inventory.add(owner, kind(name)));
            inventory.add(owner, "process".to_owned());
        }
        inventory
    }

    fn add(&mut self, owner: &'static str, kind: String) {
        *self.0.entry((owner, kind)).or_default() += 1;
    }

    /// What there is more of than `before`.
    pub fn more_than(&self, before: &Self) -> Vec<Surplus> {
        let more = |(key, count): (&(&'static str, String), &u64)| {
            let count = count.saturating_sub(before.0.get(key).copied().unwrap_or(0));
            (count > 0).then(|| Surplus { owner: key.0, kind: key.1.clone(), count })
        };
        self.0.iter().filter_map(more).collect()
    }
}

/// Counts until nothing changes any more, or for `SETTLE`.
pub fn at_rest(take: impl Fn() -> Inventory) -> Inventory {
    let until = Instant::now() + SETTLE;
    let (mut last, mut same) = (take(), 1);
    while same < SAME && Instant::now() < until {
        std::thread::sleep(POLL);
        let now = take();
        same = if now == last { same + 1 } else { 1 };
        last = now;
    }
    last
}

/// Counts until there is no more of anything than before, or for `SETTLE`: what is there then is left.
pub fn left(before: &Inventory, take: impl Fn() -> Inventory) -> Vec<Surplus> {
    let until = Instant::now() + SETTLE;
    loop {
        let more = take().more_than(before);
        if more.is_empty() || Instant::now() >= until {
            return more;
        }
        std::thread::sleep(POLL);
    }
}

/// The living processes of this executable, except zombies, after those that are about to end have ended.
pub fn survivors(executable: &Path) -> u64 {
    let until = Instant::now() + SETTLE;
    loop {
        let found = super::processes(executable).len() as u64;
        if found == 0 || Instant::now() >= until {
            return found;
        }
        std::thread::sleep(POLL);
    }
}

/// What the descriptors of a process lead to.
fn descriptors(pid: u32) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let names = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| !is_own_look(name)).collect()
}

/// The directory that is being read shows itself.
fn is_own_look(name: &str) -> bool {
    name.starts_with("/proc/") && name.ends_with("/fd")
}

fn socket(name: &str) -> Option<u64> {
    name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Without what tells one from another: the number of a socket, the random part of a private directory.
fn kind(name: &str) -> String {
    let numbered = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(":["));
    for kind in ["socket", "pipe"] {
        if numbered(kind) {
            return kind.to_owned();
        }
    }
    if name.contains("/prokura-") {
        return "file in a private directory".to_owned();
    }
    name.to_owned()
}

/// Children of a process that have ended and were not reaped.
fn ended_children(pid: u32) -> usize {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let children =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
        .collect();
    children.into_iter().filter(|child| has_ended(*child)).count()
}

fn has_ended(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn of_kind(surplus: &[Surplus], owner: &str, kind: &str) -> u64 {
        surplus.iter().filter(|s| s.owner == owner && s.kind == kind).map(|s| s.count).sum()
    }

    #[test]
    fn sockets_of_the_relay_are_not_those_of_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay");
        let server = std::os::unix::net::UnixListener::bind(directory.path().join("server")).unwrap();
        let relay =
            crate::backend::relay::Relay::start(path.clone(), directory.path().join("server")).unwrap();
        let take =
            || Inventory::take(None, &Backend { sockets: relay.sockets().unwrap(), ..Backend::default() });
        // Tests run side by side in this process: only the relay's part is still.
        let relayed =
            |inventory: &Inventory| of_kind(&inventory.more_than(&Inventory::default()), "relay", "socket");
        assert_eq!(relayed(&take()), 1, "the one it listens on");
        let client = UnixStream::connect(&path).unwrap();
        let accepted = server.accept().unwrap();
        let until = Instant::now() + SETTLE;
        while relayed(&take()) != 7 && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        assert_eq!(relayed(&take()), 7, "two ends, each for the register and for both directions");
        drop((client, accepted));
        while relayed(&take()) != 1 && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        assert_eq!(relayed(&take()), 1, "both ends have gone");
    }

    #[test]
    fn a_surplus_says_whose_it_is_and_what() {
        let mut before = Inventory::default();
        before.add("host", kind("socket:[17]"));
        let mut after = before.clone();
        after.add("host", kind("socket:[18]"));
        after.add("plugin", kind("/tmp/prokura-x7/work/y"));
        assert_eq!(after.more_than(&after), []);
        let surplus = after.more_than(&before);
        assert_eq!((of_kind(&surplus, "host", "socket"), surplus.len()), (1, 2));
        assert_eq!(of_kind(&surplus, "plugin", "file in a private directory"), 1);
    }

    #[test]
    fn what_goes_away_by_itself_is_waited_for_and_what_stays_is_told() {
        let since = Instant::now();
        let take = || {
            let mut inventory = Inventory::default();
            if since.elapsed() < 3 * POLL {
                inventory.add("host", "socket".to_owned());
            }
            inventory
        };
        assert_eq!(left(&Inventory::default(), take), []);
        assert!(since.elapsed() >= 3 * POLL);
    }
}
