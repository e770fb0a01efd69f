//! Questions of a plugin to the person in front of the host, with the real SDK at the other end (`examples/asking.rs`).
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prokura_plugin::{Digest, ErrorCode, HashAlgorithm, KeySpec, Pin, PinPrompt, PluginName};
use prokura_signer::{
    Answering, Error, Interaction, KeyReference, Plugin, PluginDirectory, PluginOptions, Preference,
};

/// Somebody who writes down what is said and gives one answer.
#[derive(Default)]
struct Scripted {
    heard: Mutex<Vec<String>>,
    pin: Option<&'static str>,
    confirms: Option<bool>,
    /// Gives no answer at all.
    is_away: bool,
}

type Heard = Arc<Scripted>;

/// Tells that a question was taken back.
struct Noted(Heard, &'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.heard.lock().unwrap().push(self.1.to_owned());
    }
}

struct Reached(Heard);

impl Interaction for Reached {
    fn pin<'a>(&'a self, plugin: &'a PluginName, prompt: &'a PinPrompt) -> Answering<'a, Option<Pin>> {
        let PinPrompt { text, tries_left } = prompt;
        self.0.heard.lock().unwrap().push(format!("{plugin}: pin {text:?} {tries_left:?}"));
        Box::pin(async move {
            if self.0.is_away {
                let _noted = Noted(Arc::clone(&self.0), "taken back");
                std::future::pending::<()>().await;
            }
            self.0.pin.map(|pin| Pin::new(pin.as_bytes(), "for a test").unwrap())
        })
    }

    fn confirm<'a>(&'a self, plugin: &'a PluginName, text: &'a str) -> Answering<'a, Option<bool>> {
        self.0.heard.lock().unwrap().push(format!("{plugin}: confirm {text:?}"));
        Box::pin(async move { self.0.confirms })
    }

    fn touch(&self, plugin: &PluginName, text: &str) -> Box<dyn Send> {
        self.0.heard.lock().unwrap().push(format!("{plugin}: touch {text:?}"));
        Box::new(Noted(Arc::clone(&self.0), "touched"))
    }

    fn message(&self, plugin: &PluginName, text: &str) {
        self.0.heard.lock().unwrap().push(format!("{plugin}: {text}"));
    }
}

/// The example, installed.
struct Asking {
    home: tempfile::TempDir,
}

impl Asking {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("plugins/asking");
        fs::create_dir_all(&directory).unwrap();
        for made in [home.path().join("plugins"), directory.clone()] {
            fs::set_permissions(made, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::copy(example(), directory.join("notation-asking")).unwrap();
        Self { home }
    }

    async fn start(self, person: Option<&Heard>) -> Running {
        let directory = PluginDirectory::new(self.home.path().join("plugins"), None);
        let executable = directory.find(&"asking".parse().unwrap()).unwrap();
        let person = person.map(|heard| Arc::new(Reached(Arc::clone(heard))) as Arc<dyn Interaction>);
        let deadline = Duration::from_secs(10);
        let transport = Preference::Grpc;
        let options = PluginOptions { person, deadline, transport, ..PluginOptions::default() };
        let plugin = Plugin::start(executable, &Default::default(), options).await.unwrap();
        Running { plugin, _home: self.home }
    }
}

/// The plugin in its home.
struct Running {
    plugin: Plugin,
    _home: tempfile::TempDir,
}

impl std::ops::Deref for Running {
    type Target = Plugin;

    fn deref(&self) -> &Plugin {
        &self.plugin
    }
}

/// `target/PROFILE/examples/asking`. `cargo test -p prokura-signer` builds it, `--test interact` alone does not.
fn example() -> PathBuf {
    std::env::current_exe().unwrap_or_default().with_file_name("../examples/asking")
}

async fn sign(plugin: &Plugin, key: &str) -> Result<(), Error> {
    let key = KeyReference::new(key, Default::default()).unwrap();
    let digest = Digest::of(HashAlgorithm::Sha256, b"x");
    plugin.sign_digest(&key, KeySpec::Ec256, &digest).await.map(|_| ())
}

async fn sign_before(heard: &Heard, key: &str) -> Result<(), Error> {
    let plugin = Asking::new().start(Some(heard)).await;
    let signed = sign(&plugin, key).await;
    let begun = Instant::now();
    plugin.plugin.close().await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "the open call keeps the plugin: {:?}",
        begun.elapsed()
    );
    signed
}

