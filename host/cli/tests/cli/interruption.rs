//! Signals: the command ends, and nothing it started or made stays.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::home::Home;

#[test]
fn every_signal_that_asks_for_the_end_takes_plugin_and_private_directory_along() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131), (Signal::INT, 130)] {
        let home = Home::new();
        // A test that was itself started with nohup ignores SIGHUP, and its children would too.
        let (mut prokura, plugin) = hanging(&home, "exec env --default-signal");
        kill_process(Pid::from_child(&prokura), signal).unwrap();
        assert_eq!(prokura.wait().unwrap().code(), Some(code), "{signal:?}");
        eventually("the plugin still runs", || !runs(&plugin));
        assert_eq!(left_in(&home.path().join("tmp")), Vec::<String>::new(), "{signal:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_host_that_is_killed_takes_the_plugin_along_and_the_next_clears_its_directory() {
    let home = Home::new();
    let (mut prokura, plugin) = hanging(&home, "exec");
    kill_process(Pid::from_child(&prokura), Signal::KILL).unwrap();
    prokura.wait().unwrap();
    eventually("the plugin outlives its host", || !runs(&plugin));
    let tmp = home.path().join("tmp");
    assert_eq!(left_in(&tmp).len(), 1, "nobody could remove the directory");
    home.script("hang", "exit 1");
    let listed = home.run_with(&["plugin", "list"], "", &[("TMPDIR", tmp.to_str().unwrap())]);
    assert!(listed.status.success(), "{listed:?}");
    assert_eq!(left_in(&tmp), Vec::<String>::new());
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_that_was_ignored_stays_ignored() {
    let home = Home::new();
    let (mut prokura, plugin) = hanging(&home, "trap '' HUP; exec");
    kill_process(Pid::from_child(&prokura), Signal::HUP).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(prokura.try_wait().unwrap().is_none() && runs(&plugin), "nohup has no effect");
    kill_process(Pid::from_child(&prokura), Signal::TERM).unwrap();
    assert_eq!(prokura.wait().unwrap().code(), Some(143));
}

/// `prokura` with a plugin that hangs and ignores SIGTERM; the plugin's process id. `start` is the shell command in
/// front of the executable.
#[expect(clippy::disallowed_methods, reason = "the test runs the executable under test")]
fn hanging(home: &Home, start: &str) -> (Child, String) {
    let mark = home.path().join("plugin.pid");
    let shown = mark.display();
    home.script(
        "hang",
        &format!("trap '' TERM\necho $$ > {shown}.new; mv {shown}.new {shown}\nwhile :; do sleep 1; done"),
    );
    let tmp = home.path().join("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let prokura = Command::new("/bin/sh")
        .args(["-c", &format!("{start} {} plugin list", env!("CARGO_BIN_EXE_prokura"))])
        .env("NOTATION_CONFIG", home.config(""))
        .env("TMPDIR", &tmp)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the plugin does not start", || mark.exists());
    (prokura, std::fs::read_to_string(&mark).unwrap().trim().to_owned())
}

fn eventually(otherwise: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{otherwise}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process exists and is no zombie that waits for its new parent.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn left_in(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
