//! The checks a plugin's executable passes before it is started, and what is wrong with one that does not.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use rustix::fs::Access;
use sha2::Digest as _;

use crate::limits::EXECUTABLE_BYTES_MAX;

const GROUP_WRITABLE: u32 = 0o020;
const OTHERS_WRITABLE: u32 = 0o002;
const ROOT: u32 = 0;

/// Why a file is not started as a plugin. The text follows the path and ends with who must act.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unfit {
    /// The file or its directory is a symbolic link: what is checked must be what is started.
    #[error("is a symbolic link; whoever installed the plugin must put the file itself there")]
    Symlink,
    /// The name of the plugin's directory is taken by something else.
    #[error("is no directory; whoever installed the plugin must make it one")]
    NotADirectory,
    /// A directory, socket, pipe or device has the name of the executable.
    #[error("is a {0}, expected a regular file; whoever installed the plugin must put its executable there")]
    NotAFile(&'static str),
    /// The current user may not execute it.
    #[error(
        "has mode {mode:04o} and may not be executed by this user; its owner must set the execute permission"
    )]
    NotExecutable {
        /// Permission bits.
        mode: u32,
    },
    /// Somebody else may replace or change it.
    #[error(
        "has mode {mode:04o}, so that {who} may change it; its owner must take the write permission away from them"
    )]
    WritableByOthers {
        /// Permission bits.
        mode: u32,
        /// `its group` or `others`.
        who: &'static str,
    },
    /// It belongs to a user who is neither root nor the one who runs this.
    #[error(
        "belongs to user {found}, expected user {expected} or root; whoever keeps this machine must change its owner"
    )]
    WrongOwner {
        /// User id found.
        found: u32,
        /// User id of this process.
        expected: u32,
    },
    /// The kernel does not know the format (`ENOEXEC`).
    #[error(
        "has the wrong architecture or is not a program: found {found}, expected a program for {}; \
             whoever installed the plugin must install the one for this machine",
        std::env::consts::ARCH
    )]
    WrongArchitecture {
        /// What the first bytes say.
        found: String,
    },
    /// The kernel knows the file and misses the interpreter or loader it names (`ENOENT`).
    #[error(
        "needs an interpreter or loader that is not on this machine (see its first line); whoever keeps this machine must install it"
    )]
    NoInterpreter,
    /// Its bytes are not the ones that were pinned.
    #[error(
        "has SHA-256 {found}, expected the pinned {expected}; find out who changed the file before anything is signed with it"
    )]
    WrongSha256 {
        /// Lower-case hex.
        found: String,
        /// Lower-case hex.
        expected: PinnedSha256,
    },
    /// The kernel refuses to start it for another reason, such as a file system mounted `noexec`.
    #[error("cannot be started: {0}; whoever keeps this machine must act")]
    Refused(Arc<io::Error>),
    /// It cannot be looked at.
    #[error("cannot be read: {0}; whoever keeps this machine must act")]
    Unreadable(Arc<io::Error>),
}

/// The SHA-256 an executable must have, as 64 hexadecimal digits of either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinnedSha256([u8; 32]);

/// A text that is no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {0:?}, expected a SHA-256 as 64 hexadecimal digits")]
pub struct InvalidSha256(String);

impl FromStr for PinnedSha256 {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Self, InvalidSha256> {
        let invalid = || InvalidSha256(text.chars().filter(|c| !c.is_control()).take(80).collect());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(2 * index..2 * index + 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

impl std::fmt::Display for PinnedSha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A directory that holds a plugin: no symbolic link, ours or root's, nobody else may write into it.
pub(crate) fn check_directory(path: &Path) -> Result<(), Unfit> {
    let found = look(path)?;
    if !found.is_dir() {
        return Err(Unfit::NotADirectory);
    }
    check_owner(found.uid(), &[own_user(), ROOT])?;
    check_writable(&found, GROUP_WRITABLE | OTHERS_WRITABLE)
}

/// An executable that the user installed.
pub(crate) fn check_installed_file(path: &Path) -> Result<(), Unfit> {
    check_file(path, GROUP_WRITABLE | OTHERS_WRITABLE, &[own_user(), ROOT])
}

/// An executable beside our own. Neither its directory nor its group is looked at, and it may belong to the owner of
/// the directory: whoever may write there may replace the host itself.
pub(crate) fn check_bundled_file(path: &Path) -> Result<(), Unfit> {
    let directory = path.parent().map(std::fs::metadata).transpose().map_err(unreadable)?;
    let keeper = directory.map_or(ROOT, |directory| directory.uid());
    check_file(path, OTHERS_WRITABLE, &[own_user(), ROOT, keeper])
}

/// Compares the bytes of the file with the pin. The file is not locked: [`check_directory`] has made sure that only
/// its owner could change it meanwhile.
pub(crate) fn check_sha256(path: &Path, expected: PinnedSha256) -> Result<(), Unfit> {
    let file = File::open(path).map_err(unreadable)?;
    let mut file = file.take(EXECUTABLE_BYTES_MAX);
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut buffer).map_err(unreadable)?;
        if length == 0 {
            break;
        }
        hash.update(buffer.get(..length).unwrap_or_default());
    }
    let found = PinnedSha256(hash.finalize().into());
    if found == expected {
        return Ok(());
    }
    Err(Unfit::WrongSha256 { found: found.to_string(), expected })
}

/// What the kernel's refusal to start `path` means.
pub(crate) fn start_refusal(path: &Path, error: io::Error) -> Result<Unfit, io::Error> {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::NOEXEC) => Ok(Unfit::WrongArchitecture { found: kind_of(path) }),
        Some(Errno::NOENT) => Ok(Unfit::NoInterpreter),
        Some(Errno::ACCESS | Errno::PERM | Errno::TXTBSY | Errno::ISDIR | Errno::LOOP | Errno::LIBBAD) => {
            Ok(Unfit::Refused(error.into()))
        }
        _ => Err(error),
    }
}

