//! `notation-aws-kms`: signs with keys in AWS KMS. `README.md` is the operator's page.

mod certificate;
mod config;
mod error;
mod key;
mod limits;
mod vault;

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use prokura_plugin::{CreateRequest, KeyRequest, Listed, Service, VaultRequest};

use vault::{Vault, keys};

const USAGE: &str = "\
The key id is what KMS itself takes: a key id, alias/NAME, or the ARN of either; awskms:///NAME is understood too:
  arn:aws:kms:REGION:ACCOUNT:key/1234abcd-12ab-34cd-56ef-1234567890ab
  alias/release

Plugin config, all optional:
  region        region of the key, where its name does not say
  certificate   where its certificate is: the ARN of an ACM or Private CA certificate or of a secret, s3://BUCKET/KEY,
                or an absolute file name; by default in ca_certs
  credentials   the one source to use: environment, profile, sso, web-identity, container or imds
  profile       profile in the shared AWS configuration; its credentials count then, unless credentials says otherwise
  grant_tokens  tokens of grants made minutes ago, separated by commas
  endpoint      address of KMS, such as a VPC endpoint
  fips, dual_stack, multi_region   true or false";

fn main() -> ExitCode {
    let vault = Arc::new(Vault::default());
    let metadata = prokura_plugin::metadata!("aws-kms", "Signs with keys in AWS KMS");
    let [open, list, create] = [(); 3].map(|()| Arc::clone(&vault));
    Service::new(metadata, move |request: &KeyRequest| key::open(&open, request))
        .usage(USAGE)
        .config_names(config::NAMES, &[])
        .list_keys(move |request: &VaultRequest, found: &mut dyn FnMut(Listed) -> ControlFlow<()>| {
            keys::list(&list, request, found)
        })
        .create_key(move |request: &CreateRequest| keys::create(&create, request))
        .run()
}
