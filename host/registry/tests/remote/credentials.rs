//! Logins from docker's files and helpers: real files, real processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use prokura_registry::{Blame, CredentialStores, Credentials, Error, RemoteOptions, Secret, check_login};

use crate::server::{Reply, Server, options};

struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A helper that keeps what it is asked in the file `asked`.
    fn helper(&self, suffix: &str, script: &str) {
        let asked = self.path().join("asked").display().to_string();
        let script = format!("#!/bin/sh\n{}\n", script.replace("$ASKED", &asked));
        let path = self.write(&format!("docker-credential-{suffix}"), &script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn stores(&self, docker: Option<&str>, notation: Option<&str>) -> CredentialStores {
        CredentialStores {
            docker_config: Some(
                docker.map_or_else(|| self.path().join("none"), |c| self.write("docker.json", c)),
            ),
            notation_config: notation.map(|c| self.write("notation.json", c)),
            search_path: format!("{}:/bin:/usr/bin", self.path().display()).into(),
            use_system_helper: false,
        }
    }
}

/// A registry that lets in `ann:canary-secret`.
fn registry() -> Server {
    Server::start(|seen| match seen.header("authorization") {
        Some("Basic YW5uOmNhbmFyeS1zZWNyZXQ=") => Reply::ok("application/json", "{}"),
        _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""),
    })
}

fn with(stores: CredentialStores) -> RemoteOptions {
    RemoteOptions { credentials: Credentials::Stores(stores), ..options() }
}

async fn login(server: &Server, stores: CredentialStores) -> Result<(), Error> {
    check_login(&server.host, with(stores)).await
}

const GOOD_HELPER: &str =
    r#"cat > "$ASKED"; echo '{"ServerURL":"x","Username":"ann","Secret":"canary-secret"}'"#;

