//! The Merkle tree of RFC 6962, section 2.1: its hashes, and its right edge, which grows.

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// Hashes in a full tile (C2SP tlog-tiles, "Merkle Tree").
pub(super) const TILE_WIDTH: u64 = 256;

/// Levels of the tree in one tile.
const TILE_HEIGHT: u32 = 8;

/// The hash of a log entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256(&[&[0], entry])
}

/// The hash of an inner node.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The root of the tree without entries.
pub(super) fn empty_root() -> Hash {
    sha256(&[])
}

pub(super) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The root of a full tile's hashes, or of fewer if their number is a power of two.
pub(super) fn tile_root(hashes: &[Hash]) -> Option<Hash> {
    let mut tile = Tile::new(0);
    hashes.iter().for_each(|hash| tile.push(*hash));
    tile.nodes.last().and_then(|top| <[Hash; 1]>::try_from(top.as_slice()).ok()).map(|[root]| root)
}

/// A tile that became full.
#[derive(Debug)]
pub(super) struct FullTile {
    pub(super) level: u8,
    pub(super) index: u64,
    pub(super) hashes: Vec<Hash>,
}

/// The part of the tree that new entries can still change: per level the tile that grows, and the one before it,
/// so that entries of the last 256 can be proven from memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Edge {
    size: u64,
    levels: Vec<Level>,
}

#[derive(Clone, Debug)]
struct Level {
    current: Tile,
    previous: Option<Tile>,
}

/// The hashes of one tile, with the inner nodes above them that are complete.
#[derive(Clone, Debug)]
struct Tile {
    index: u64,
    /// By height within the tile, 0 to 8.
    nodes: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of a tree whose size is a multiple of 256: per level the hashes of the tile that grows.
    pub(super) fn new(size: u64, levels: Vec<Vec<Hash>>) -> Self {
        let mut edge = Self { size, levels: Vec::new() };
        let mut span = TILE_WIDTH;
        for hashes in levels {
            let mut tile = Tile::new(size / span);
            hashes.into_iter().for_each(|hash| tile.push(hash));
            edge.levels.push(Level { current: tile, previous: None });
            span = span.saturating_mul(TILE_WIDTH);
        }
        edge
    }

    /// Entries of the tree.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry; returns the tiles that it filled, lowest level first.
    pub(super) fn push(&mut self, leaf: Hash) -> Vec<FullTile> {
        self.size += 1;
        let mut full = Vec::new();
        let mut carried = Some(leaf);
        let mut level = 0_u8;
        while let Some(hash) = carried {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Level { current: Tile::new(0), previous: None });
            }
            let Some(place) = self.levels.get_mut(usize::from(level)) else { break };
            carried = place.push(hash);
            if let (Some(_), Some(tile)) = (carried, &place.previous) {
                full.push(FullTile { level, index: tile.index, hashes: tile.hashes().to_vec() });
            }
            level += 1;
        }
        full
    }

    /// The tiles that are not full, and not empty: level, index and hashes.
    pub(super) fn partial(&self) -> impl Iterator<Item = (u8, u64, &[Hash])> {
        (0_u8..)
            .zip(&self.levels)
            .map(|(number, level)| (number, level.current.index, level.current.hashes()))
            .filter(|(_, _, hashes)| !hashes.is_empty())
    }

    /// The root of the whole tree.
    pub(super) fn root(&self) -> Hash {
        if self.size == 0 {
            return empty_root();
        }
        // Every complete subtree along the edge is in it.
        super::proof::subtree(0, self.size, &mut |height, index| self.node(height, index).ok_or(()))
            .unwrap_or_default()
    }

    /// The complete subtree of `2^height` entries that begins at `index * 2^height`, if it lies in the edge.
    pub(super) fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let level = self.levels.get(usize::try_from(height / TILE_HEIGHT).ok()?)?;
        let within = height % TILE_HEIGHT;
        let tile = index >> (TILE_HEIGHT - within);
        let place = index - (tile << (TILE_HEIGHT - within));
        let found = [Some(&level.current), level.previous.as_ref()].into_iter().flatten();
        let tile = found.into_iter().find(|candidate| candidate.index == tile)?;
        tile.nodes.get(usize::try_from(within).ok()?)?.get(usize::try_from(place).ok()?).copied()
    }
}

impl Level {
    /// Adds a hash; returns the tile's root if it became full, and begins the next tile.
    fn push(&mut self, hash: Hash) -> Option<Hash> {
        self.current.push(hash);
        let root = self.current.nodes.get(TILE_HEIGHT as usize)?.first().copied()?;
        let next = Tile::new(self.current.index + 1);
        self.previous = Some(std::mem::replace(&mut self.current, next));
        Some(root)
    }
}

impl Tile {
    const fn new(index: u64) -> Self {
        Self { index, nodes: Vec::new() }
    }

    fn hashes(&self) -> &[Hash] {
        self.nodes.first().map(Vec::as_slice).unwrap_or_default()
    }

    fn push(&mut self, hash: Hash) {
        let mut carried = hash;
        for height in 0.. {
            if self.nodes.len() == height {
                self.nodes.push(Vec::new());
            }
            let Some(row) = self.nodes.get_mut(height) else { return };
            row.push(carried);
            match row.as_slice() {
                [.., left, right] if row.len() % 2 == 0 => carried = node_hash(left, right),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::proof::tests::{leaf, reference_root};

    #[test]
    fn the_edge_has_the_root_of_the_whole_tree() {
        let mut edge = Edge::default();
        assert_eq!(edge.root(), reference_root(&[]));
        let mut leaves = Vec::new();
        for n in 0..1100 {
            let filled: Vec<_> =
                edge.push(leaf(n)).iter().map(|t| (t.level, t.index, t.hashes.len())).collect();
            let expected = if (n + 1) % 256 == 0 { vec![(0, n / 256, 256)] } else { Vec::new() };
            assert_eq!(filled, expected, "entry {n}");
            leaves.push(leaf(n));
            if n % 37 == 0 || (n + 1) % 256 < 2 {
                assert_eq!(edge.root(), reference_root(&leaves), "size {}", n + 1);
            }
        }
    }

    #[test]
    fn two_levels_fill_at_once() {
        let mut edge = Edge::default();
        let mut filled = Vec::new();
        for n in 0..65_536 {
            filled = edge.push(leaf(n));
        }
        let filled: Vec<_> = filled.iter().map(|t| (t.level, t.index)).collect();
        assert_eq!(filled, [(0, 255), (1, 0)]);
        let partial: Vec<_> =
            edge.partial().map(|(level, index, hashes)| (level, index, hashes.len())).collect();
        assert_eq!(partial, [(2, 0, 1)]);
    }

    #[test]
    fn an_edge_made_from_tiles_goes_on_alike() {
        let mut grown = Edge::default();
        let mut first = Vec::new();
        for n in 0..512 {
            first.extend(grown.push(leaf(n)).into_iter().filter_map(|tile| tile_root(&tile.hashes)));
        }
        let mut made = Edge::new(512, vec![Vec::new(), first]);
        for n in 512..900 {
            assert_eq!(made.root(), grown.root(), "size {n}");
            grown.push(leaf(n));
            made.push(leaf(n));
        }
    }
}
