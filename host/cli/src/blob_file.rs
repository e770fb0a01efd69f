//! Files as signing and verifying see them: a digest, a size, and a signature file with the format in its name.

use std::io::Read;
use std::path::Path;

use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA384, SHA512};
use prokura_envelope::EnvelopeFormat;
use prokura_plugin::HashAlgorithm;

use crate::exit::{Exit, Failure};
use crate::output::{printable_line, shown};

/// Digest and size of a file.
pub(crate) struct Measured {
    /// `sha256:...`, `sha384:...` or `sha512:...`.
    pub(crate) digest: String,
    /// Length in bytes.
    pub(crate) size: u64,
}

/// Reads a file once, in pieces, however large it is. Blocks on the file system.
///
/// # Errors
/// If it cannot be read or is a directory.
pub(crate) fn measure(path: &Path, algorithm: HashAlgorithm) -> Result<Measured, Failure> {
    let cannot = |error: std::io::Error| {
        let exit = match error.kind() {
            std::io::ErrorKind::NotFound
            | std::io::ErrorKind::PermissionDenied
            | std::io::ErrorKind::IsADirectory => Exit::Usage,
            _ => Exit::Infrastructure,
        };
        Failure::new(exit, error).during(format!("cannot read {}", shown(path)))
    };
    let (name, algorithm): (_, &'static Algorithm) = match algorithm {
        HashAlgorithm::Sha256 => ("sha256", &SHA256),
        HashAlgorithm::Sha384 => ("sha384", &SHA384),
        HashAlgorithm::Sha512 => ("sha512", &SHA512),
    };
    let mut file = std::fs::File::open(path).map_err(cannot)?;
    let (mut context, mut size) = (Context::new(algorithm), 0_u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut buffer).map_err(cannot)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        context.update(read);
        size += read.len() as u64;
    }
    let hex: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Measured { digest: format!("{name}:{hex}"), size })
}

/// The format a signature file's name tells: `NAME.jws.sig` or `NAME.cose.sig`, in any case.
///
/// # Errors
/// In `notation`'s words for other names.
pub(crate) fn format_of(path: &Path) -> Result<EnvelopeFormat, Failure> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let shown = printable_line(&name);
    let mut parts = name.rsplit('.');
    if !parts.next().is_some_and(|last| last.eq_ignore_ascii_case("sig") && name.contains('.')) {
        return Err(Failure::usage(format!(
            "invalid signature filename {shown}. The file extension must be .sig"
        )));
    }
    let format = parts.next().filter(|_| parts.next().is_some()).ok_or_else(|| {
        Failure::usage(format!(
            "invalid signature filename {shown}. A valid signature file name must contain signature format and .sig \
             file extension"
        ))
    })?;
    format.to_ascii_lowercase().parse().map_err(|_| {
        Failure::usage(format!(
            "signature format {:?} not supported\nSupported signature envelope formats are \"jws\" and \"cose\"",
            format.to_ascii_lowercase()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_format() {
        let format = |name: &str| format_of(Path::new(name)).map(EnvelopeFormat::as_str);
        assert_eq!(format("/a/b.txt.jws.sig").unwrap(), "jws");
        assert_eq!(format("b.COSE.SIG").unwrap(), "cose");
        for (name, expected) in [
            ("b.jws", "The file extension must be .sig"),
            ("sig", "The file extension must be .sig"),
            ("jws.sig", "must contain signature format"),
            ("b.pgp.sig", "signature format \"pgp\" not supported"),
        ] {
            let error = format(name).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_file_is_measured_by_the_hash_of_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, b"abc").unwrap();
        let measured = measure(&path, HashAlgorithm::Sha384).unwrap();
        assert_eq!(measured.size, 3);
        assert!(
            measured.digest.starts_with("sha384:cb00753f45a35e8bb5a03d699ac65007"),
            "{}",
            measured.digest
        );
        assert_eq!(measure(&dir.path().join("none"), HashAlgorithm::Sha256).err().unwrap().exit, Exit::Usage);
    }
}
