//! Repeating a call where that may help: the vault's hints first, else back-off with jitter, within the deadline.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use prokura_plugin::{Deadline, Error};

use crate::error::{Standing, failed, standing, too_late};
use crate::limits::{ANSWER_TIME, ATTEMPTS_MAX, CALL_TIME_MAX, PAUSE_FIRST, PAUSE_MAX, RETRY_AFTER_MAX};
use crate::vault::client::{Call, Client, Failure, Reply};

/// The time a request has, its login and its repetitions included.
#[derive(Clone, Copy)]
pub(crate) struct Until {
    /// Since when its user waits.
    pub(crate) started: Instant,
    /// When it has to be over.
    pub(crate) end: Instant,
}

impl Until {
    /// From now to a little before the deadline, so that an error still reaches the host.
    pub(crate) fn of(deadline: Deadline) -> Self {
        let (started, left) = (Instant::now(), deadline.remaining().unwrap_or(CALL_TIME_MAX));
        Self { started, end: started + left - (left / 10).min(ANSWER_TIME) }
    }
}

/// Makes a call until the vault answers it, refuses it for good, or time is up. Everything this plugin asks may be asked
/// twice: signing a digest again changes nothing in the vault.
///
/// # Errors
/// What the last attempt said, if none came through. A refusal that waiting does not change is a [`Reply`].
pub(crate) async fn call(
    client: &Client,
    call: &Call,
    token: Option<&str>,
    until: Until,
) -> Result<Reply, Error> {
    let mut attempt = 1;
    loop {
        let outcome = client.call(call, token, until.end).await;
        let (pause, error) = match outcome {
            Ok(reply) => match standing(&reply) {
                Standing::Settled => return Ok(reply),
                Standing::Passing => (reply.retry_after, crate::error::refused(call, &reply)),
            },
            Err(failure @ (Failure::Unreachable(_) | Failure::Slow | Failure::Cut(_))) => {
                (None, failed(call, &failure, until.started.elapsed()))
            }
            Err(failure) => return Err(failed(call, &failure, until.started.elapsed())),
        };
        let pause = pause.unwrap_or_else(|| back_off(attempt));
        if until.end <= Instant::now() {
            return Err(too_late(error));
        }
        if attempt >= ATTEMPTS_MAX || pause > RETRY_AFTER_MAX || Instant::now() + pause >= until.end {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// 100 ms, 200 ms, 400 ms …, less a random part of up to half, so that many signers do not come back together.
fn back_off(attempt: u32) -> Duration {
    let longest = PAUSE_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(PAUSE_MAX);
    // A hasher's random keys are jitter enough; no need for a crate.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let half = u64::try_from(longest.as_micros() / 2).unwrap_or(u64::MAX).max(1);
    longest - Duration::from_micros(random % half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Auth, ConnectionConfig, TlsConfig};

    /// A login that took nearly all of the time leaves none to the call itself.
    #[tokio::test]
    async fn what_is_late_says_how_long_its_user_waited() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
        let client = Client::new(&ConnectionConfig {
            address,
            address_from: "test".to_owned(),
            namespace: None,
            tls: TlsConfig::default(),
            auth: Auth::Token { file: None },
        });
        let now = Instant::now();
        let until = Until { started: now - Duration::from_millis(3700), end: now };
        let asked = Call::read("transit/keys/release", "read key transit/release");
        let error = call(&client.unwrap(), &asked, None, until).await.err().unwrap();
        assert!(error.message.contains("did not answer within 3.7 s"), "{error}");
    }

    #[test]
    fn pauses_grow_stay_bounded_and_differ() {
        for attempt in 1..=40 {
            let longest = PAUSE_FIRST.saturating_mul(1 << (attempt - 1).min(16)).min(PAUSE_MAX);
            let pause = back_off(attempt);
            assert!(pause <= longest && pause >= longest / 2, "{attempt}: {pause:?}");
        }
        let pauses: std::collections::HashSet<_> = (0..32).map(|_| back_off(6)).collect();
        assert!(pauses.len() > 16);
    }
}
