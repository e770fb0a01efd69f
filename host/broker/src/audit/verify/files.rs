//! Every file below `tile/`: it belongs to the log, and holds what its name says.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::reader::{Reader, ReaderError};
use super::super::tiles::{TileName, parse_bundle, parse_hash_tile, width};
use super::Findings;

/// Walks the folder. The widest tile of each place was compared with the tree before; narrower ones, left from
/// earlier checkpoints, must be its beginning.
pub(super) fn check(
    directory: &Path,
    reader: &Reader,
    live: bool,
    found: &mut Findings,
) -> Result<(), ReaderError> {
    let mut folders = vec![PathBuf::from("tile")];
    while let Some(folder) = folders.pop() {
        let path = directory.join(&folder);
        let entries = match fs::read_dir(&path) {
            // Nothing was published yet, or a live writer removed partial tiles.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|source| ReaderError::System { path: path.clone(), source })?,
        };
        for entry in entries {
            let entry = entry.map_err(|source| ReaderError::System { path: path.clone(), source })?;
            let below = folder.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(below),
                _ => check_file(reader, below, live, found),
            }
        }
    }
    Ok(())
}

fn check_file(reader: &Reader, path: PathBuf, live: bool, found: &mut Findings) {
    let Some(name) = TileName::parse(&path) else {
        return found.add(path, "it does not belong to the log");
    };
    let widest = width(name.level, name.index, reader.checkpoint().size);
    if name.width > widest {
        if !live {
            found.add(path, "it is beyond the checkpoint; opening the log publishes it");
        }
        return;
    }
    let widest = TileName { width: widest, ..name };
    match holds(reader, name, widest) {
        Ok(true) => {}
        Ok(false) => found.add(path, "it does not hold the entries or hashes that its name says"),
        // A live writer removes partial tiles.
        Err(ReaderError::System { .. }) if live => {}
        Err(error) => found.add(path, error.to_string()),
    }
}

fn holds(reader: &Reader, name: TileName, widest: TileName) -> Result<bool, ReaderError> {
    let bytes = reader.read(name)?;
    let count = if name.level.is_some() {
        parse_hash_tile(&bytes).map(|hashes| hashes.len())
    } else {
        parse_bundle(&bytes).map(|entries| entries.len())
    };
    Ok(count == Some(usize::from(name.width)) && (name == widest || reader.tile(widest)?.starts_with(&bytes)))
}