#[tokio::test]
async fn logins_in_dockers_file_are_used_in_each_of_their_forms() {
    let server = registry();
    let host = &server.host;
    for config in [
        format!(r#"{{"auths":{{"{host}":{{"auth":"YW5uOmNhbmFyeS1zZWNyZXQ="}}}}}}"#),
        format!(r#"{{"auths":{{"https://{host}/v2/":{{"auth":"YW5uOmNhbmFyeS1zZWNyZXQ="}}}},"other":[1]}}"#),
        format!(r#"{{"auths":{{"{host}":{{"username":"ann","password":"canary-secret"}}}}}}"#),
    ] {
        login(&server, Home::new().stores(Some(&config), None))
            .await
            .unwrap_or_else(|e| panic!("{config}: {e}"));
    }
}

#[tokio::test]
async fn a_login_of_another_registry_is_not_sent() {
    let server = registry();
    let config = r#"{"auths":{"other.example":{"auth":"YW5uOmNhbmFyeS1zZWNyZXQ="}}}"#;
    let error = login(&server, Home::new().stores(Some(config), None)).await.unwrap_err();
    assert!(error.to_string().contains("none is configured"), "{error}");
    assert!(server.seen().iter().all(|s| s.header("authorization").is_none()));
}

#[tokio::test]
async fn helpers_are_asked_and_the_registrys_own_one_comes_first() {
    let server = registry();
    let home = Home::new();
    home.helper("good", GOOD_HELPER);
    home.helper("bad", "exit 9");
    login(&server, home.stores(Some(r#"{"credsStore":"good"}"#), None)).await.unwrap();
    assert_eq!(fs::read_to_string(home.path().join("asked")).unwrap(), server.host);
    let own = format!(r#"{{"credsStore":"bad","credHelpers":{{"{}":"good"}}}}"#, server.host);
    login(&server, home.stores(Some(&own), None)).await.unwrap();
}

#[tokio::test]
async fn notations_file_is_asked_before_dockers() {
    let server = registry();
    let home = Home::new();
    home.helper("good", GOOD_HELPER);
    home.helper("bad", "exit 9");
    let stores = home.stores(Some(r#"{"credsStore":"bad"}"#), Some(r#"{"credsStore":"good"}"#));
    login(&server, stores).await.unwrap();
    let unset = home.stores(Some(r#"{"credsStore":"good"}"#), Some(r#"{"signatureFormat":"cose"}"#));
    login(&server, unset).await.unwrap();
}

#[tokio::test]
async fn the_systems_helper_is_asked_last() {
    let server = registry();
    let home = Home::new();
    home.helper("secretservice", GOOD_HELPER);
    home.helper("pass", GOOD_HELPER);
    home.helper("osxkeychain", GOOD_HELPER);
    let mut stores = home.stores(None, None);
    assert!(login(&server, stores.clone()).await.is_err());
    stores.use_system_helper = true;
    login(&server, stores).await.unwrap();
}

#[tokio::test]
async fn a_helper_without_the_login_means_none() {
    let server = registry();
    let home = Home::new();
    home.helper("empty", "echo credentials not found in native keychain; exit 1");
    let error = login(&server, home.stores(Some(r#"{"credsStore":"empty"}"#), None)).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn helpers_that_misbehave_are_named_and_never_quoted_when_they_answer() {
    let server = registry();
    for (script, words) in [
        ("exit 3", "failed to get the login"),
        (r"printf 'locked \033[2J now'; exit 1", "\"locked  [2J now\""),
        ("echo '{\"Username\":\"canary-secret\"'", "unusable answer: it ends too early"),
        (
            "echo '{\"Username\":\"ann\",\"Secret\":{\"canary-secret\":1}}'",
            "does not have the members expected",
        ),
        ("head -c 1000000 /dev/zero", "wrote more than 65536 bytes"),
    ] {
        let home = Home::new();
        home.helper("odd", script);
        let error = login(&server, home.stores(Some(r#"{"credsStore":"odd"}"#), None)).await.unwrap_err();
        assert!(matches!(error, Error::Helper { .. }), "{script}: {error}");
        assert!(error.to_string().contains(words), "{script}: {error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert_eq!(error.blame(), Blame::Operator);
    }
}

#[tokio::test(start_paused = true)]
async fn a_helper_that_hangs_is_ended() {
    let home = Home::new();
    home.helper("slow", r#"echo $$ > "$ASKED"; exec sleep 100"#);
    let stores = home.stores(Some(r#"{"credsStore":"slow"}"#), None);
    // The clock stands still while anything happens and jumps when all wait, so the process is given a moment.
    let asked = home.path().join("asked");
    let store = tokio::spawn(async move { stores.store("r.example", "ann", &Secret::new("s")).await });
    let error = store.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("did not answer within 30 s"), "{error}");
    if let Ok(pid) = fs::read_to_string(asked) {
        let stat = PathBuf::from(format!("/proc/{}/cmdline", pid.trim()));
        for _ in 0..100 {
            if fs::read(&stat).unwrap_or_default().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("the helper {} is still running", pid.trim());
    }
}

#[tokio::test]
async fn helpers_that_are_missing_or_have_a_path_in_their_name_are_refused() {
    let server = registry();
    for (name, words) in
        [("absent", "is not installed"), ("../../bin/sh", "not a file name"), ("a b", "not a file name")]
    {
        let config = format!(r#"{{"credsStore":"{name}"}}"#);
        let error = login(&server, Home::new().stores(Some(&config), None)).await.unwrap_err();
        let words = words.replace("is not installed", "configured but not installed");
        assert!(error.to_string().contains(&words), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_config_file_cut_in_half_is_named_without_its_content() {
    let server = registry();
    let config = r#"{"auths":{"x":{"auth":"canary-secret"#;
    let error = login(&server, Home::new().stores(Some(config), None)).await.unwrap_err();
    assert!(error.to_string().contains("docker.json: it ends too early, at line 1"), "{error}");
    let wrong = r#"{"auths":{"x":"canary-secret"}}"#;
    let error = login(&server, Home::new().stores(Some(wrong), None)).await.unwrap_err();
    assert!(matches!(error, Error::Configuration { .. }), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"!!canary"}}}}}}"#, server.host);
    let error = login(&server, Home::new().stores(Some(&config), None)).await.unwrap_err();
    assert!(error.to_string().contains("is not base64 of user:password"), "{error}");
}

#[tokio::test]
async fn logins_are_stored_and_erased_through_the_helper() {
    let home = Home::new();
    home.helper("keep", r#"echo "$1" > "$ASKED"; cat >> "$ASKED""#);
    let stores = home.stores(Some(r#"{"credsStore":"keep"}"#), None);
    stores.store("r.example:5000", "ann \"q\"", &Secret::new("s\\ecret")).await.unwrap();
    let asked = fs::read_to_string(home.path().join("asked")).unwrap();
    assert_eq!(
        asked,
        "store\n{\"ServerURL\":\"r.example:5000\",\"Username\":\"ann \\\"q\\\"\",\"Secret\":\"s\\\\ecret\"}"
    );
    stores.erase("docker.io").await.unwrap();
    let asked = fs::read_to_string(home.path().join("asked")).unwrap();
    assert_eq!(asked, "erase\nhttps://index.docker.io/v1/");
}

#[tokio::test]
async fn passwords_are_not_written_to_files() {
    let home = Home::new();
    let stores = home.stores(Some(r#"{"auths":{"r.example":{"auth":"YTpi"}}}"#), None);
    let before = fs::read(home.path().join("docker.json")).unwrap();
    let error = stores.store("r.example", "ann", &Secret::new("canary-secret")).await.unwrap_err();
    assert!(error.to_string().contains("no secure store"), "{error}");
    let error = stores.erase("r.example").await.unwrap_err();
    assert!(error.to_string().contains("docker logout"), "{error}");
    stores.erase("other.example").await.unwrap();
    assert_eq!(fs::read(home.path().join("docker.json")).unwrap(), before);
}
