//! Files that hold secrets: read with a bound, wiped after use, refused if every user of the machine can read them.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// A file's bytes. The error says why there are none, without the file's name.
pub(super) fn bounded(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let length = file.metadata().map_err(|e| e.to_string())?.len();
    // One allocation of the final size: a growing buffer would leave copies behind.
    let capacity = usize::try_from(length.min(limit).saturating_add(1)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is larger than {limit} bytes"));
    }
    Ok(bytes)
}

/// Refuses a file that everybody reads; `{what}` in the words stands for what is in it.
pub(super) fn check_readers(path: &Path) -> Result<(), String> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(()) };
    let (mode, shown) = (metadata.permissions().mode() & 0o777, path.display());
    if mode & 0o007 == 0 {
        return Ok(());
    }
    Err(format!(
        "{{what}} {shown} has mode {mode:04o}: every user can use it; run chmod o= {shown}, and replace the secret if others \
         may have read it"
    ))
}
