//! What ties a plugin to its host: no process that outlives it, no descriptor of the host's parent, no directory left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod house;

use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use house::{House, RAW, assert_gone, options, variable};
use prokura_signer::{KeyReference, PluginOptions, describe_key};

const ANSWER: &str = r#"echo '{"keyId":"k","keySpec":"EC-256"}'"#;

async fn describe(house: &House, body: &str, options: PluginOptions) {
    house.script(RAW, body);
    let plugin = house.start(options).await.unwrap();
    describe_key(&plugin, &KeyReference::new("k", Default::default()).unwrap()).await.unwrap();
}

fn in_directory(directory: &Path) -> PluginOptions {
    let mut options = options();
    options.environment.push(variable("TMPDIR", directory.to_str().unwrap()));
    options
}

#[tokio::test]
async fn a_plugin_inherits_the_standard_streams_alone() {
    let house = House::new();
    // As whoever starts the host may leave it: open in every child.
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    assert!(!rustix::io::fcntl_getfd(&reader).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    describe(&house, &format!(r#"ls -l /proc/$$/fd >"$traces/files"; {ANSWER}"#), options()).await;
    let files = fs::read_to_string(house.path("files")).unwrap();
    for end in [reader.as_raw_fd(), writer.as_raw_fd()] {
        let name = fs::read_link(format!("/proc/self/fd/{end}")).unwrap();
        assert!(files.contains("pipe:") && !files.contains(name.to_str().unwrap()), "{files}");
    }
    // The streams, and the script and the saved stdout that the shell has open.
    assert!(files.lines().filter(|line| line.contains("->")).count() <= 5, "{files}");
}

#[tokio::test]
async fn a_plugin_starts_with_the_default_signals() {
    let house = House::new();
    describe(
        &house,
        &format!(r#"grep -E '^Sig(Ign|Blk)' /proc/self/status >"$traces/signals"; {ANSWER}"#),
        options(),
    )
    .await;
    let signals = fs::read_to_string(house.path("signals")).unwrap();
    for mask in signals.lines().filter_map(|line| line.split_whitespace().nth(1)) {
        let mask = u64::from_str_radix(mask, 16).unwrap();
        // Rust ignores SIGPIPE in this process.
        assert_eq!(mask >> (rustix::process::Signal::PIPE.as_raw() - 1) & 1, 0, "{signals}");
    }
}

#[tokio::test]
async fn what_a_plugin_leaves_outside_its_group_is_ended_when_the_call_is_given_up() {
    let house = House::new();
    let body = r#"setsid sh -c 'echo $$ >"$1/child"; exec sleep 600' sh "$traces" >/dev/null 2>&1 &
        while ! [ -s "$traces/child" ]; do sleep 0.05; done
        sleep 600"#;
    house.script(RAW, body);
    let plugin = house.start(options()).await.unwrap();
    let key = KeyReference::new("k", Default::default()).unwrap();
    let call = describe_key(&plugin, &key);
    assert!(tokio::time::timeout(Duration::from_secs(2), call).await.is_err());
    assert_gone(&house.path("child"));
}

#[tokio::test]
async fn a_daemon_that_went_elsewhere_is_let_be() {
    let house = House::new();
    let body = format!(
        r#"setsid sh -c 'cd /; echo $$ >"$1/child"; exec sleep 600' sh "$traces" >/dev/null 2>&1 &
        while ! [ -s "$traces/child" ]; do sleep 0.05; done
        {ANSWER}"#
    );
    describe(&house, &body, options()).await;
    let id = fs::read_to_string(house.path("child")).unwrap().trim().parse().unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    assert!(rustix::process::test_kill_process(id).is_ok());
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn what_a_killed_host_left_is_cleared_at_the_next_start() {
    use std::os::unix::fs::DirBuilderExt as _;
    let house = House::new();
    let temporary = house.path("tmp");
    let stale = temporary.join("prokura-dead");
    fs::create_dir(&temporary).unwrap();
    fs::DirBuilder::new().mode(0o700).create(&stale).unwrap();
    fs::create_dir(stale.join("work")).unwrap();
    fs::write(stale.join("owner"), "").unwrap();
    let mut orphan = sleeping_in(&stale.join("work"));
    describe(&house, ANSWER, in_directory(&temporary)).await;
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    let until = Instant::now() + Duration::from_secs(5);
    while orphan.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "what the killed host's plugin had started still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "a process such as a killed host leaves")]
fn sleeping_in(directory: &Path) -> std::process::Child {
    std::process::Command::new("/bin/sleep").arg("600").current_dir(directory).spawn().unwrap()
}

#[tokio::test]
async fn a_running_plugin_is_not_taken_for_stale() {
    let house = House::new();
    let temporary = house.path("tmp");
    fs::create_dir(&temporary).unwrap();
    house.script(RAW, &format!(r#"pwd >"$traces/place"; sleep 1; [ -d "$(pwd -P)" ] && {ANSWER}"#));
    let plugin = house.start(in_directory(&temporary)).await.unwrap();
    let key = KeyReference::new("k", Default::default()).unwrap();
    let (described, ()) = tokio::join!(describe_key(&plugin, &key), async {
        while fs::read_to_string(house.path("place")).unwrap_or_default().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        house.start(in_directory(&temporary)).await.unwrap();
    });
    described.unwrap();
}

#[test]
fn the_lints_are_the_workspaces_but_for_unsafe_code_in_one_file() {
    let section = |text: &str, name: &str| {
        let lines = text.lines().skip_while(|line| *line != name).skip(1);
        lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (own, all) = (include_str!("../Cargo.toml"), include_str!("../../../Cargo.toml"));
    for kind in ["rust", "clippy"] {
        let own = section(own, &format!("[lints.{kind}]"));
        let all = section(all, &format!("[workspace.lints.{kind}]"));
        let all: Vec<_> = all.iter().map(|line| line.replace("\"forbid\"", "\"deny\"")).collect();
        assert!(own.len() > 4 && own == all, "{own:?} and {all:?}");
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut lifted = Vec::new();
    let mut folders = vec![sources];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).unwrap().contains("unsafe_code") {
                lifted.push(path.file_name().unwrap().to_owned());
            }
        }
    }
    assert_eq!(lifted, ["tether.rs"]);
}