fn check_file(path: &Path, writable: u32, owners: &[u32]) -> Result<(), Unfit> {
    let found = look(path)?;
    if !found.is_file() {
        return Err(Unfit::NotAFile(kind_name(&found)));
    }
    check_owner(found.uid(), owners)?;
    check_writable(&found, writable)?;
    let not_executable = |_| Unfit::NotExecutable { mode: found.mode() & 0o7777 };
    rustix::fs::access(path, Access::EXEC_OK).map_err(not_executable)
}

fn unreadable(error: io::Error) -> Unfit {
    Unfit::Unreadable(error.into())
}

fn look(path: &Path) -> Result<Metadata, Unfit> {
    let found = std::fs::symlink_metadata(path).map_err(unreadable)?;
    if found.is_symlink() {
        return Err(Unfit::Symlink);
    }
    Ok(found)
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn check_owner(found: u32, allowed: &[u32]) -> Result<(), Unfit> {
    if allowed.contains(&found) {
        return Ok(());
    }
    Err(Unfit::WrongOwner { found, expected: own_user() })
}

fn check_writable(found: &Metadata, forbidden: u32) -> Result<(), Unfit> {
    let mode = found.mode() & 0o7777;
    if mode & forbidden == 0 {
        return Ok(());
    }
    let who = if mode & OTHERS_WRITABLE == 0 { "its group" } else { "others" };
    Err(Unfit::WritableByOthers { mode, who })
}

fn kind_name(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_fifo() => "pipe",
        () if kind.is_socket() => "socket",
        () => "device",
    }
}

/// What the first bytes of a file say it is, for people.
fn kind_of(path: &Path) -> String {
    let mut head = [0; 20];
    let length = File::open(path).and_then(|mut file| file.read(&mut head)).unwrap_or_default();
    match head.get(..length).unwrap_or_default() {
        [] => "an empty file".to_owned(),
        [0x7f, b'E', b'L', b'F', class, order, .., low, high] if length == head.len() => {
            let machine = if *order == 2 { [*high, *low] } else { [*low, *high] };
            elf_name(*class, u16::from_le_bytes(machine))
        }
        [0x7f, b'E', b'L', b'F', ..] => "a damaged ELF program".to_owned(),
        [b'M', b'Z', ..] => "a Windows program".to_owned(),
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "a macOS program".to_owned(),
        [b'P', b'K', ..] | [0x1f, 0x8b, ..] => "a packed archive".to_owned(),
        _ => "a file that is no program and has no #! line".to_owned(),
    }
}

/// ELF header, fields `EI_CLASS` and `e_machine`.
fn elf_name(class: u8, machine: u16) -> String {
    let bits = match class {
        1 => "32-bit",
        2 => "64-bit",
        _ => "damaged",
    };
    let name = match machine {
        0x03 => "x86",
        0x08 => "mips",
        0x14 | 0x15 => "powerpc",
        0x16 => "s390x",
        0x28 => "arm",
        0x3e => "x86_64",
        0xb7 => "aarch64",
        0xf3 => "riscv",
        0x102 => "loongarch",
        other => return format!("a {bits} ELF program for machine {other}"),
    };
    format!("a {bits} ELF program for {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_in_either_case_and_written_in_lower() {
        let upper = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD";
        let pin: PinnedSha256 = upper.parse().unwrap();
        assert_eq!(pin.to_string(), upper.to_lowercase());
        for bad in ["", &upper[1..], &format!("{upper}0"), &upper.replace('B', "+"), &"é".repeat(32)] {
            assert!(bad.parse::<PinnedSha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn files_of_other_users_are_refused() {
        assert!(check_owner(7, &[7, ROOT]).is_ok() && check_owner(ROOT, &[7, ROOT]).is_ok());
        let error = check_owner(8, &[7, ROOT]).unwrap_err();
        assert!(matches!(error, Unfit::WrongOwner { found: 8, .. }));
        assert!(error.to_string().starts_with("belongs to user 8, expected user "), "{error}");
    }

    #[test]
    fn the_pin_is_compared_with_the_bytes_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        assert!(check_sha256(&path, abc).is_ok());
        std::fs::write(&path, "abd").unwrap();
        let error = check_sha256(&path, abc).unwrap_err();
        assert!(matches!(&error, Unfit::WrongSha256 { expected, .. } if *expected == abc), "{error}");
        assert!(error.to_string().contains("expected the pinned ba7816bf"), "{error}");
    }

    #[test]
    fn foreign_programs_are_called_by_their_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0".to_vec();
        std::fs::write(&path, &elf).unwrap();
        assert_eq!(kind_of(&path), "a 64-bit ELF program for aarch64");
        elf.truncate(10);
        for (bytes, name) in [
            (elf, "a damaged ELF program"),
            (b"MZ\0\0".to_vec(), "a Windows program"),
            (b"PK\x03\x04".to_vec(), "a packed archive"),
            (Vec::new(), "an empty file"),
            (b"hello".to_vec(), "a file that is no program and has no #! line"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(kind_of(&path), name);
        }
    }
}
