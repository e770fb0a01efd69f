//! One long-lived plugin, whose token changes under it.

#![expect(clippy::disallowed_methods, reason = "the test changes the token with a tool of others")]

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use prokura_integration::backend::token::{LABEL, PIN};
use prokura_integration::program::{run, system};
use prokura_integration::served::{Served, reference, signed};
use prokura_integration::vault::TestKey;
use prokura_signer::KeyReference;

use super::scene::{Scene, Stages};
use super::told;

const DEADLINE: Duration = Duration::from_secs(20);
const IN_FLIGHT: usize = 16;

pub(super) fn trials(stages: &Stages) -> Vec<Trial> {
    vec![
        told(stages, "served::one_login_for_many_signatures", one_login),
        told(stages, "served::as_many_sessions_as_the_token_allows", few_sessions),
        told(stages, "served::sessions_run_out_while_signing", sessions_run_out),
        told(stages, "served::sessions_lost_again_and_again", |stages| {
            again_and_again(stages, "C_Sign 1 1 lose-sessions")
        }),
        told(stages, "served::login_lost_again_and_again", |stages| {
            again_and_again(stages, "C_SignInit 1 1 lose-login")
        }),
        told(stages, "served::module_lost_again_and_again", |stages| {
            again_and_again(stages, "C_SignInit 1 1 lose-module")
        }),
        told(stages, "served::token_removed_and_put_back", removed_and_put_back),
        told(stages, "served::slots_renumbered", slots_renumbered),
        told(stages, "served::another_token_in_the_slot", another_token),
        told(stages, "served::key_replaced", key_replaced),
        told(stages, "served::crash_takes_the_plugin_not_the_host", crash),
        told(stages, "served::hang_takes_one_call_not_the_rest", hang),
        told(stages, "served::always_authenticate", |stages| {
            let stage = Stage::new(stages, "always")?;
            for _ in 0..3 {
                stage.served.sign(&stage.key)?;
            }
            Ok(format!("signed 3 times with {} logins", stage.scene.faults.calls("C_Login")?))
        }),
    ]
}

/// A scene and a plugin that serves in it.
struct Stage {
    served: Served,
    key: KeyReference,
    scene: Scene,
}

impl Stage {
    fn new(stages: &Stages, label: &str) -> Result<Self> {
        let scene = stages.scene()?;
        let served = scene.served(DEADLINE)?;
        let config = vec![("ca_certs".to_owned(), scene.token.root.display().to_string())];
        let key = reference(TestKey { id: scene.id(label)?, config })?;
        Ok(Self { served, key, scene })
    }

    /// Signs often, with so many in flight; returns the errors.
    fn burst(&self, count: usize) -> Vec<String> {
        self.served.block_on(async {
            let mut tasks = Vec::new();
            for _ in 0..IN_FLIGHT {
                let (plugin, key) = (self.served.plugin.clone(), self.key.clone());
                tasks.push(tokio::spawn(async move {
                    let mut errors = Vec::new();
                    for _ in 0..count.div_ceil(IN_FLIGHT) {
                        errors.extend(signed(&plugin, &key).await.err().map(|e| e.to_string()));
                    }
                    errors
                }));
            }
            let mut errors = Vec::new();
            for task in tasks {
                errors.extend(task.await.unwrap_or_else(|e| vec![e.to_string()]));
            }
            errors
        })
    }

    fn burst_without_errors(&self, count: usize) -> Result<()> {
        let errors = self.burst(count);
        ensure!(errors.is_empty(), "{} of {count} failed: {}", errors.len(), errors.join("; "));
        Ok(())
    }
}

fn one_login(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.burst_without_errors(160)?;
    let logins = stage.scene.faults.calls("C_Login")?;
    ensure!(logins == 1, "{logins} logins");
    Ok(format!("160 signed with {logins} login and {} sessions", stage.scene.faults.calls("sessions-most")?))
}

/// Two, as the token says.
fn few_sessions(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.scene.faults.add("C_GetTokenInfo 1 0 max-sessions 2")?;
    stage.scene.faults.add("C_OpenSession 1 0 limit 2")?;
    stage.burst_without_errors(160)?;
    Ok(format!("160 signed, 16 at a time, with {} sessions", stage.scene.faults.calls("sessions-most")?))
}

