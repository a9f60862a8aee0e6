//! A command with a deadline: what it wrote, how it ended, how long it took.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long output may stay open after the command itself has ended.
const LINGER: Duration = Duration::from_secs(3);

/// A command to be run.
pub struct Runner {
    command: Command,
    shown: String,
    deadline: Duration,
    input: Option<Vec<u8>>,
}

/// A command that runs.
pub struct Running {
    child: Child,
    shown: String,
    begun: Instant,
    deadline: Duration,
    output: [Receiver<Vec<u8>>; 2],
    seen: Vec<u8>,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was run.
    pub shown: String,
    /// Exit code; 128 and the signal's number when one ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Runner {
    /// A command by its program.
    pub fn new(program: impl AsRef<OsStr>) -> Runner {
        let shown = Path::new(program.as_ref()).file_name().unwrap_or_default().to_owned();
        let shown = shown.to_string_lossy().into_owned();
        let command = Command::new(program);
        Runner { command, shown, deadline: Duration::from_secs(60), input: None }
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Runner {
        for arg in args {
            self.shown.push(' ');
            self.shown.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Runner {
        self.command.env(name, value);
        self
    }

    /// Sets variables.
    pub fn envs(mut self, list: &[(String, String)]) -> Runner {
        self.command.envs(list.iter().map(|(name, value)| (name, value)));
        self
    }

    /// Takes all variables with this prefix away.
    pub fn without(mut self, prefix: &str) -> Runner {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(prefix) {
                self.command.env_remove(name);
            }
        }
        self
    }

    /// Sets the working folder.
    pub fn dir(mut self, dir: &Path) -> Runner {
        self.command.current_dir(dir);
        self
    }

    /// Sets the longest time it may take.
    pub fn within(mut self, seconds: u64) -> Runner {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Gives it standard input.
    pub fn input(mut self, text: impl Into<Vec<u8>>) -> Runner {
        self.input = Some(text.into());
        self
    }

    /// Starts it. It lives in the namespaces of the thread that calls.
    pub fn start(mut self) -> Running {
        self.command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = match self.command.spawn() {
            Ok(child) => child,
            Err(e) => panic!("cannot run `{}`: {e}; is it installed?", self.shown),
        };
        if let (Some(text), Some(mut stdin)) = (self.input, child.stdin.take()) {
            stdin.write_all(&text).expect("write to a command that was just started");
        }
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let output = [collect(stdout), collect(stderr)];
        Running {
            child,
            shown: self.shown,
            begun,
            deadline: self.deadline,
            output,
            seen: Vec::new(),
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Done {
        self.start().finish()
    }
}

/// Reads to the end, beside; the text comes in pieces.
fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || send.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        // It may have ended meanwhile; it is still a child of ours, so the number is its own.
        let _ = nix::sys::signal::kill(pid, signal);
    }

    /// Waits until a line of its output holds the text, and returns the line.
    #[track_caller]
    pub fn line(&mut self, text: &str, seconds: u64) -> String {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let seen = String::from_utf8_lossy(&self.seen);
            if let Some(line) = seen.lines().find(|l| l.contains(text)) {
                return line.to_string();
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output[0].recv_timeout(left) {
                Ok(piece) => self.seen.extend(piece),
                Err(_) => {
                    let err: Vec<u8> = self.output[1].try_iter().flatten().collect();
                    let err = String::from_utf8_lossy(&err).into_owned();
                    panic!(
                        "`{}` should print `{text}` within {seconds} s\nstdout: {seen}\nstderr: {err}",
                        self.shown
                    )
                }
            }
        }
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("look at a child").is_some()
    }

    /// Waits for its end; panics after its deadline, or when something else keeps its output open.
    pub fn finish(mut self) -> Done {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a child") {
                break status;
            }
            if self.begun.elapsed() > self.deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                let [out, err] = self.output.map(|o| o.try_iter().flatten().collect::<Vec<u8>>());
                panic!(
                    "`{}` did not end in {} s\nstdout: {}\nstderr: {}",
                    self.shown,
                    self.deadline.as_secs(),
                    String::from_utf8_lossy(&out),
                    String::from_utf8_lossy(&err),
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let took = self.begun.elapsed();
        let end = Instant::now() + LINGER;
        let shown = self.shown;
        let mut earlier = self.seen;
        let [stdout, stderr] = self.output.map(|pieces| {
            let mut text = std::mem::take(&mut earlier);
            loop {
                match pieces.recv_timeout(end.saturating_duration_since(Instant::now())) {
                    Ok(piece) => text.extend(piece),
                    Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                    Err(_) => panic!("`{shown}` has ended, but something keeps its output open"),
                }
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        use std::os::unix::process::ExitStatusExt;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Done { shown, code, stdout, stderr, took }
    }
}

impl Done {
    /// The command must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Done {
        self.code(0)
    }

    /// The command must have ended with this code.
    #[track_caller]
    pub fn code(self, code: i32) -> Done {
        assert!(self.code == code, "exit code {code} was expected\n{self}");
        self
    }

    /// The command must have failed, with whatever code.
    #[track_caller]
    pub fn fails(self) -> Done {
        assert!(self.code != 0, "a failure was expected\n{self}");
        self
    }

    /// Standard error must hold this.
    #[track_caller]
    pub fn says(self, text: &str) -> Done {
        assert!(self.stderr.contains(text), "stderr should say `{text}`\n{self}");
        self
    }

    /// Standard output must hold this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Done {
        assert!(self.stdout.contains(text), "stdout should hold `{text}`\n{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(e) => panic!("stdout is not JSON: {e}\n{self}"),
        }
    }

    /// Standard output without the white space around it.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Done { shown, code, stdout, stderr, took } = self;
        let took = took.as_secs_f64();
        write!(
            f,
            "command: {shown}\nexit code: {code}, after {took:.2} s\nstdout:\n{stdout}\nstderr:\n{stderr}"
        )
    }
}
