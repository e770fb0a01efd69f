//! Runs one command of a plugin over stdio and takes its answer as it is.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use prokura_plugin::limits::OUTPUT_BYTES_MAX;

use super::Subject;

/// How long a plugin may take for one command.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a plugin did with a command.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Exit code; `None` if a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Starts the plugin with `arguments` and `request` on stdin, and waits for its end.
pub(super) fn run(subject: &Subject, arguments: &[&str], request: &[u8]) -> Result<Answer> {
    let mut command = Command::new(&subject.program);
    command.args(arguments).envs(subject.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", subject.program.display()))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        bail!("the plugin has no pipes");
    };
    let request = request.to_vec();
    // A plugin may refuse without reading.
    std::thread::spawn(move || stdin.write_all(&request));
    let limit = OUTPUT_BYTES_MAX as u64 + 1;
    let read = |stream: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut content = Vec::new();
            stream.take(limit).read_to_end(&mut content).map(|_| content)
        })
    };
    let (stdout, stderr) = (read(Box::new(stdout)), read(Box::new(stderr)));
    let code = wait(&mut child)?;
    let content = |reader: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        anyhow::Ok(reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??)
    };
    Ok(Answer { code, stdout: content(stdout)?, stderr: content(stderr)? })
}

fn wait(child: &mut Child) -> Result<Option<i32>> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            bail!("the plugin gave no answer within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
