//! The last steps of a child between fork and exec, which tie it to this process: the only unsafe code of the host.
//!
//! - The child asks the kernel for `SIGKILL` when its parent ends (`PR_SET_PDEATHSIG`, prctl(2)), so that no plugin
//!   outlives a host that was itself killed and could end nothing. The kernel means the parent's *thread*; see
//!   [`super::starter`]. An executable that is set-user-ID, set-group-ID or has file capabilities loses the tie at exec.
//!   On other systems than Linux there is no such request: there a plugin outlives a killed host until it notices that
//!   its stdin is closed.
//! - It marks every descriptor above the standard streams close-on-exec. The host's own are marked already; those that
//!   whoever started the host left open are not, and are none of a plugin's business.
//! - It calls execve(2) itself. The standard library, once it has to fork, calls execvp(3), which has a shell read what
//!   the kernel does not take for a program.
#![expect(
    unsafe_code,
    reason = "pre_exec, close_range(2) and execve(2) have no safe form; each use says why it is sound"
)]

use std::ffi::{CString, OsStr, c_char, c_int};
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use tokio::process::Command;

use crate::limits::INHERITED_DESCRIPTORS_MAX;

/// The first descriptor behind the standard streams.
const FIRST: c_int = 3;

/// What is executed: path, arguments and environment as execve(2) takes them.
pub(super) struct Image {
    path: CString,
    arguments: Texts,
    environment: Texts,
}

impl Image {
    /// The path becomes the first argument too.
    ///
    /// # Errors
    /// If a text holds a NUL.
    pub(super) fn new<'a>(
        path: &'a OsStr,
        arguments: impl Iterator<Item = &'a OsStr>,
        environment: impl Iterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> io::Result<Self> {
        let arguments = std::iter::once(path).chain(arguments).map(|text| text.as_bytes().to_vec());
        let environment = environment.map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        Ok(Self {
            path: CString::new(path.as_bytes())?,
            arguments: Texts::new(arguments)?,
            environment: Texts::new(environment)?,
        })
    }

    /// Becomes that program. Returns only if the kernel refuses.
    fn execute(&self) -> io::Error {
        let (path, arguments) = (self.path.as_ptr(), self.arguments.pointers.as_ptr());
        // SAFETY: execve(2) reads three things that live as long as `self`: a text that ends with NUL, and two lists of
        // pointers to such texts that end with a null pointer.
        unsafe { libc::execve(path, arguments, self.environment.pointers.as_ptr()) };
        io::Error::last_os_error()
    }
}

/// Texts, and the list of pointers to them that ends with a null pointer.
struct Texts {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are into texts of `_owned`, which lie on the heap, are never changed and move with nobody.
unsafe impl Send for Texts {}
// SAFETY: as above; there is nothing to change through a shared reference.
unsafe impl Sync for Texts {}

impl Texts {
    fn new(texts: impl Iterator<Item = Vec<u8>>) -> io::Result<Self> {
        let owned: Vec<CString> = texts.map(CString::new).collect::<Result<_, _>>()?;
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self { _owned: owned, pointers })
    }
}

/// Makes the command's process end with the thread that starts it, inherit the standard streams alone, and become
/// `image` in place of what the command names.
pub(super) fn tie(command: &mut Command, image: Image) {
    #[cfg(target_os = "linux")]
    let host = rustix::process::getpid();
    let last_steps = move || {
        close_inherited_at_exec();
        #[cfg(target_os = "linux")]
        end_with(host)?;
        Err(image.execute())
    };
    // SAFETY: the closure runs in the child of a fork of a process with many threads, so that it may only call what is
    // async-signal-safe (signal-safety(7)). It makes system calls through rustix and libc, reads what it captured, and
    // makes `io::Error`s of numbers. It allocates nothing, frees nothing, takes no lock and cannot panic.
    unsafe { command.pre_exec(last_steps) };
}

/// Asks for `SIGKILL` at the end of the parent, and makes sure that the parent did not end before that.
#[cfg(target_os = "linux")]
fn end_with(host: rustix::process::Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    if rustix::process::getppid() == Some(host) {
        return Ok(());
    }
    Err(rustix::io::Errno::SRCH.into())
}

fn close_inherited_at_exec() {
    if !close_range_at_exec(FIRST) {
        (FIRST..INHERITED_DESCRIPTORS_MAX).for_each(close_at_exec);
    }
}

/// Whether the kernel could mark all from `first` on in one call: Linux 5.11 can.
#[cfg(target_os = "linux")]
fn close_range_at_exec(first: c_int) -> bool {
    let (last, flags) = (libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: close_range(2) takes three integers and touches no memory. With this flag it closes nothing now; what it
    // marks are descriptors of the child, which does nothing with them any more but exec.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn close_range_at_exec(_: c_int) -> bool {
    false
}

fn close_at_exec(descriptor: c_int) {
    // SAFETY: fcntl(2) with F_SETFD takes integers and touches no memory; a number that is no descriptor is refused.
    unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_kernel_marks_descriptors_in_one_call() {
        // From a number on that no descriptor of this process has.
        assert!(close_range_at_exec(1 << 20), "{}", io::Error::last_os_error());
    }

    #[test]
    fn without_that_call_each_descriptor_is_marked() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let marked = || rustix::io::fcntl_getfd(&reader).unwrap().contains(rustix::io::FdFlags::CLOEXEC);
        assert!(!marked());
        close_at_exec(std::os::fd::AsRawFd::as_raw_fd(&reader));
        assert!(marked());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_child_whose_parent_has_ended_does_not_start() {
        let nobody = rustix::process::Pid::from_raw(i32::MAX).unwrap();
        let refused = end_with(nobody).unwrap_err();
        // What the attempt left holds for the thread of this test.
        rustix::process::set_parent_process_death_signal(None).unwrap();
        assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::SRCH.raw_os_error()));
    }

    #[test]
    fn a_text_with_a_nul_is_no_argument() {
        let arguments = [OsStr::new("a\0b")].into_iter();
        assert!(Image::new(OsStr::new("/bin/true"), arguments, std::iter::empty()).is_err());
    }
}
