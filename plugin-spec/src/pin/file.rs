//! A PIN in a file: a regular file of bounded size that other users cannot reach.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Pin, PinError};
use crate::limits::PIN_FILE_BYTES_MAX;

/// The first line is the PIN. Links are followed: secrets are often mounted as such.
pub(super) fn read(path: &Path, origin: String) -> Result<Pin, PinError> {
    let unreadable = |reason: String| PinError::Unreadable { origin: origin.clone(), reason };
    // Before opening: opening a FIFO would wait for its writer.
    let named = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if !named.is_file() {
        return Err(unreadable("expected a regular file".to_owned()));
    }
    let mut file = File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let opened = file.metadata().map_err(|e| unreadable(e.to_string()))?;
    if opened.mode() & 0o007 != 0 {
        return Err(PinError::OpenToOthers { origin, mode: opened.mode() & 0o777 });
    }
    if opened.len() > PIN_FILE_BYTES_MAX {
        return Err(unreadable(format!("{} bytes, at most {PIN_FILE_BYTES_MAX} are allowed", opened.len())));
    }
    let bytes = read_bounded(&mut file).map_err(|e| unreadable(e.to_string()))?;
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    Pin::new(line.strip_suffix(b"\r").unwrap_or(line), origin)
}

/// Into a buffer that never grows, so that no copy stays behind unwiped.
fn read_bounded(file: &mut File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(vec![0; PIN_FILE_BYTES_MAX as usize]);
    let mut filled = 0;
    while let Some(room) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
        match file.read(room)? {
            0 => break,
            n => filled += n,
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::limits::PIN_BYTES_MAX;

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn directory(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("prokura-pin-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    impl Directory {
        fn file(&self, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join("pin");
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    fn found(path: &Path) -> Result<Pin, PinError> {
        read(path, "file".to_owned())
    }

    fn error(path: &Path) -> PinError {
        found(path).err().expect("no PIN")
    }

    #[test]
    fn the_first_line_of_a_private_file_is_the_pin() {
        let directory = directory("first-line");
        for content in [&b"12 34\n"[..], b"12 34", b"12 34\r\n", b"12 34\nsecond line\n"] {
            let pin = found(&directory.file(content, 0o640)).ok().unwrap();
            assert_eq!(pin.expose(), "12 34");
        }
    }

    #[test]
    fn files_others_may_reach_are_refused() {
        let directory = directory("open");
        for mode in [0o644, 0o602, 0o601] {
            let error = error(&directory.file(b"1234", mode));
            assert!(matches!(error, PinError::OpenToOthers { mode: m, .. } if m == mode), "{error}");
            assert!(!error.to_string().contains("1234"));
        }
    }

    #[test]
    fn files_that_hold_no_pin_are_refused() {
        let directory = directory("none");
        let many = vec![b'1'; PIN_BYTES_MAX + 1];
        for (content, word) in
            [(&b""[..], "empty"), (b"\n1234", "empty"), (b"\xFF\xFE12", "not text"), (&many, "too long")]
        {
            let error = error(&directory.file(content, 0o600));
            assert!(error.to_string().contains(word), "{error}");
        }
        let found = error(&directory.file(&vec![b'1'; PIN_FILE_BYTES_MAX as usize + 1], 0o600));
        assert!(found.to_string().contains("4097 bytes"), "{found}");
        for (path, word) in
            [("/nonexistent/pin", "No such file"), ("/dev/zero", "regular file"), ("/", "regular file")]
        {
            let found = error(Path::new(path));
            assert!(found.to_string().contains(word), "{found}");
        }
    }
}
