//! AWS KMS as it fails: keys that cannot sign, permissions that are missing, throttling, broken answers, stolen identities.

#[path = "aws/answers.rs"]
mod answers;
#[path = "aws/certificates.rs"]
mod certificates;
#[path = "aws/credentials.rs"]
mod credentials;
#[path = "aws/keys.rs"]
mod keys;
#[path = "aws/listing.rs"]
mod listing;
#[path = "aws/permissions.rs"]
mod permissions;
#[path = "aws/stage.rs"]
mod stage;
#[path = "aws/weather.rs"]
mod weather;

use libtest_mimic::Trial;

/// All trials; each prints what was broken and what the user was told.
pub(crate) fn trials() -> Vec<Trial> {
    [
        keys::trials(),
        answers::trials(),
        weather::trials(),
        certificates::trials(),
        credentials::trials(),
        listing::trials(),
        permissions::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
