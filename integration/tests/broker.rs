//! `prokurad` as operators run it: real process, real plugins, both listeners; signatures, refusals, reload, end.

#![expect(clippy::disallowed_methods, reason = "the test starts the broker and reads the clock")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use prokura_envelope::{Attributes, Descriptor, EnvelopeFormat, Payload, SigningScheme, Unsigned};
use prokura_integration::backend::token::Token;
use prokura_integration::key::{KeyFiles, id};
use prokura_integration::program::{self, Missing};
use prokura_plugin::{CertificateChain, KeySpec, RawSignature};
use prokura_proto::broker::v1;
use prokura_proto::broker::v1::broker_client::BrokerClient;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

type Client = BrokerClient<Channel>;

const POLICY: &str = r#"
@id("sign-envelopes")
permit(principal in PeerKind::"UNIX", action in [Action::"signNotaryJws", Action::"signNotaryCose"], resource);
@id("look")
permit(principal, action in [Action::"describeKey", Action::"listKeys"], resource);
@id("never-this-key")
forbid(principal, action, resource == Key::"rsa-2048") when { principal.id like "uid:*" };
"#;

struct Running {
    home: tempfile::TempDir,
    child: Child,
}

impl Running {
    fn start(more: &str, environment: &[(&'static str, PathBuf)]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let at = home.path();
        install(at, "softkey")?;
        install(at, "pkcs11")?;
        std::fs::create_dir_all(at.join("keys"))?;
        std::fs::create_dir_all(at.join("policy"))?;
        std::fs::write(at.join("policy/test.cedar"), POLICY)?;
        KeyFiles::create(&at.join("keys"))?;
        let mut config = "[listen]\nunix = \"broker.sock\"\n[policy]\ndirectory = \"policy\"\n\
            [audit]\ndirectory = \"log\"\nname = \"test.example/log\"\nkey = \"log.key\"\n\
            [plugins]\ndirectory = \"plugins\"\n[limits]\ndrain_s = 20\n"
            .to_owned();
        for spec in KeySpec::ALL {
            let (key, keys) = (id(spec), at.join("keys"));
            config += &format!(
                "[keys.{key}]\nplugin = \"softkey\"\nid = \"{key}\"\nconfig = {{ dir = {keys:?} }}\n"
            );
        }
        std::fs::write(at.join("prokurad.toml"), config + more)?;
        let child = Self::spawn(at, environment)?;
        let running = Self { home, child };
        running.until("the socket", || running.path("broker.sock").exists())?;
        Ok(running)
    }

    fn spawn(at: &Path, environment: &[(&'static str, PathBuf)]) -> Result<Child> {
        let log = std::fs::File::create(at.join("out.log"))?;
        let mut command = Command::new(program::executable("prokurad")?);
        command.args(["run", "--config"]).arg(at.join("prokurad.toml"));
        Ok(command.envs(environment.iter().cloned()).stdin(Stdio::null()).stderr(log).spawn()?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("out.log")).unwrap_or_default()
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        while !holds() {
            ensure!(Instant::now() < end, "{what} did not come: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn signal(&self, name: &str) -> Result<()> {
        program::run(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]))?;
        Ok(())
    }

    async fn client(&self) -> Result<Client> {
        let path = self.path("broker.sock");
        let connect = tower::service_fn(move |_: tonic::transport::Uri| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://broker").connect_with_connector(connect).await?;
        Ok(BrokerClient::new(channel))
    }

    /// Ends in order; the log then verifies with as many outcomes as signatures were handed out.
    fn end(mut self, signatures: u64) -> Result<()> {
        self.signal("TERM")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.log());
        let report = self.audit("verify")?;
        for (name, expected) in [
            ("valid", true.into()),
            ("open", 0.into()),
            ("outcomes", signatures.into()),
            ("intents", signatures.into()),
        ] {
            ensure!(report.get(name) == Some::<&serde_json::Value>(&expected), "{name}: {report}");
        }
        Ok(())
    }

    fn audit(&self, verb: &str) -> Result<serde_json::Value> {
        let mut command = Command::new(program::executable("prokurad")?);
        command.args(["audit", verb, "--output", "json", "--config"]).arg(self.path("prokurad.toml"));
        Ok(serde_json::from_str(&program::run(&mut command)?)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn install(home: &Path, name: &str) -> Result<()> {
    let directory = home.join("plugins").join(name);
    std::fs::create_dir_all(&directory)?;
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755))?;
    let program = format!("notation-{name}");
    std::fs::copy(program::executable(&program)?, directory.join(&program))?;
    Ok(())
}

fn unsigned(format: EnvelopeFormat, spec: KeySpec) -> Result<Unsigned> {
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: format!("sha256:{}", "0".repeat(64)),
        size: 528,
        annotations: Default::default(),
    };
    let attributes = Attributes {
        scheme: SigningScheme::X509,
        signing_time: jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?,
        expiry: None,
        extended: Vec::new(),
        signing_agent: None,
    };
    Ok(Unsigned::new(format, &Payload::new(target, Default::default())?, attributes, spec)?)
}

fn request(key: &str, format: EnvelopeFormat, unsigned: &Unsigned) -> v1::SignRequest {
    let bytes = unsigned.to_be_signed().to_vec();
    let content = match format {
        EnvelopeFormat::Jws => v1::content::Content::NotaryJws(bytes),
        EnvelopeFormat::Cose => v1::content::Content::NotaryCose(bytes),
    };
    let content = Some(v1::Content { content: Some(content) });
    v1::SignRequest { key_name: key.to_owned(), content, ..Default::default() }
}

/// Signs and makes the envelope, which verifies the signature under the chain.
async fn sign(
    client: &mut Client,
    key: &str,
    format: EnvelopeFormat,
    spec: KeySpec,
) -> Result<v1::SignResponse> {
    let unsigned = unsigned(format, spec)?;
    let signed = client.sign(request(key, format, &unsigned)).await?.into_inner();
    let raw = RawSignature::from_fixed_width(spec, signed.signature.clone())?;
    unsigned.finish(raw, &CertificateChain::from_der(signed.certificate_chain.clone())?)?;
    ensure!(signed.attempts == 1 && signed.receipt.is_some(), "{signed:?}");
    Ok(signed)
}

fn jws(key: &str) -> Result<v1::SignRequest> {
    Ok(request(key, EnvelopeFormat::Jws, &unsigned(EnvelopeFormat::Jws, KeySpec::Ec256)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn envelopes_of_every_key_verify_and_refusals_name_their_reason() -> Result<()> {
    let running = Running::start("", &[])?;
    let mut client = running.client().await?;
    let me = client.who_am_i(v1::WhoAmIRequest {}).await?.into_inner().peer.context("a peer")?;
    ensure!(me.kind == "UNIX" && me.id.starts_with("uid:"), "{me:?}");
    let mut signatures = 0;
    for spec in KeySpec::ALL.into_iter().filter(|spec| *spec != KeySpec::Rsa2048) {
        for format in [EnvelopeFormat::Jws, EnvelopeFormat::Cose] {
            sign(&mut client, &id(spec), format, spec).await?;
            signatures += 1;
        }
    }
    let keys: Vec<_> = client.list_keys(v1::ListKeysRequest {}).await?.into_inner().collect().await;
    ensure!(keys.len() == KeySpec::ALL.len() - 1, "{keys:?}");

    let forbidden = client.explain(v1::ExplainRequest {
        request: Some(request(
            "rsa-2048",
            EnvelopeFormat::Cose,
            &unsigned(EnvelopeFormat::Cose, KeySpec::Rsa2048)?,
        )),
    });
    let told = forbidden.await?.into_inner();
    ensure!(!told.permitted && told.policies == ["never-this-key"], "{told:?}");

    let other_client = client.clone();
    let refused = |request: v1::SignRequest| {
        let mut client = other_client.clone();
        async move { client.sign(request).await.map(|_| ()).unwrap_err() }
    };
    let denied = refused(request(
        "rsa-2048",
        EnvelopeFormat::Cose,
        &unsigned(EnvelopeFormat::Cose, KeySpec::Rsa2048)?,
    ))
    .await;
    ensure!(
        denied.code() == Code::PermissionDenied && denied.message().contains("never-this-key"),
        "{denied}"
    );
    let digest = Some(v1::Content { content: Some(v1::content::Content::Digest(vec![1; 32])) });
    let bare =
        refused(v1::SignRequest { key_name: "ec-256".to_owned(), content: digest, ..Default::default() })
            .await;
    ensure!(bare.code() == Code::PermissionDenied && bare.message().contains("signDigest"), "{bare}");
    let other = refused(v1::SignRequest { expected_key: "a".repeat(64), ..jws("ec-256")? }).await;
    ensure!(other.code() == Code::FailedPrecondition && other.message().contains("fingerprint"), "{other}");
    let unknown = refused(jws("nothing")?).await;
    ensure!(unknown.code() == Code::NotFound, "{unknown}");
    let wrong_spec = refused(jws("ec-384")?).await;
    ensure!(wrong_spec.code() == Code::InvalidArgument, "{wrong_spec}");

    let once = v1::SignRequest { idempotency_key: "build-1".to_owned(), ..jws("ec-256")? };
    let first = client.sign(once.clone()).await?.into_inner();
    let again = client.sign(once).await?.into_inner();
    ensure!(
        again.attempts == 0 && again.signature == first.signature && again.request_id == first.request_id
    );
    let misused = refused(v1::SignRequest { idempotency_key: "build-1".to_owned(), ..jws("ec-384")? }).await;
    ensure!(
        misused.code() == Code::InvalidArgument && misused.message().contains("idempotency"),
        "{misused}"
    );
    running.end(signatures + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_at_reload_leaves_the_old_one_in_force() -> Result<()> {
    let running = Running::start("", &[])?;
    let mut client = running.client().await?;
    std::fs::write(
        running.path("policy/more.cedar"),
        "permit(principal, action, resource) when { nonsense };",
    )?;
    running.signal("HUP")?;
    running.until("the refusal", || running.log().contains("not reloaded"))?;
    sign(&mut client, "ec-256", EnvelopeFormat::Jws, KeySpec::Ec256).await?;
    let more = "@id(\"freeze\")\nforbid(principal, action == Action::\"signNotaryJws\", resource);";
    std::fs::write(running.path("policy/more.cedar"), more)?;
    running.signal("HUP")?;
    running.until("the difference", || running.log().contains("freeze"))?;
    let denied = client.sign(jws("ec-256")?).await.map(|_| ()).unwrap_err();
    ensure!(denied.message().contains("freeze"), "{denied}");
    running.end(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_drops_no_request_and_a_stream_tells_each_items_outcome() -> Result<()> {
    let running = Running::start("", &[])?;
    let mut client = running.client().await?;
    const ITEMS: u64 = 200;
    let items: Vec<_> = (0..ITEMS)
        .map(|n| {
            let key = if n == 7 { "nothing" } else { "ec-256" };
            Ok(v1::SignStreamRequest { id: n, request: Some(jws(key)?) })
        })
        .collect::<Result<_>>()?;
    let mut answers = client.sign_stream(tokio_stream::iter(items)).await?.into_inner();
    let first = answers.next().await.context("an answer")??;
    running.signal("TERM")?;
    let mut ids = vec![(first.id, first.outcome)];
    while let Some(answer) = answers.next().await {
        let answer = answer?;
        ids.push((answer.id, answer.outcome));
    }
    let refused: Vec<u64> = ids
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Some(v1::sign_stream_response::Outcome::Refusal(_))))
        .map(|(id, _)| *id)
        .collect();
    ensure!(ids.len() as u64 == ITEMS && refused == [7], "{} answers, refused {refused:?}", ids.len());
    running.end(ITEMS - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_token_sign_as_keys_in_files_do() -> Result<()> {
    let files = tempfile::tempdir()?;
    let token = match Token::softhsm(files.path()) {
        Err(error) if error.is::<Missing>() && !prokura_integration::suite::in_ci() => {
            eprintln!("skipped: {error}");
            return Ok(());
        }
        made => made?,
    };
    let specs = [KeySpec::Ec256, KeySpec::Rsa3072];
    let key = |spec: KeySpec| {
        let (name, uri) = (id(spec), token.key_uri(spec));
        format!(
            "[keys.\"hsm/{name}\"]\nplugin = \"pkcs11\"\nid = {uri:?}\nconfig = {{ ca_certs = {:?} }}\n",
            token.root
        )
    };
    let running = Running::start(&specs.map(key).concat(), std::slice::from_ref(&token.environment))?;
    let mut client = running.client().await?;
    for spec in specs {
        let name = format!("hsm/{}", id(spec));
        sign(&mut client, &name, EnvelopeFormat::Cose, spec).await?;
    }
    running.end(2)
}
