//! Plugins that announce gRPC and do not serve it: named errors, and stdio instead where that was left open.
//!
//! The way that works is tested with real plugins in `integration`.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod house;

use std::fs;

use house::{House, assert_gone, options};
use prokura_plugin::ErrorCode;
use prokura_signer::{Error, KeyReference, Plugin, PluginOptions, Preference, describe_key};

const BOTH: &str = "SIGNATURE_GENERATOR.RAW TRANSPORT.GRPC.1";

async fn start(house: &House, serve: &str, transport: Preference) -> Plugin {
    let body = format!(
        "if [ \"$1\" = serve ]; then\n{serve}\nfi\necho '{{\"keyId\":\"k\",\"keySpec\":\"EC-256\"}}'"
    );
    house.script(BOTH, &body);
    house.start(PluginOptions { transport, ..options() }).await.unwrap()
}

async fn describe(plugin: &Plugin) -> Result<(), Error> {
    describe_key(plugin, &KeyReference::new("k", Default::default()).unwrap()).await.map(|_| ())
}

async fn refused(serve: &str) -> Error {
    describe(&start(&House::new(), serve, Preference::Grpc).await).await.unwrap_err()
}

#[tokio::test]
async fn stdio_stands_in_for_a_plugin_that_does_not_serve() {
    let house = House::new();
    let serve = r#"echo >>"$traces/starts"; echo 'no such command' >&2; exit 1"#;
    let plugin = start(&house, serve, Preference::Auto).await;
    describe(&plugin).await.unwrap();
    describe(&plugin).await.unwrap();
    let reason = plugin.fallback_reason().unwrap();
    assert!(reason.contains("exit status 1 during serve") && reason.contains("no such command"), "{reason}");
    assert_eq!(fs::read_to_string(house.path("starts")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn a_plugin_that_dies_or_refuses_at_the_start_is_told_so() {
    let house = House::new();
    let serve = r#"echo >>"$traces/starts"; echo 'cannot open the token' >&2; kill -TERM $$"#;
    let plugin = start(&house, serve, Preference::Grpc).await;
    let begun = std::time::Instant::now();
    let error = describe(&plugin).await.unwrap_err();
    let Error::GivenUp { processes: 5, last, .. } = &error else { panic!("{error}") };
    assert!(matches!(&**last, Error::Died { call: "serve", .. }), "{error}");
    for words in
        ["was started 5 times", "signal 15 (SIGTERM)", "cannot open the token", "its author must act"]
    {
        assert!(error.to_string().contains(words), "{error}");
    }
    // Half of 100 + 200 + 400 + 800 ms at least.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(750), "{:?}", begun.elapsed());
    // Given up: nobody starts a sixth at once.
    assert!(matches!(describe(&plugin).await, Err(Error::GivenUp { processes: 5, .. })));
    assert_eq!(fs::read_to_string(house.path("starts")).unwrap().lines().count(), 5);
    assert_eq!(plugin.supervision().generation, 0);
    let error =
        refused(r#"echo '{"errorCode":"ACCESS_DENIED","errorMessage":"no token"}' >&2; exit 1"#).await;
    assert!(matches!(&error, Error::Refused { code: ErrorCode::AccessDenied, .. }), "{error}");
}

#[tokio::test]
async fn a_vault_that_refuses_is_not_asked_again_over_stdio() {
    let house = House::new();
    let serve = r#"echo '{"errorCode":"ACCESS_DENIED","errorMessage":"wrong PIN"}' >&2; exit 1"#;
    let error = describe(&start(&house, serve, Preference::Auto).await).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: ErrorCode::AccessDenied, .. }), "{error}");
}

#[tokio::test]
async fn another_ready_line_is_refused() {
    for line in ["ready prokura.plugin.v2", "Welcome", "ready prokura.plugin.v1 ", &"x".repeat(1000)] {
        let error = refused(&format!("echo '{line}'; sleep 600")).await;
        assert_eq!(error.rule(), Some("GRPC-1"), "{error}");
        assert!(error.to_string().contains("expected the one line \"ready prokura.plugin.v1\""), "{error}");
    }
}

#[tokio::test]
async fn a_plugin_that_is_ready_without_a_socket_is_refused_and_ended() {
    let house = House::new();
    let serve = r#"echo $$ >"$traces/leader"; sleep 600 & echo $! >"$traces/child"; echo 'ready prokura.plugin.v1'; wait"#;
    let plugin = start(&house, serve, Preference::Grpc).await;
    let error = describe(&plugin).await.unwrap_err();
    assert_eq!(error.rule(), Some("GRPC-2"), "{error}");
    assert!(error.to_string().contains("socket cannot be connected to"), "{error}");
    assert_gone(&house.path("leader"));
    assert_gone(&house.path("child"));
}

#[tokio::test]
async fn a_plugin_that_never_gets_ready_is_ended() {
    let house = House::new();
    let plugin = start(&house, r#"echo $$ >"$traces/leader"; sleep 600"#, Preference::Grpc).await;
    let error = describe(&plugin).await.unwrap_err();
    assert!(matches!(&error, Error::TooSlow { call: "serve", .. }), "{error}");
    assert!(error.to_string().contains("within 10 s"), "{error}");
    assert_gone(&house.path("leader"));
}

#[tokio::test]
async fn waiting_for_a_plugin_that_never_gets_ready_leaves_time_for_stdio() {
    let house = House::new();
    house.script(
        BOTH,
        "[ \"$1\" = serve ] && exec sleep 600\necho '{\"keyId\":\"k\",\"keySpec\":\"EC-256\"}'",
    );
    let deadline = std::time::Duration::from_secs(2);
    let plugin = house.start(PluginOptions { deadline, ..options() }).await.unwrap();
    describe(&plugin).await.unwrap();
    let reason = plugin.fallback_reason().unwrap();
    assert!(reason.contains("no answer to serve within 1 s"), "{reason}");
}

#[tokio::test]
async fn the_socket_lies_in_a_private_directory() {
    let house = House::new();
    let serve = r#"echo "$2 $(pwd) $(stat -c %a .) $3" >"$traces/socket"; exit 1"#;
    describe(&start(&house, serve, Preference::Grpc).await).await.unwrap_err();
    let seen = fs::read_to_string(house.path("socket")).unwrap();
    let parts: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!((parts[0], parts[2]), ("--socket", "700"));
    assert_eq!(parts[3], format!("{}/plugin.sock", parts[1]));
}

#[tokio::test]
async fn grpc_is_not_forced_on_plugins_without_it() {
    let house = House::new();
    house.script("SIGNATURE_GENERATOR.RAW", "");
    let plugin = house.start(PluginOptions { transport: Preference::Grpc, ..options() }).await.unwrap();
    let error = describe(&plugin).await.unwrap_err();
    assert!(matches!(&error, Error::Incapable { needed: "TRANSPORT.GRPC.1", .. }), "{error}");
}
