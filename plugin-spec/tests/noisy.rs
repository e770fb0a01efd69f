//! A vendor library that prints to standard output does not break the protocol, over either transport.

#![expect(clippy::disallowed_methods, reason = "a test starts the example plugin")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// `target/PROFILE/examples/noisy`, beside the `deps` this test is in. `cargo test -p prokura-plugin` builds it, `--test noisy`
/// alone does not.
fn noisy() -> PathBuf {
    let this = std::env::current_exe().unwrap_or_default();
    this.with_file_name("../examples/noisy")
}

#[test]
fn the_answer_over_stdio_is_the_only_thing_on_stdout() {
    let mut child = Command::new(noisy())
        .arg("describe-key")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(br#"{"contractVersion":"1.0","keyId":"k"}"#).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), r#"{"keyId":"k","keySpec":"EC-256"}"#);
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn the_ready_line_is_the_only_thing_on_stdout_of_a_serving_plugin() {
    use prokura_proto::plugin::v1::plugin_client::PluginClient;
    use prokura_proto::plugin::v1::{DescribeKeyRequest, KeyReference};
    use std::os::unix::fs::DirBuilderExt as _;

    let directory = std::env::temp_dir().join(format!("prokura-noisy-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory).unwrap();
    let socket = directory.join("s");
    let mut child = Command::new(noisy())
        .args(["serve", "--socket"])
        .arg(&socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready prokura.plugin.v1\n");

    let mut client = PluginClient::connect(format!("unix:{}", socket.display())).await.unwrap();
    let key = Some(KeyReference { key_id: "k".to_owned(), ..KeyReference::default() });
    let described = client.describe_key(DescribeKeyRequest { key }).await.unwrap().into_inner();
    assert_eq!(described.key_spec, "EC-256");

    drop(client);
    // The client's task must run to close the connection; an open one would be drained for five seconds.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    std::fs::remove_dir_all(directory).unwrap();
}
