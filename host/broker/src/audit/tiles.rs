//! Names and bytes of tiles and entry bundles, as C2SP tlog-tiles lays them out.

use std::path::{Path, PathBuf};

use super::tree::{Hash, TILE_WIDTH};

/// A resource below `tile/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TileName {
    /// The level of a hash tile; none for an entry bundle.
    pub(super) level: Option<u8>,
    /// Which one of its level.
    pub(super) index: u64,
    /// 1 to 256. Below 256 it is partial.
    pub(super) width: u16,
}

impl TileName {
    pub(super) const FULL: u16 = 256;

    pub(super) const fn hashes(level: u8, index: u64, width: u16) -> Self {
        Self { level: Some(level), index, width }
    }

    pub(super) const fn bundle(index: u64, width: u16) -> Self {
        Self { level: None, index, width }
    }

    pub(super) const fn is_full(self) -> bool {
        self.width == Self::FULL
    }

    /// The full tile that this one is or becomes.
    pub(super) const fn filled(self) -> Self {
        Self { width: Self::FULL, ..self }
    }

    /// The path below the log's directory.
    pub(super) fn path(self) -> PathBuf {
        let mut path = PathBuf::from("tile");
        match self.level {
            Some(level) => path.push(level.to_string()),
            None => path.push("entries"),
        }
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        let last = groups.first().cloned().unwrap_or_default();
        path.extend(groups.iter().skip(1).rev());
        if self.is_full() {
            path.join(last)
        } else {
            path.join(format!("{last}.p")).join(self.width.to_string())
        }
    }

    /// The folder of the partial tiles that this one makes needless.
    pub(super) fn partials(self) -> PathBuf {
        let mut path = self.filled().path().into_os_string();
        path.push(".p");
        path.into()
    }

    /// Reads a path back; only the one way to write a name is accepted.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let mut parts = path.iter().map(|part| part.to_str());
        if parts.next()?? != "tile" {
            return None;
        }
        let level = match parts.next()?? {
            "entries" => None,
            level => Some(level.parse::<u8>().ok()?),
        };
        let (mut index, mut width) = (0_u64, Self::FULL);
        while let Some(part) = parts.next() {
            let part = part?;
            let (group, partial) = part.strip_suffix(".p").map_or((part, false), |group| (group, true));
            let group = group.strip_prefix('x').unwrap_or(group).parse::<u64>().ok()?;
            index = index.checked_mul(1000)?.checked_add(group)?;
            if partial {
                width = parts.next()??.parse().ok()?;
            }
        }
        let name = Self { level, index, width };
        (name.path() == path).then_some(name)
    }
}

/// How many hashes the tile at this place has in a tree of `size` entries: 0 to 256.
pub(super) fn width(level: Option<u8>, index: u64, size: u64) -> u16 {
    let span = TILE_WIDTH.checked_pow(u32::from(level.unwrap_or(0)));
    let hashes = span.map_or(0, |span| size / span);
    let before = index.saturating_mul(TILE_WIDTH);
    u16::try_from(hashes.saturating_sub(before).min(TILE_WIDTH)).unwrap_or(TileName::FULL)
}

/// The bytes of a hash tile.
pub(super) fn hash_tile(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// The hashes of a tile.
pub(super) fn parse_hash_tile(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() <= usize::from(TileName::FULL)).then(|| hashes.to_vec())
}

/// Adds an entry to a bundle: its length in two bytes, big-endian, and itself. Entries are bounded before.
pub(super) fn add_to_bundle(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).unwrap_or(u16::MAX);
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend(entry.iter().take(usize::from(length)));
}

/// The entries of a bundle, or none if its bytes are not whole entries.
pub(super) fn parse_bundle(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        bytes = rest;
    }
    bytes.is_empty().then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        let shown = |name: TileName| name.path().display().to_string();
        assert_eq!(shown(TileName::hashes(0, 1_234_067, 256)), "tile/0/x001/x234/067");
        assert_eq!(shown(TileName::hashes(2, 0, 1)), "tile/2/000.p/1");
        assert_eq!(shown(TileName::bundle(1000, 255)), "tile/entries/x001/000.p/255");
        for name in
            [TileName::hashes(0, 1_234_067, 256), TileName::bundle(7, 9), TileName::hashes(5, 1000, 1)]
        {
            assert_eq!(TileName::parse(&name.path()), Some(name));
        }
        for other in
            ["tile/0/1", "tile/0/x000/001", "tile/0/001.p/256", "tile/00/001", "tile/0/001.p/01", "tile"]
        {
            assert_eq!(TileName::parse(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn widths_are_those_of_the_specification() {
        // The example of 70,000 entries.
        assert_eq!((width(Some(0), 272, 70_000), width(Some(0), 273, 70_000)), (256, 112));
        assert_eq!((width(Some(1), 0, 70_000), width(Some(1), 1, 70_000)), (256, 17));
        assert_eq!((width(Some(2), 0, 70_000), width(Some(3), 0, 70_000)), (1, 0));
        assert_eq!((width(None, 0, 256), width(Some(1), 0, 256)), (256, 1));
    }

    #[test]
    fn bundles_are_read_as_written() {
        let mut bundle = Vec::new();
        add_to_bundle(&mut bundle, b"one");
        add_to_bundle(&mut bundle, b"");
        assert_eq!(parse_bundle(&bundle), Some(vec![b"one".as_slice(), b""]));
        assert_eq!(parse_bundle(&bundle[..4]), None);
        assert_eq!(parse_bundle(&[0]), None);
    }
}
