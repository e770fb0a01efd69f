//! Nitrokey's PIV card, as a process: commands on standard input, answers on standard output.
//!
//! Both are written as two bytes of length, big-endian, and as many bytes. An empty command resets the card. What the
//! card stores is in the directory it is given; it ends with its input.

#![expect(clippy::disallowed_methods, reason = "reads its one argument")]

mod dispatch;
mod metadata;
mod shim;

use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;

use iso7816::Status;
use iso7816::command::CommandView;
use piv_authenticator::{Authenticator, Options};
use trussed::virt::{StorageConfig, StoreConfig, with_platform};

use crate::dispatch::{BACKENDS, Dispatcher};
use crate::metadata::Metadata;
use crate::shim::{Card, Shim};

/// VERIFY that takes the verification back (NIST SP 800-73-4 part 2 section 3.2.1).
const LOG_OUT: &[u8] = &[0x00, 0x20, 0xFF, 0x80];
/// Largest answer of the card: a certificate.
const ANSWER_MAX: usize = 8192;

fn main() -> std::io::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from).ok_or(ErrorKind::InvalidInput)?;
    let store = StoreConfig {
        internal: StorageConfig::filesystem(directory.join("internal")),
        external: StorageConfig::filesystem(directory.join("external")),
        volatile: StorageConfig::ram(),
    };
    with_platform(store, |platform| {
        platform.run_client_with_backends("piv", Dispatcher::default(), BACKENDS, |client| {
            let mut card = Authenticator::new(client, Options::new());
            serve(Shim::new(Metadata::new(directory)), &mut |command| {
                let mut answer = heapless::Vec::<u8, ANSWER_MAX>::new();
                let result = match CommandView::try_from(command) {
                    Ok(command) => card.respond(command, answer.as_mut_view()),
                    Err(_) => Err(Status::WrongLength),
                };
                match result {
                    Ok(()) => (answer.to_vec(), 0x9000),
                    Err(status) => (Vec::new(), status.into()),
                }
            })
        })
    })
}

fn serve(mut shim: Shim, card: Card<'_>) -> std::io::Result<()> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    while let Some(command) = read(&mut input)? {
        let answer = if command.is_empty() {
            shim.reset();
            card(LOG_OUT);
            Vec::new()
        } else {
            shim.answer(&command, card)
        };
        let length = u16::try_from(answer.len()).unwrap_or(0).to_be_bytes();
        output.write_all(&[&length, answer.as_slice()].concat())?;
        output.flush()?;
    }
    Ok(())
}

/// `None` at the end of the input.
fn read(input: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 2];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut command = vec![0; usize::from(u16::from_be_bytes(length))];
    input.read_exact(&mut command)?;
    Ok(Some(command))
}
