//! Events as a progress display on a terminal, as lines otherwise; always on standard error.

use crate::say::say;
use crate::standin::{self, Level, stands_in};
use indicatif::{ProgressBar, ProgressStyle};
use netloom_diag::{Sources, render};
use netloom_engine::{Event, Reporter};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Shows events to a person.
pub struct Progress {
    fancy: bool,
    color: bool,
    sources: Sources,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    bar: Option<ProgressBar>,
    phase: Option<(&'static str, usize, Instant)>,
}

impl Progress {
    /// A display; `plain` forces lines.
    pub fn new(plain: bool) -> Self {
        let fancy = !plain && !stands_in() && std::io::stderr().is_terminal();
        Progress { fancy, color: fancy, sources: Sources::default(), now: Mutex::default() }
    }

    /// Files that findings point to.
    pub fn with_sources(self, sources: Sources) -> Self {
        Progress { sources, ..self }
    }

    fn line(&self, text: &str) {
        let now = self.now.lock().unwrap_or_else(|e| e.into_inner());
        match &now.bar {
            Some(bar) => bar.println(text),
            None => say!("{text}"),
        }
    }

    fn begin(&self, word: &'static str, count: usize) {
        let mut now = self.now.lock().unwrap_or_else(|e| e.into_inner());
        now.phase = Some((word, count, Instant::now()));
        if self.fancy {
            let style = ProgressStyle::with_template("{spinner} {msg} {wide_bar} {pos}/{len}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::new(count as u64).with_style(style).with_message(word);
            bar.enable_steady_tick(Duration::from_millis(100));
            now.bar = Some(bar);
        }
    }

    fn end(&self) {
        let mut now = self.now.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(bar) = now.bar.take() {
            bar.finish_and_clear();
        }
        if let Some((word, count, since)) = now.phase.take()
            && count > 0
        {
            let time = format!("{:.2}", since.elapsed().as_secs_f64());
            if stands_in() {
                let count = count.to_string();
                standin::record(Level::Info, word, &[("count", &count), ("seconds", &time)]);
            } else {
                say!("  {word}: {count} in {time} s");
            }
        }
    }

    fn executed(&self, node: &str, command: &str, code: i32, stdout: &str, stderr: &str) {
        if stands_in() {
            let words = shlex::split(command).map(|w| w.join(" "));
            let command = words.as_deref().unwrap_or(command);
            return standin::executed(node, command, code, stdout, stderr);
        }
        let said = [stdout, stderr].map(str::trim_end).into_iter().filter(|t| !t.is_empty());
        let said: Vec<String> = said.flat_map(str::lines).map(|l| format!("    {l}")).collect();
        let verdict = if code == 0 { String::new() } else { format!(" (exit code {code})") };
        if code != 0 || !said.is_empty() {
            self.line(&format!("  {node}: {command}{verdict}"));
            for line in said {
                self.line(&line);
            }
        }
    }
}

impl Reporter for Progress {
    fn event(&self, event: Event) {
        match event {
            Event::Phase(word, count) => self.begin(word, count),
            Event::Step => {
                let now = self.now.lock().unwrap_or_else(|e| e.into_inner());
                if let Some(bar) = &now.bar {
                    bar.inc(1);
                }
            }
            Event::Done => self.end(),
            Event::Executed { node, command, code, stdout, stderr } => {
                self.executed(&node, &command, code, &stdout, &stderr);
            }
            Event::Note(text) if stands_in() => standin::record(Level::Info, &text, &[]),
            Event::Note(text) => self.line(&format!("  {text}")),
            Event::Warning(what) if stands_in() => standin::record(Level::Warn, &what, &[]),
            Event::Warning(what) => self.line(&format!("warning: {what}")),
            Event::Found(found) => self.line(render(&self.sources, &found, self.color).trim_end()),
        }
    }
}