/// Fewer than the token said: other programs hold them.
fn sessions_run_out(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.scene.faults.add("C_OpenSession 1 0 limit 3")?;
    stage.burst_without_errors(160)?;
    Ok(format!("160 signed, 16 at a time, with {} sessions", stage.scene.faults.calls("sessions-most")?))
}

fn again_and_again(stages: &Stages, rule: &str) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.served.sign(&stage.key)?;
    for _ in 0..5 {
        let number = stage.scene.faults.add(rule)?;
        stage.burst_without_errors(32)?;
        ensure!(stage.scene.faults.unused().is_empty(), "nothing was lost");
        stage.scene.faults.remove(number)?;
    }
    Ok(format!("160 signed, 5 losses, {} logins", stage.scene.faults.calls("C_Login")?))
}

fn removed_and_put_back(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.served.sign(&stage.key)?;
    let number = stage.scene.faults.add("* 1 0 remove")?;
    let Err(refused) = stage.served.sign(&stage.key) else { bail!("it signed without a token") };
    let refused = refused.to_string();
    ensure!(refused.contains("token"), "{refused}");
    stage.scene.faults.remove(number)?;
    stage.served.sign(&stage.key).context("the token is back")?;
    Ok(refused)
}

fn slots_renumbered(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.served.sign(&stage.key)?;
    stage.scene.faults.add("* 1 0 slots 7")?;
    stage.scene.faults.add("C_SignInit 1 1 lose-sessions")?;
    stage.served.sign(&stage.key)?;
    Ok("signed".to_owned())
}

/// Its PIN must not be spent on a token nobody named.
fn another_token(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.served.sign(&stage.key)?;
    let before = stage.scene.faults.calls("C_Login")?;
    stage.scene.faults.add("C_GetTokenInfo 1 0 serial 0000")?;
    stage.scene.faults.add("C_GetTokenInfo 1 0 label another token")?;
    stage.scene.faults.add("C_SignInit 1 1 lose-sessions")?;
    let Err(refused) = stage.served.sign(&stage.key) else { bail!("it signed with another token") };
    let logins = stage.scene.faults.calls("C_Login")? - before;
    ensure!(logins == 0, "the PIN was sent to another token: {refused}");
    Ok(refused.to_string())
}

/// Another key under the same name: the certificate in the token is that of the old one.
fn key_replaced(stages: &Stages) -> Result<String> {
    let tool = system("pkcs11-tool", "apt-get install opensc")?;
    let stage = Stage::new(stages, "ec-256")?;
    stage.served.sign(&stage.key)?;
    let pkcs11_tool = |arguments: &[&str]| {
        let mut command = Command::new(&tool);
        command.arg("--module").arg(&stage.scene.token.module);
        command.args(["--token-label", LABEL, "--login", "--pin", PIN, "--label", "ec-256"]).args(arguments);
        run(command.env(stage.scene.token.environment.0, &stage.scene.token.environment.1))
    };
    for kind in ["privkey", "pubkey"] {
        pkcs11_tool(&["--delete-object", "--type", kind])?;
    }
    pkcs11_tool(&["--keypairgen", "--key-type", "EC:prime256v1", "--id", "04"])?;
    let Err(refused) = stage.served.sign(&stage.key) else { bail!("it signed with another key") };
    Ok(refused.to_string())
}

fn crash(stages: &Stages) -> Result<String> {
    let stage = Stage::new(stages, "ec-256")?;
    stage.served.sign(&stage.key)?;
    let first = stage.served.process_id();
    stage.scene.faults.add("C_Sign 1 1 abort")?;
    stage.burst_without_errors(32)?;
    let second = stage.served.process_id();
    ensure!(first != second, "the process is still {first:?}");
    Ok(format!("32 signed, {} restart", stage.served.plugin.supervision().restarts))
}

fn hang(stages: &Stages) -> Result<String> {
    let scene = stages.scene()?;
    let served = scene.served(DEADLINE)?;
    let config = [("ca_certs", scene.token.root.display().to_string()), ("call-timeout", "2".to_owned())];
    let config = config.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let key = reference(TestKey { id: scene.id("ec-256")?, config })?;
    let stage = Stage { served, key, scene };
    stage.served.sign(&stage.key)?;
    stage.scene.faults.add("C_Sign 1 1 hang")?;
    stage.burst_without_errors(32)?;
    Ok(format!("32 signed, {} restarts", stage.served.plugin.supervision().restarts))
}
