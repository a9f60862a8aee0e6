//! One sequence of steps of one node.

use crate::{Captured, Node, command, http, netconf, place, shell};
use netloom_kinds::{Sequence, Step};
use std::time::{Duration, Instant};

/// Longest time for a sequence that names none.
const USUAL: Duration = Duration::from_secs(300);
/// Longest time for one try of a step that names none.
const TRY: Duration = Duration::from_secs(60);

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// There is more to do; not before some time has passed.
    Again(Duration),
    /// All steps are done.
    Done,
    /// A step failed for good.
    Failed {
        /// Its name, or its number.
        step: String,
        /// Why.
        why: String,
    },
}

/// A sequence on its way.
pub struct Walk {
    steps: Vec<Step>,
    limit: Duration,
    at: usize,
    captured: Captured,
    begun: Option<Instant>,
    tried: Option<Instant>,
    passed_over: Vec<String>,
}

/// What one try of a step needs.
pub(crate) struct Try<'a> {
    pub node: &'a dyn Node,
    pub captured: &'a Captured,
    pub limit: Duration,
}

impl Try<'_> {
    /// Fills a template.
    pub fn fill(&self, text: &str) -> Result<String, String> {
        match text.contains("{{") {
            true => self.node.fill(text, self.captured),
            false => Ok(text.to_owned()),
        }
    }

    /// Fails unless a regular expression is found in the text.
    pub fn expect(&self, pattern: Option<&str>, text: &str) -> Result<(), String> {
        let Some(pattern) = pattern else { return Ok(()) };
        let pattern = self.fill(pattern)?;
        let expression = regex::Regex::new(&pattern).map_err(|e| e.to_string())?;
        match expression.is_match(text) {
            true => Ok(()),
            false => Err(format!("`{pattern}` is not in its answer: {}", short(text))),
        }
    }
}

/// Why a try failed.
pub(crate) enum Failed {
    /// Another try may pass.
    Now(String),
    /// None will.
    ForGood(String),
}

impl From<String> for Failed {
    fn from(why: String) -> Self {
        Failed::Now(why)
    }
}

/// The end of a text, for a message.
pub(crate) fn short(text: &str) -> String {
    // It may hold what moves a cursor.
    let text: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let last = lines.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join(" / ");
    match (last.is_empty(), last.char_indices().nth(300)) {
        (true, _) => "(nothing)".into(),
        (_, Some((at, _))) => format!("{}...", &last[..at]),
        _ => last,
    }
}

impl Walk {
    /// A sequence from its beginning.
    pub fn new(sequence: &Sequence) -> Self {
        Walk {
            steps: sequence.steps.clone(),
            limit: sequence.timeout.as_deref().and_then(time).unwrap_or(USUAL),
            at: 0,
            captured: Captured::new(),
            begun: None,
            tried: None,
            passed_over: Vec::new(),
        }
    }

    /// Failures of steps whose failure does not matter, so far.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// The file that the last step that leaves one has left, filled in.
    pub fn left(&self, node: &dyn Node) -> Option<Result<String, String>> {
        let into = |s: &Step| {
            let exec = s.exec.as_ref().and_then(|e| e.into.clone());
            let ssh = s.ssh.as_ref().and_then(|e| e.into.clone());
            exec.or(ssh).or_else(|| s.netconf.as_ref().and_then(|e| e.into.clone()))
        };
        let path = self.steps.iter().rev().find_map(into)?;
        Some(if path.contains("{{") { node.fill(&path, &self.captured) } else { Ok(path) })
    }

