//! Tokens from each source, and none of them in an error.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

const CANARY: &str = "canary";

fn jwt(end: i64) -> String {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{end}}}"#));
    format!("{CANARY}.{claims}.{CANARY}")
}

fn environment(variables: Vec<(&'static str, String)>) -> Environment {
    let lookup = move |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
    Environment::new(lookup, || Timestamp::from_second(1000).unwrap())
}

fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

fn token(source: TokenFrom, variables: Vec<(&'static str, String)>) -> Result<Option<String>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tokens = Tokens::new(source, environment(variables));
    runtime.block_on(tokens.token()).map(|token| token.map(|token| token.0.to_string()))
}

#[test]
fn a_token_comes_from_a_file_or_a_variable() {
    assert_eq!(token(TokenFrom::Nowhere, Vec::new()).unwrap(), None);
    let held = file(&format!("{}\n", jwt(2000)), 0o600);
    assert_eq!(token(TokenFrom::File(held.path().into()), Vec::new()).unwrap(), Some(jwt(2000)));
    let variable = || TokenFrom::Variable("ID_TOKEN".to_owned());
    assert_eq!(token(variable(), vec![("ID_TOKEN", jwt(2000))]).unwrap(), Some(jwt(2000)));
    assert!(token(variable(), Vec::new()).unwrap_err().message.contains("id_tokens:"));
}

#[test]
fn unfit_tokens_are_refused_and_never_repeated() {
    for (text, mode, words) in [
        (jwt(1000), 0o600, "ended at 1970-01-01T00:16:40Z"),
        (jwt(2000), 0o644, "0644"),
        (format!("{CANARY} {CANARY}"), 0o600, "one token"),
        (String::new(), 0o600, "one token"),
        (CANARY.repeat(4000), 0o600, "larger than"),
    ] {
        let error = token(TokenFrom::File(file(&text, mode).path().into()), Vec::new()).unwrap_err();
        assert!(error.message.contains(words) && !error.message.contains(CANARY), "{error}");
    }
    let held = Token(Zeroizing::new(format!("{CANARY}\n")));
    let error = held.header().unwrap_err();
    assert!(!error.message.contains(CANARY), "{error}");
    let shown = format!("{:?}", Token(Zeroizing::new(CANARY.to_owned())).header().unwrap());
    assert!(!shown.contains(CANARY), "{shown}");
}

/// Answers every request with a body; returns the address and what was asked.
fn github(status: &'static str, body: String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/token?v=1", listener.local_addr().unwrap());
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 4096];
            let read = std::io::Read::read(&mut stream, &mut request).unwrap_or_default();
            let _ = sender.send(String::from_utf8_lossy(&request[..read]).into_owned());
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (address, asked)
}

#[test]
fn github_hands_out_a_token_for_the_audience_once() {
    let (address, asked) = github("200 OK", format!(r#"{{"count":1,"value":"{}"}}"#, jwt(2000)));
    let variables = vec![(GITHUB_URL, address), (GITHUB_TOKEN, "runner-secret".to_owned())];
    let source = TokenFrom::GitHub { audience: "https://broker:443".to_owned() };
    let tokens = Tokens::new(source, environment(variables));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..3 {
        let found = runtime.block_on(tokens.token()).unwrap().unwrap();
        assert_eq!(found.0.as_str(), jwt(2000));
    }
    let request = asked.recv().unwrap();
    assert!(request.starts_with("GET /token?v=1&audience=https%3A%2F%2Fbroker%3A443 "), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer runner-secret"), "{request}");
    assert!(asked.try_recv().is_err(), "a token that is good is kept");
    assert!(tokens.forget() && !tokens.forget());
    runtime.block_on(tokens.token()).unwrap();
    assert!(asked.try_recv().is_ok(), "one that was forgotten is asked for again");
}

#[test]
fn what_github_refuses_is_told_without_its_secrets() {
    let source = || TokenFrom::GitHub { audience: "a".to_owned() };
    let error = token(source(), Vec::new()).unwrap_err();
    assert!(error.message.contains("id-token: write"), "{error}");
    let secret = || (GITHUB_TOKEN, CANARY.to_owned());
    let error = token(source(), vec![(GITHUB_URL, format!("http://h/{CANARY}")), secret()]).unwrap_err();
    assert!(error.message.contains("not https") && !error.message.contains(CANARY), "{error}");
    for (status, body, words) in [
        ("403 Forbidden", CANARY.to_owned(), "HTTP 403"),
        ("200 OK", format!("{{\"v\":\"{CANARY}\"}}"), "no value"),
    ] {
        let (address, _asked) = github(status, body);
        let error = token(source(), vec![(GITHUB_URL, address), secret()]).unwrap_err();
        assert!(error.message.contains(words) && !error.message.contains(CANARY), "{error}");
    }
}
