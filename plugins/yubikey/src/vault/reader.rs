//! The YubiKeys that are connected: every reader is asked at the same time, so that one in use holds up no other.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pcsc::{Context, Scope};

use super::connection::Connection;
use crate::error::Failure;
use crate::limits::{BACKOFF, EXCLUSIVE_WAIT, READERS_MAX, SERVICE_WAIT, SURVEY_WAIT};

/// What the readers answered.
pub(crate) struct Survey {
    /// Connections to the devices found.
    pub(crate) found: Vec<Connection>,
    /// Devices that other connections of this process have, and that were not asked.
    pub(crate) known: Vec<u32>,
    /// A device that is there and could not be asked.
    pub(crate) unreachable: Option<Failure>,
}

impl Survey {
    /// The serial numbers of all devices, in order.
    pub(crate) fn serials(&self) -> Vec<u32> {
        let mut serials: Vec<u32> =
            self.found.iter().map(Connection::serial).chain(self.known.iter().copied()).collect();
        serials.sort_unstable();
        serials.dedup();
        serials
    }

    /// Whether another program keeps a device to itself, so that there may be one more than was found.
    pub(crate) const fn hides_a_device(&self) -> bool {
        use pcsc::Error::{SharingViolation, Timeout};
        matches!(self.unreachable, Some(Failure::Pcsc { error: SharingViolation | Timeout, .. }))
    }
}

/// Asks all readers but those in `known`, by name, which device they hold. Ends early when `wanted` is found.
///
/// # Errors
/// [`Failure::Pcsc`] if pcscd cannot be reached.
pub(crate) fn survey(
    wanted: Option<u32>,
    known: &BTreeMap<String, u32>,
    until: Instant,
) -> Result<Survey, Failure> {
    let mut survey = Survey { found: Vec::new(), known: Vec::new(), unreachable: None };
    let until = until.min(Instant::now() + SURVEY_WAIT);
    let mut asked = 0_usize;
    let (sender, answers) = channel();
    for reader in readers()?.into_iter().take(READERS_MAX) {
        if let Some(serial) = known.get(reader.to_string_lossy().as_ref()) {
            survey.known.push(*serial);
            continue;
        }
        let sender = sender.clone();
        // If nobody waits for it any more, the connection in it is closed.
        let ask = move || drop(sender.send(Connection::open(&reader)));
        asked += usize::from(std::thread::Builder::new().spawn(ask).is_ok());
    }
    for _ in 0..asked {
        match next(&answers, until) {
            Some(Ok(Some(connection))) => {
                let is_wanted = Some(connection.serial()) == wanted;
                survey.found.push(connection);
                if is_wanted {
                    break;
                }
            }
            Some(Ok(None)) => {}
            Some(Err(failure)) if is_empty_reader(&failure) => {}
            Some(Err(failure)) => survey.unreachable = Some(failure),
            None => {
                // A reader that answered why says more than one that did not.
                let doing = "find the device".to_owned();
                survey.unreachable.get_or_insert(Failure::Pcsc { doing, error: pcsc::Error::Timeout });
                break;
            }
        }
    }
    Ok(survey)
}

/// [`survey`], repeated while pcscd starts or another program has a device to itself, and for `return_wait` while the
/// device is not there.
///
/// # Errors
/// The last failure when the waiting is over.
pub(crate) fn survey_patiently(
    wanted: Option<u32>,
    known: &BTreeMap<String, u32>,
    until: Instant,
    return_wait: Duration,
) -> Result<Survey, Failure> {
    let started = Instant::now();
    let mut pause = BACKOFF.0;
    let mut earlier = None;
    loop {
        let mut result = survey(wanted, known, until);
        if let Ok(Survey { unreachable: Some(Failure::Pcsc { error, .. }), .. }) = &mut result {
            explain(error, &mut earlier);
        }
        let patience = match &result {
            Ok(survey) if is_enough(survey, wanted) => return result,
            Ok(Survey { unreachable: Some(Failure::Pcsc { .. }), .. }) => return_wait.max(EXCLUSIVE_WAIT),
            // A card that answers nonsense is not waited for.
            Ok(Survey { unreachable: Some(_), .. }) => return result,
            Ok(_) => return_wait,
            Err(failure) if failure.is_lost_connection() => return_wait.max(SERVICE_WAIT),
            Err(_) => return result,
        };
        let give_up = until.min(started + patience);
        if Instant::now() + pause >= give_up {
            return result;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(BACKOFF.1);
    }
}

/// Puts the reason of an earlier look in the place of the timeout that cut this one short.
fn explain(error: &mut pcsc::Error, earlier: &mut Option<pcsc::Error>) {
    match (*error, *earlier) {
        (pcsc::Error::Timeout, Some(reason)) => *error = reason,
        (reason, _) => *earlier = Some(reason),
    }
}

fn is_enough(survey: &Survey, wanted: Option<u32>) -> bool {
    match wanted {
        Some(serial) => survey.serials().contains(&serial),
        None => !survey.serials().is_empty() && !survey.hides_a_device(),
    }
}

fn readers() -> Result<Vec<CString>, Failure> {
    let failed = |error| Failure::Pcsc { doing: "list the card readers".to_owned(), error };
    let context = Context::establish(Scope::System).map_err(failed)?;
    match context.list_readers_owned() {
        Ok(readers) => Ok(readers),
        Err(pcsc::Error::NoReadersAvailable) => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

fn next<T>(answers: &Receiver<T>, until: Instant) -> Option<T> {
    answers.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
}

/// Whether a reader has nothing in it that could be a YubiKey.
const fn is_empty_reader(failure: &Failure) -> bool {
    use pcsc::Error as P;
    match failure {
        Failure::Pcsc { error, .. } => matches!(
            error,
            P::NoSmartcard
                | P::RemovedCard
                | P::UnknownReader
                | P::ReaderUnavailable
                | P::UnresponsiveCard
                | P::UnpoweredCard
                | P::ProtoMismatch
                | P::UnsupportedCard
        ),
        Failure::Status { .. } | Failure::Malformed { .. } | Failure::Final(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_cut_short_keeps_the_reason_of_the_one_before() {
        let mut earlier = None;
        for (found, told) in [
            (pcsc::Error::Timeout, pcsc::Error::Timeout),
            (pcsc::Error::SharingViolation, pcsc::Error::SharingViolation),
            (pcsc::Error::Timeout, pcsc::Error::SharingViolation),
        ] {
            let mut error = found;
            explain(&mut error, &mut earlier);
            assert_eq!(error, told);
        }
    }
}