fn person(pin: Option<&'static str>, confirms: Option<bool>) -> Heard {
    Arc::new(Scripted { pin, confirms, ..Scripted::default() })
}

fn heard(person: &Heard) -> Vec<String> {
    person.heard.lock().unwrap().clone()
}

fn denied(signed: Result<(), Error>, words: &str) {
    let error = signed.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: ErrorCode::AccessDenied, .. }), "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_pin_reaches_the_plugin_and_its_text_reaches_the_person_cleaned() {
    let somebody = person(Some("1234"), None);
    sign_before(&somebody, "pin").await.unwrap();
    assert_eq!(heard(&somebody), [r#"asking: pin "token one" Some(2)"#]);
    let error = sign_before(&person(Some("9753"), None), "pin").await;
    assert!(!error.as_ref().unwrap_err().to_string().contains("9753"));
    denied(error, "the PIN is wrong");
}

#[tokio::test]
async fn whoever_declines_and_nobody_at_all_are_no_pin() {
    denied(sign_before(&person(None, None), "pin").await, "nobody gave the PIN");
    let plugin = Asking::new().start(None).await;
    denied(sign(&plugin, "pin").await, "nobody gave the PIN");
}

#[tokio::test]
async fn yes_no_and_no_answer_are_three_things() {
    sign_before(&person(None, Some(true)), "confirm").await.unwrap();
    denied(sign_before(&person(None, Some(false)), "confirm").await, "said Some(false)");
    denied(sign_before(&person(None, None), "confirm").await, "said None");
}

#[tokio::test]
async fn a_call_for_a_touch_is_taken_back_when_it_is_over() {
    let somebody = person(None, None);
    let plugin = Asking::new().start(Some(&somebody)).await;
    sign(&plugin, "touch").await.unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while heard(&somebody).len() < 2 {
        assert!(Instant::now() < until, "{:?}", heard(&somebody));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(heard(&somebody), [r#"asking: touch "touch the key""#, "touched"]);
}

#[tokio::test]
async fn a_question_is_taken_back_when_the_plugin_gives_up_or_ends() {
    let away = Arc::new(Scripted { is_away: true, ..Scripted::default() });
    let plugin = Asking::new().start(Some(&away)).await;
    let error = sign(&plugin, "impatient").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: ErrorCode::Timeout, .. }), "{error}");
    let until = Instant::now() + Duration::from_secs(5);
    while heard(&away).len() < 2 {
        assert!(Instant::now() < until, "{:?}", heard(&away));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(heard(&away), [r#"asking: pin "token one" Some(2)"#, "taken back"]);
    let (signed, ()) = tokio::join!(sign(&plugin, "pin"), async {
        while heard(&away).len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = sign(&plugin, "abort").await;
    });
    let error = signed.unwrap_err();
    assert!(!matches!(&error, Error::Refused { .. }), "{error}");
    drop(plugin);
    let heard = heard(&away);
    let asked = heard.iter().filter(|line| line.contains("pin")).count();
    let until = Instant::now() + Duration::from_secs(5);
    while self::heard(&away).iter().filter(|line| *line == "taken back").count() < asked {
        assert!(Instant::now() < until, "{heard:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_next_process_may_ask_too() {
    let somebody = person(Some("1234"), None);
    let plugin = Asking::new().start(Some(&somebody)).await;
    sign(&plugin, "pin").await.unwrap();
    sign(&plugin, "abort").await.unwrap_err();
    sign(&plugin, "pin").await.unwrap();
    assert_eq!(heard(&somebody).len(), 2);
    assert!(plugin.supervision().generation >= 3);
}

#[tokio::test]
async fn a_plugin_that_talks_without_end_is_held_back() {
    let somebody = person(None, None);
    let plugin = Asking::new().start(Some(&somebody)).await;
    let begun = Instant::now();
    sign(&plugin, "chatter").await.unwrap();
    while begun.elapsed() < Duration::from_millis(500) {
        let (said, passed) = (heard(&somebody).len(), begun.elapsed());
        assert!(said <= 2 + passed.as_millis() as usize / 50, "{said} texts in {passed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(heard(&somebody).len() > 2, "{:?}", heard(&somebody));
}
