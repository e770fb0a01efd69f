//! Keeps standard output for the protocol: what a vendor's library prints goes nowhere.

use std::fs::File;
use std::io;

/// Takes standard output away from everybody else in this process and returns it.
///
/// From here on `print!`, and the `printf` of any C library, write to `/dev/null` (SPEC STDIO-4, GRPC-1).
pub(crate) fn take_stdout() -> io::Result<File> {
    /// Below are the three standard streams.
    const DESCRIPTOR_MIN: i32 = 3;
    let stdout = io::stdout();
    let ours = rustix::io::fcntl_dupfd_cloexec(&stdout, DESCRIPTOR_MIN)?;
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(File::from(ours))
}
