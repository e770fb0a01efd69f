//! The person at `prokura`: a PIN typed at a real terminal, or into pinentry where there is none, for a real token.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Arguments;
use prokura_integration::backend::token::{PIN, Token};
use prokura_integration::home::Home;
use prokura_integration::program::{executable, install_script, output, system};
use prokura_integration::suite::trial;
use prokura_plugin::KeySpec;

const PATIENCE: Duration = Duration::from_secs(30);

type Test = fn(&Desk) -> Result<()>;

const TESTS: [(&str, Test); 5] = [
    ("a_pin_typed_at_the_terminal_signs_and_is_not_shown", typed),
    ("a_wrong_pin_is_asked_for_once", mistyped),
    ("ctrl_c_at_the_question_leaves_the_terminal_as_it_was", interrupted),
    ("without_a_terminal_and_pinentry_nobody_is_asked", nobody),
    ("pinentry_is_asked_where_there_is_no_terminal", pinentry),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let trials = TESTS.map(|(name, test)| trial(name, move || test(&Desk::new()?)));
    Ok(libtest_mimic::run(&arguments, trials.into()).exit_code())
}

/// A home with a token whose PIN is asked for.
struct Desk {
    home: Home,
    key: String,
    root: String,
}

impl Desk {
    fn new() -> Result<Self> {
        let mut home = Home::new()?;
        let token = Token::softhsm(home.path())?;
        home.set(token.environment.0, &token.environment.1);
        std::fs::write(home.path().join("file"), "content")?;
        let key = token.key_uri(KeySpec::Ec256);
        let key = key.split("&pin-source").next().context("a URI with a PIN source")?.to_owned();
        Ok(Self { home, key, root: token.root.display().to_string() })
    }

    /// `prokura blob sign` in a shell. What follows it in the shell says how it left the terminal.
    fn line(&self) -> Result<String> {
        let (prokura, key, root) = (executable("prokura")?, &self.key, &self.root);
        let sign = format!(
            "{} blob sign --force --plugin pkcs11 --id '{key}' --plugin-config ca_certs={root} --plugin-config pin-source=ask file",
            prokura.display()
        );
        Ok(format!("trap : INT; {sign}; echo \"code $?\"; stty -a"))
    }

    fn at_terminal(&self) -> Result<Terminal> {
        let script = system("script", "apt-get install bsdutils")?;
        // A test that runs in the background ignores SIGINT, and its children would too.
        let mut command = self.home.command(&system("env", "apt-get install coreutils")?);
        command.arg("--default-signal").arg(&script);
        command.args(["-q", "-e", "-c"]).arg(self.line()?).arg("/dev/null").env("SHELL", "/bin/sh");
        Terminal::start(&mut command)
    }

    fn without_terminal(&self) -> Result<Command> {
        let mut command = self.home.command(&system("setsid", "apt-get install util-linux")?);
        command.args(["--wait", "/bin/sh", "-c"]).arg(self.line()?);
        Ok(command)
    }
}

/// A program at a terminal of its own, typed to through a pipe.
struct Terminal {
    script: Child,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    fn start(command: &mut Command) -> Result<Self> {
        let mut script =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, seen) = (script.stdout.take().context("an output")?, Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                if let Ok(mut seen) = seen.lock() {
                    seen.extend_from_slice(buffer.get(..length).unwrap_or_default());
                }
            }
        });
        Ok(Self { script, screen })
    }

    fn screen(&self) -> String {
        self.screen.lock().map(|seen| String::from_utf8_lossy(&seen).into_owned()).unwrap_or_default()
    }

    fn shows(&self, text: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !self.screen().contains(text) {
            ensure!(Instant::now() < until, "{text:?} is not on the screen:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn types(&mut self, keys: &str) -> Result<()> {
        let stdin = self.script.stdin.as_mut().context("an input")?;
        stdin.write_all(keys.as_bytes())?;
        Ok(stdin.flush()?)
    }

    /// What was on the screen when the shell had ended, its last lines telling how the terminal was left.
    fn ends(mut self) -> Result<String> {
        self.shows("tostop")?;
        drop(self.script.stdin.take());
        let until = Instant::now() + PATIENCE;
        while self.script.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "the shell does not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
        let screen = self.screen();
        let modes = screen.rsplit("code ").next().unwrap_or_default().replace(';', " ");
        let modes: Vec<&str> = modes.split_whitespace().collect();
        for mode in ["echo", "icanon", "isig", "-echonl"] {
            ensure!(modes.contains(&mode), "the terminal was left without {mode}:\n{screen}");
        }
        Ok(screen)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

fn typed(desk: &Desk) -> Result<()> {
    let mut terminal = desk.at_terminal()?;
    terminal.shows("Plugin pkcs11 asks for the PIN of")?;
    terminal.types(&format!("{PIN}\n"))?;
    let screen = terminal.ends()?;
    ensure!(screen.contains("code 0"), "{screen}");
    ensure!(!screen.contains(PIN), "the PIN is on the screen:\n{screen}");
    Ok(())
}

fn mistyped(desk: &Desk) -> Result<()> {
    let mut terminal = desk.at_terminal()?;
    terminal.shows("asks for the PIN of")?;
    terminal.types("wrong-pin\n")?;
    let screen = terminal.ends()?;
    ensure!(screen.contains("code 1") && screen.contains("ACCESS_DENIED"), "{screen}");
    ensure!(screen.matches("asks for the PIN of").count() == 1, "asked again:\n{screen}");
    ensure!(!screen.contains("wrong-pin"), "the PIN is on the screen:\n{screen}");
    Ok(())
}

fn interrupted(desk: &Desk) -> Result<()> {
    let mut terminal = desk.at_terminal()?;
    terminal.shows("asks for the PIN of")?;
    terminal.types("\u{3}")?;
    let screen = terminal.ends()?;
    ensure!(screen.contains("code 130"), "{screen}");
    Ok(())
}

fn nobody(desk: &Desk) -> Result<()> {
    let run = output(&mut desk.without_terminal()?)?;
    ensure!(run.stdout.contains("code 1"), "{run:?}");
    ensure!(run.stderr.contains("ACCESS_DENIED") && !run.stderr.contains("asks for the PIN of"), "{run:?}");
    Ok(())
}

fn pinentry(desk: &Desk) -> Result<()> {
    let program = desk.home.path().join("pinentry");
    // pinentry's part of the Assuan protocol; the real one draws a window.
    let speaks = format!(
        "#!/bin/sh\necho OK\nwhile read -r word rest; do\n\
         case $word in SETDESC) echo \"$rest\" >desc; echo OK;; GETPIN) echo 'D {PIN}'; echo OK;; *) echo OK;; esac\ndone\n"
    );
    install_script(&speaks.replace(">desc", &format!(">{}/desc", desk.home.path().display())), &program)?;
    let run = output(desk.without_terminal()?.env("PINENTRY", &program))?;
    ensure!(run.stdout.contains("code 0"), "{run:?}");
    let asked = std::fs::read_to_string(desk.home.path().join("desc"))?;
    ensure!(asked.contains("Plugin pkcs11 asks for the PIN of"), "{asked}");
    Ok(())
}
