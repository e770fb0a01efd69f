//! Who is next: fair between peers (start-time fair queueing, Goyal et al. 1996), by deadline within a peer, bounded.
//!
//! Each operation costs O(log n) comparisons. Lines are sorted rings: an insertion moves at most half of one peer's line.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one peer.
    pub per_peer: usize,
    /// Of all. A peer may moreover have no more than what is still free, so that greedy peers leave room for others.
    pub overall: usize,
}

/// Why nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// This peer has its share.
    Peer,
    /// Nobody has room.
    Overall,
}

/// Where something waits; needed to take it out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    peer: Arc<str>,
    deadline: Instant,
    id: u64,
}

/// What waits first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// What it costs, in units of the budget.
    pub cost: u32,
    /// By when it must be done.
    pub deadline: Instant,
}

/// A queue of `V`.
#[derive(Debug)]
pub struct FairQueue<V> {
    bounds: Bounds,
    lines: HashMap<Arc<str>, Line<V>>,
    /// Peers with something waiting, by the virtual time at which their turn begins.
    waiting: BTreeSet<(u64, u64, Arc<str>)>,
    /// Peers without, that were served ahead of virtual time: they may not begin anew before.
    resting: BTreeSet<(u64, Arc<str>)>,
    virtual_time: u64,
    ids: u64,
    length: usize,
    cost: u64,
}

#[derive(Debug)]
struct Line<V> {
    start: u64,
    order: u64,
    items: VecDeque<Item<V>>,
}

#[derive(Debug)]
struct Item<V> {
    deadline: Instant,
    id: u64,
    cost: u32,
    value: V,
}

impl<V> FairQueue<V> {
    /// An empty queue.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lines: HashMap::new(),
            waiting: BTreeSet::new(),
            resting: BTreeSet::new(),
            virtual_time: 0,
            ids: 0,
            length: 0,
            cost: 0,
        }
    }

    /// How much waits.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Of how many peers something is kept, be it only what they were served.
    pub fn peers(&self) -> usize {
        self.lines.len()
    }

    /// Units that will be served before something of this peer with this deadline: all, or less if the peer's turn comes
    /// earlier because turns are fair.
    pub fn ahead(&self, peer: &str, deadline: Instant) -> u64 {
        let own = self
            .lines
            .get(peer)
            .map_or(0, |line| line.items.partition_point(|item| item.deadline <= deadline));
        let rounds = (own as u64).saturating_add(1);
        let mean = self.cost.div_ceil((self.length as u64).max(1));
        let turns = rounds.saturating_mul(self.waiting.len() as u64).saturating_mul(mean);
        self.cost.min(turns)
    }

    /// Adds something that costs at least one unit.
    ///
    /// # Errors
    /// [`Full`], with nothing changed.
    pub fn push(&mut self, peer: &Arc<str>, deadline: Instant, cost: u32, value: V) -> Result<Place, Full> {
        let own = self.lines.get(peer).map_or(0, |line| line.items.len());
        let free = self.bounds.overall.saturating_sub(self.length);
        if free == 0 {
            return Err(Full::Overall);
        }
        if own >= self.bounds.per_peer.min(free) {
            return Err(Full::Peer);
        }
        self.ids += 1;
        let id = self.ids;
        let cost = cost.max(1);
        let start = self.virtual_time;
        let line = self.lines.entry(Arc::clone(peer)).or_insert_with(|| Line {
            start,
            order: id,
            items: VecDeque::new(),
        });
        if line.items.is_empty() {
            self.resting.remove(&(line.start, Arc::clone(peer)));
            line.start = line.start.max(start);
            line.order = id;
            self.waiting.insert((line.start, line.order, Arc::clone(peer)));
        }
        let at = line.items.partition_point(|item| item.deadline <= deadline);
        line.items.insert(at, Item { deadline, id, cost, value });
        self.length += 1;
        self.cost += u64::from(cost);
        Ok(Place { peer: Arc::clone(peer), deadline, id })
    }

    /// What waits first.
    pub fn first(&self) -> Option<First> {
        let (_, _, peer) = self.waiting.first()?;
        let item = self.lines.get(peer)?.items.front()?;
        Some(First { cost: item.cost, deadline: item.deadline })
    }

    /// Takes what waits first; its peer has had its turn.
    pub fn pop(&mut self) -> Option<V> {
        let (start, _, peer) = self.waiting.pop_first()?;
        self.virtual_time = start;
        let line = self.lines.get_mut(&peer)?;
        let item = line.items.pop_front()?;
        line.start = start + u64::from(item.cost);
        self.settle(&peer, &item);
        Some(item.value)
    }

    /// Takes what waits first as if it had never come: its peer keeps its turn.
    pub fn pop_unserved(&mut self) -> Option<V> {
        let (_, _, peer) = self.waiting.pop_first()?;
        let item = self.lines.get_mut(&peer)?.items.pop_front()?;
        self.settle(&peer, &item);
        Some(item.value)
    }

    /// Takes out what waits at this place, if it still does.
    pub fn remove(&mut self, place: &Place) -> Option<V> {
        let line = self.lines.get_mut(&place.peer)?;
        let from = line.items.partition_point(|item| item.deadline < place.deadline);
        let at = from
            + line
                .items
                .range(from..)
                .take_while(|item| item.deadline == place.deadline)
                .position(|item| item.id == place.id)?;
        self.waiting.remove(&(line.start, line.order, Arc::clone(&place.peer)));
        let item = line.items.remove(at)?;
        self.settle(&place.peer, &item);
        Some(item.value)
    }

    /// Takes out all that `which` says. O(n).
    pub fn remove_all(&mut self, which: impl Fn(&V) -> bool) -> Vec<V> {
        let mut places = Vec::new();
        for (peer, line) in &self.lines {
            for item in line.items.iter().filter(|item| which(&item.value)) {
                places.push(Place { peer: Arc::clone(peer), deadline: item.deadline, id: item.id });
            }
        }
        places.iter().filter_map(|place| self.remove(place)).collect()
    }

    /// After an item left: its peer waits for its next turn, rests, or is forgotten.
    fn settle(&mut self, peer: &Arc<str>, item: &Item<V>) {
        self.length -= 1;
        self.cost -= u64::from(item.cost);
        self.ids += 1;
        if let Some(line) = self.lines.get_mut(peer) {
            if !line.items.is_empty() {
                line.order = self.ids;
                self.waiting.insert((line.start, line.order, Arc::clone(peer)));
            } else if line.start > self.virtual_time {
                self.resting.insert((line.start, Arc::clone(peer)));
            } else {
                self.lines.remove(peer);
            }
        }
        self.forget_rested();
    }

    fn forget_rested(&mut self) {
        if self.length == 0 {
            self.lines.clear();
            self.resting.clear();
            self.virtual_time = 0;
        }
        while self.resting.first().is_some_and(|(until, _)| *until <= self.virtual_time) {
            if let Some((_, peer)) = self.resting.pop_first() {
                self.lines.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests;
