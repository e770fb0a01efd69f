//! How plugin processes are started, bounded and ended, with shell scripts as plugins.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use house::{House, RAW, assert_gone, metadata, options, variable};
use prokura_plugin::ErrorCode;
use prokura_signer::{Blame, Error, KeyReference, PluginOptions, Stream, Unfit, describe_key};

fn key() -> KeyReference {
    KeyReference::new("k", Default::default()).unwrap()
}

/// Runs `describe-key` on a script.
async fn describe(house: &House, body: &str, options: PluginOptions) -> Result<(), Error> {
    house.script(RAW, body);
    let plugin = house.start(options).await?;
    describe_key(&plugin, &key()).await.map(|_| ())
}

async fn refused(body: &str) -> Error {
    describe(&House::new(), body, options()).await.unwrap_err()
}

fn short(deadline: Duration) -> PluginOptions {
    PluginOptions { deadline, ..options() }
}

#[tokio::test]
async fn a_good_answer_is_taken() {
    let house = House::new();
    let body =
        r#"cat >"$traces/request"; printf ' {"keyId":"k","keySpec":"EC-256","new":1}\n'; echo noise >&2"#;
    describe(&house, body, options()).await.unwrap();
    let request = fs::read_to_string(house.path("request")).unwrap();
    assert_eq!(request, r#"{"contractVersion":"1.0","keyId":"k"}"#);
}

#[tokio::test]
async fn a_plugin_that_does_not_read_its_request_is_heard() {
    let house = House::new();
    let config = (0..200).map(|n| (n.to_string(), "v".repeat(60_000))).collect();
    house.script(RAW, r#"echo '{"keyId":"k","keySpec":"EC-256"}'"#);
    let plugin = house.start(options()).await.unwrap();
    let key = KeyReference::new("k", config).unwrap();
    assert!(describe_key(&plugin, &key).await.is_ok());
}

#[tokio::test]
async fn large_requests_and_answers_cross_without_a_deadlock() {
    let house = House::new();
    let config = (0..200).map(|n| (n.to_string(), "v".repeat(60_000))).collect();
    // Writes while it reads: whoever writes first and reads later would wait for ever.
    house.script(RAW, r#"printf '{"keyId":"k","keySpec":"EC-256","echo":'; tr 'v{}":,' 'w     ' | tr -d ' k' | sed 's/[^w]//g;s/.*/"&"/'; printf '}'"#);
    let plugin = house.start(options()).await.unwrap();
    let key = KeyReference::new("k", config).unwrap();
    describe_key(&plugin, &key).await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_hangs_is_ended_with_its_children() {
    let house = House::new();
    let body = r#"echo $$ >"$traces/leader"; sleep 600 & echo $! >"$traces/child"; wait"#;
    let begun = Instant::now();
    let error = describe(&house, body, short(Duration::from_millis(700))).await.unwrap_err();
    assert!(matches!(error, Error::TooSlow { limit, .. } if limit == Duration::from_millis(700)), "{error}");
    assert!(error.to_string().contains("within 0.7 s") && error.to_string().contains("touch"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_gone(&house.path("leader"));
    assert_gone(&house.path("child"));
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_its_processes() {
    let house = House::new();
    house.script(RAW, r#"echo $$ >"$traces/leader"; sleep 600 & echo $! >"$traces/child"; wait"#);
    let plugin = house.start(options()).await.unwrap();
    let key = key();
    let call = describe_key(&plugin, &key);
    assert!(tokio::time::timeout(Duration::from_millis(700), call).await.is_err());
    assert_gone(&house.path("leader"));
    assert_gone(&house.path("child"));
}

#[tokio::test]
async fn a_descendant_that_keeps_the_pipes_does_not_keep_the_host() {
    let house = House::new();
    let body = r#"sleep 600 & echo $! >"$traces/child"; echo '{"keyId":"k","keySpec":"EC-256"}'"#;
    let begun = Instant::now();
    describe(&house, body, options()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_gone(&house.path("child"));
}

#[tokio::test]
async fn a_descendant_that_left_the_group_neither_keeps_the_host_nor_stays() {
    let house = House::new();
    let body = r#"setsid sh -c 'echo $$ >"$1/child"; exec sleep 600' sh "$traces" &
        while ! [ -s "$traces/child" ]; do sleep 0.05; done
        echo '{"keyId":"k","keySpec":"EC-256"}'"#;
    let begun = Instant::now();
    describe(&house, body, options()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_gone(&house.path("child"));
}

#[tokio::test]
async fn output_above_the_limit_is_refused() {
    for (body, expected) in [
        ("head -c 68157440 /dev/zero", Stream::Stdout),
        ("head -c 68157440 /dev/zero >&2", Stream::Stderr),
        ("cat /dev/zero", Stream::Stdout),
    ] {
        let error = refused(body).await;
        assert!(matches!(error, Error::Flooded { stream, .. } if stream == expected), "{error}");
        assert!(error.to_string().contains("more than 67108864 bytes to std"), "{error}");
        assert_eq!(error.blame(), Blame::PluginAuthor);
    }
}

#[tokio::test]
async fn output_at_the_limit_is_read() {
    // 64 MiB exactly: an answer behind white space.
    let body = r#"head -c 67108830 /dev/zero | tr '\0' ' '; printf '{"keyId":"k","keySpec":"EC-256"  }'"#;
    describe(&House::new(), body, options()).await.unwrap();
}

#[tokio::test]
async fn a_banner_is_quoted() {
    let error = refused(r#"printf '\033[1mWelcome to x 1.0\033[0m\n{"keyId":"k","keySpec":"EC-256"}'"#).await;
    assert!(matches!(error, Error::Malformed { rule: "OUT-1", call: "describe-key", .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(r#"found "Welcome to x 1.0 {\"keyId"#), "{text}");
    assert!(!text.contains('\u{1b}'));
}

#[tokio::test]
async fn an_error_of_the_contract_is_shown_whatever_the_status() {
    for status in [1, 2, 255] {
        let body = format!(
            r#"echo '{{"errorCode":"ACCESS_DENIED","errorMessage":"wrong \u001b[31mPIN","errorMetadata":{{"tries":"2"}}}}' >&2; exit {status}"#
        );
        let error = refused(&body).await;
        assert!(matches!(&error, Error::Refused { code: ErrorCode::AccessDenied, .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with(
                r#"plugin x refused describe-key with ACCESS_DENIED: "wrong PIN" {"tries": "2"};"#
            ),
            "{text}"
        );
    }
}

#[tokio::test]
async fn an_unknown_error_code_counts_as_error_and_is_shown() {
    let error = refused(r#"echo '{"errorCode":"Forbidden","errorMessage":"m"}' >&2; exit 1"#).await;
    assert!(matches!(&error, Error::Refused { code: ErrorCode::Error, .. }), "{error}");
    assert!(error.to_string().contains("with Forbidden: \"m\""), "{error}");
    assert_eq!((error.blame(), error.may_retry()), (Blame::Vault, false));
}

#[tokio::test]
async fn a_death_is_told_with_what_the_plugin_wrote() {
    let error = refused(r#"printf 'Traceback\033[2J: \007 boom' >&2; exit 3"#).await;
    assert!(matches!(&error, Error::Died { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(
            r#"ended with exit status 3 during describe-key and wrote to stderr: "Traceback: boom""#
        ),
        "{text}"
    );
    let error = refused("kill -SEGV $$").await;
    assert!(error.to_string().contains("ended with signal 11 (SIGSEGV)"), "{error}");
    assert!(error.to_string().contains("wrote nothing to stderr"), "{error}");
    let error = refused(r#"echo '{"errorCode":"ERROR"}' >&2; kill -KILL $$"#).await;
    assert!(matches!(&error, Error::Died { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_of_a_failed_command_is_not_taken() {
    let error = refused(r#"echo '{"keyId":"k","keySpec":"EC-256"}'; exit 1"#).await;
    assert!(matches!(error, Error::Died { .. }), "{error}");
}

#[tokio::test]
async fn the_environment_is_the_allowed_one() {
    let house = House::new();
    let mut options = options();
    options.environment.extend(
        [
            "NOTATION_USERNAME",
            "NOTATION_PASSWORD",
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "SECRET",
            "AWS_PROFILE",
            "LANG",
            "PROKURA_PLUGIN_PIN",
        ]
        .map(|name| variable(name, "canary")),
    );
    let body = r#"env >"$traces/environment"; echo '{"keyId":"k","keySpec":"EC-256"}'"#;
    describe(&house, body, options).await.unwrap();
    let environment = fs::read_to_string(house.path("environment")).unwrap();
    let mut names: Vec<&str> =
        environment.lines().filter(|l| l.ends_with("=canary")).filter_map(|l| l.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["AWS_PROFILE", "LANG", "PROKURA_PLUGIN_PIN"]);
    // This process has more: nothing of it leaks.
    assert!(!environment.contains("CARGO"), "{environment}");
}

#[tokio::test]
async fn the_working_directory_is_private_and_vanishes() {
    let house = House::new();
    let body = r#"touch left-behind; { pwd; stat -c %a .; ls -A; } >"$traces/directory"
        echo '{"keyId":"k","keySpec":"EC-256"}'"#;
    describe(&house, body, options()).await.unwrap();
    let seen = fs::read_to_string(house.path("directory")).unwrap();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(&lines[1..], ["700", "left-behind"]);
    assert!(lines[0].contains("prokura-"), "{seen}");
    assert!(!std::path::Path::new(lines[0]).exists());
}

#[tokio::test]
async fn the_plugin_leads_a_process_group_of_its_own() {
    let house = House::new();
    let body = r#"cut -d' ' -f5 /proc/$$/stat >"$traces/group"; echo $$ >"$traces/leader"
        ls -l /proc/$$/fd >"$traces/files"; echo '{"keyId":"k","keySpec":"EC-256"}'"#;
    describe(&house, body, options()).await.unwrap();
    let read = |name| fs::read_to_string(house.path(name)).unwrap();
    assert_eq!(read("group"), read("leader"));
    // What the runtime has open (epoll, eventfd, socket pairs) is not open in the plugin. Only descriptors that the
    // host itself was started with and that are inheritable could be.
    let files = read("files");
    assert!(files.contains("pipe:"), "{files}");
    let foreign: Vec<&str> =
        files.lines().filter(|l| l.contains("socket:") || l.contains("anon_inode:")).collect();
    assert_eq!(foreign, [""; 0]);
}

#[tokio::test]
async fn many_calls_leave_no_descriptor_and_no_zombie() {
    let house = House::new();
    house.script(RAW, r#"echo '{"keyId":"k","keySpec":"EC-256"}'"#);
    let plugin = house.start(options()).await.unwrap();
    let key = key();
    let call = async |n| {
        for _ in 0..n {
            describe_key(&plugin, &key).await.unwrap();
        }
    };
    call(2).await;
    let count = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = count();
    call(20).await;
    // Other tests of this file run at the same time and have descriptors of their own.
    assert!(count() < before + 20, "{before} descriptors became {}", count());
}

#[tokio::test]
async fn foreign_programs_are_not_started() {
    let house = House::new();
    for (bytes, found) in [
        (
            &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb6\x77\x01\0\0\0"[..],
            "64-bit ELF program for machine 30646",
        ),
        (b"\x7fELF garbage", "damaged ELF program"),
        (b"echo '{}'\n", "no program and has no #! line"),
        (b"", "an empty file"),
    ] {
        house.install(bytes);
        let error = house.start(options()).await.unwrap_err();
        assert!(
            matches!(&error, Error::NotRunnable { reason: Unfit::WrongArchitecture { .. }, .. }),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains("wrong architecture or is not a program") && text.contains(found), "{text}");
        assert_eq!(error.blame(), Blame::Operator);
    }
    house.install("#!/nowhere/interpreter\n");
    let error = house.start(options()).await.unwrap_err();
    assert!(matches!(&error, Error::NotRunnable { reason: Unfit::NoInterpreter, .. }), "{error}");
}

#[tokio::test]
async fn a_pinned_executable_that_changed_is_not_started() {
    let house = House::new();
    let path = house.script(RAW, "");
    let pin = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
    let error = house.start(PluginOptions { pinned_sha256: Some(pin), ..options() }).await.unwrap_err();
    let Error::NotRunnable { reason: Unfit::WrongSha256 { found, .. }, path: named, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*named, path);
    let right = PluginOptions { pinned_sha256: Some(found.parse().unwrap()), ..options() };
    let plugin = house.start(right).await.unwrap();
    // Compared before each start, not only the first.
    house.script(RAW, "touch \"$traces/started\"");
    let error = describe_key(&plugin, &key()).await.unwrap_err();
    assert!(matches!(&error, Error::NotRunnable { reason: Unfit::WrongSha256 { .. }, .. }), "{error}");
    assert!(!house.path("started").exists());
}

#[tokio::test]
async fn an_unfit_file_is_not_started() {
    let house = House::new();
    let path = house.install(format!("#!/bin/sh\ntouch '{}'\n", house.path("started").display()));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    let error = house.start(options()).await.unwrap_err();
    assert!(error.to_string().contains("has mode 0777, so that others may change it"), "{error}");
    assert!(!house.path("started").exists());
}

#[tokio::test]
async fn bad_metadata_names_its_rule() {
    let house = House::new();
    for (found, replaced, rule) in
        [("\"x\"", "\"y\"", "META-8"), ("[\"1.0\"]", "[\"2.0\"]", "META-7"), ("\"u\"", "\"\"", "META-4")]
    {
        house.install(format!("#!/bin/sh\necho '{}'\n", metadata(RAW).replace(found, replaced)));
        let error = house.start(options()).await.unwrap_err();
        assert_eq!(error.rule(), Some(rule), "{error}");
    }
}

#[tokio::test]
async fn throttled_calls_are_repeated_and_denied_ones_are_not() {
    let house = House::new();
    let body = r#"echo >>"$traces/calls"
        if [ "$(wc -l <"$traces/calls")" -lt 3 ]; then echo '{"errorCode":"THROTTLED"}' >&2; exit 1; fi
        echo '{"keyId":"k","keySpec":"EC-256"}'"#;
    describe(&house, body, options()).await.unwrap();
    assert_eq!(fs::read_to_string(house.path("calls")).unwrap().lines().count(), 3);
    let house = House::new();
    let body = r#"echo >>"$traces/calls"; echo '{"errorCode":"ACCESS_DENIED"}' >&2; exit 1"#;
    describe(&house, body, options()).await.unwrap_err();
    assert_eq!(fs::read_to_string(house.path("calls")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn another_key_id_and_an_unknown_key_spec_name_their_rules() {
    let error = refused(r#"echo '{"keyId":"other","keySpec":"EC-256"}'"#).await;
    assert_eq!(error.rule(), Some("KEY-1"), "{error}");
    let error = refused(r#"echo '{"keyId":"k","keySpec":"ED25519"}'"#).await;
    assert_eq!(error.rule(), Some("KEY-2"), "{error}");
}