    /// Tries the next step.
    pub fn turn(&mut self, node: &dyn Node) -> Turn {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let Some(step) = self.steps.get(self.at) else { return Turn::Done };
        let left = self.limit.saturating_sub(begun.elapsed());
        let since = *self.tried.get_or_insert_with(Instant::now);
        let own = step.timeout.as_deref().and_then(time).unwrap_or(TRY);
        let one = Try { node, captured: &self.captured, limit: own.min(left) };
        let meant = match step.when.as_deref().map(|w| one.fill(w)).transpose() {
            Ok(when) => when.is_none_or(|w| !w.trim().is_empty()),
            Err(why) => return self.failed(why),
        };
        if !meant {
            return self.next();
        }
        let name = step.name.clone();
        match attempt(step, &one) {
            Ok(captured) => {
                self.captured.extend(captured);
                self.next()
            }
            Err(failed) => {
                let (retry, why) = match failed {
                    Failed::Now(why) => (step.retry.as_ref(), why),
                    Failed::ForGood(why) => (None, why),
                };
                let again = retry.and_then(|r| Some((time(&r.every)?, time(&r.r#for)?)));
                match again {
                    Some((every, most)) if since.elapsed() + every <= most && left > every => {
                        Turn::Again(every)
                    }
                    _ if step.ignore_errors => {
                        let name = name.unwrap_or_else(|| format!("step {}", self.at + 1));
                        self.passed_over.push(format!("{name}: {why}"));
                        self.next()
                    }
                    _ => self.failed(why),
                }
            }
        }
    }

    fn next(&mut self) -> Turn {
        self.at += 1;
        self.tried = None;
        if self.at < self.steps.len() { Turn::Again(Duration::ZERO) } else { Turn::Done }
    }

    fn failed(&self, why: String) -> Turn {
        let name = self.steps.get(self.at).and_then(|s| s.name.clone());
        Turn::Failed { step: name.unwrap_or_else(|| format!("step {}", self.at + 1)), why }
    }
}

/// One try; gives what it captured.
fn attempt(step: &Step, one: &Try<'_>) -> Result<Option<(String, String)>, Failed> {
    let done = |result: Result<(), String>| result.map(|()| None).map_err(Failed::Now);
    match step {
        Step { exec: Some(e), .. } => command::run(e, one),
        Step { wait: Some(w), .. } => done(place::wait(w, one)),
        Step { copy: Some(c), .. } => done(place::copy(c, one)),
        Step { ssh: Some(s), .. } => done(shell::run(s, one)),
        Step { netconf: Some(n), .. } => done(netconf::run(n, one)),
        Step { http: Some(h), .. } => done(http::run(h, one)),
        Step { console: Some(_), .. } => {
            Err(Failed::ForGood("this node has no serial console".into()))
        }
        _ => Err(Failed::ForGood("it says nothing of what to do".into())),
    }
}

/// `300s`, `2m`, `500ms`.
fn time(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "ms" => Duration::from_millis(number),
        "" | "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netloom_kinds::step::{Exec, Retry};
    use netloom_runtime::{ExecOutput, ExecSpec, RuntimeError};
    use std::sync::Mutex;

    /// Answers with what it is given; knows how often it was asked.
    #[derive(Default)]
    struct Echo {
        asked: Mutex<Vec<Vec<String>>>,
        fails: usize,
    }

    impl Node for Echo {
        fn exec(&self, spec: &ExecSpec) -> Result<ExecOutput, RuntimeError> {
            let mut asked = self.asked.lock().unwrap();
            asked.push(spec.argv.clone());
            let code = i32::from(asked.len() <= self.fails);
            let stdout = spec.argv.join(" ").into_bytes();
            Ok(ExecOutput { code, stdout, stderr: Vec::new() })
        }
        fn connect(&self, _: u16, _: Duration) -> std::io::Result<std::net::TcpStream> {
            Err(std::io::ErrorKind::ConnectionRefused.into())
        }
        fn fill(&self, text: &str, captured: &Captured) -> Result<String, String> {
            let text = text.replace("{{ .Captured.a }}", captured.get("a").map_or("", |a| a));
            Ok(text.replace("{{ .Nothing }}", ""))
        }
        fn pid(&self) -> Option<u32> {
            None
        }
        fn keep(&self, _: &str, _: &[u8]) -> std::io::Result<()> {
            Ok(())
        }
        fn credentials(&self) -> (&str, &str) {
            ("", "")
        }
    }

    fn exec(argv: &[&str]) -> Step {
        let argv = argv.iter().map(|a| (*a).to_owned()).collect();
        let exec = Exec { argv, stdin: None, user: None, expect: None, capture: None, into: None };
        Step { exec: Some(exec), ..Step::default() }
    }

    fn walk(steps: Vec<Step>) -> Walk {
        Walk::new(&Sequence { timeout: None, steps })
    }

    fn through(walk: &mut Walk, node: &Echo) -> Turn {
        loop {
            match walk.turn(node) {
                Turn::Again(wait) => std::thread::sleep(wait),
                end => return end,
            }
        }
    }

    #[test]
    fn steps_see_what_was_captured_and_are_left_out() {
        let mut first = exec(&["one"]);
        first.exec.as_mut().unwrap().capture = Some("a".into());
        let mut never = exec(&["never"]);
        never.when = Some("{{ .Nothing }}".into());
        let last = exec(&["got", "{{ .Captured.a }}"]);
        let node = Echo::default();
        assert_eq!(through(&mut walk(vec![first, never, last]), &node), Turn::Done);
        assert_eq!(*node.asked.lock().unwrap(), [vec!["one"], vec!["got", "one"]]);
    }

    #[test]
    fn failures_are_tried_again_passed_over_or_the_end() {
        let mut step = exec(&["x"]);
        step.retry = Some(Retry { every: "1ms".into(), r#for: "10s".into() });
        let node = Echo { fails: 3, ..Echo::default() };
        assert_eq!(through(&mut walk(vec![step.clone()]), &node), Turn::Done);
        assert_eq!(node.asked.lock().unwrap().len(), 4);

        step.retry = None;
        step.ignore_errors = true;
        let mut over = walk(vec![step.clone()]);
        assert_eq!(through(&mut over, &Echo { fails: 9, ..Echo::default() }), Turn::Done);
        assert_eq!(over.passed_over().len(), 1);

        step.ignore_errors = false;
        step.name = Some("the name".into());
        let end = through(&mut walk(vec![step]), &Echo { fails: 9, ..Echo::default() });
        let Turn::Failed { step, why } = end else { panic!("{end:?}") };
        assert_eq!(step, "the name");
        assert!(why.contains("code 1"), "{why}");
    }

    #[test]
    fn times() {
        assert_eq!(time("90"), Some(Duration::from_secs(90)));
        assert_eq!(time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!((time("soon"), time("")), (None, None));
    }
}
