//! Messages as records, `LEVEL message key=value`: what scripts around containerlab look for in its
//! messages. Used when this program is started under that name (`docs/cli.md`).

use crate::say::say_text;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

static STANDS_IN: OnceLock<bool> = OnceLock::new();

/// Whether this program was started under the name of the one it stands in for.
pub fn stands_in() -> bool {
    *STANDS_IN.get_or_init(|| {
        let name = std::env::args_os().next().unwrap_or_default();
        let name = std::path::Path::new(&name).file_name().map(|n| n.to_owned());
        name.is_some_and(|n| n == "containerlab" || n == "clab")
    })
}

/// Severity of a record.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    /// What is done.
    Info,
    /// What may surprise.
    Warn,
    /// What failed.
    Error,
}

/// Writes a record to standard error.
pub fn record(level: Level, message: &str, fields: &[(&str, &str)]) {
    say_text(&text(level, message, fields));
}

/// Something to tell: a record, or a line of its own under this program's own name.
pub fn message(level: Level, message: &str, fields: &[(&str, &str)]) {
    if stands_in() {
        return record(level, message, fields);
    }
    let word = match level {
        Level::Info => "",
        Level::Warn => "warning: ",
        Level::Error => "error: ",
    };
    let fields: String = fields.iter().map(|(k, v)| format!(" {k}={}", quoted(v))).collect();
    say_text(&format!("{word}{message}{fields}\n"));
}

/// [`message`] of what is done.
pub fn info(text: &str, fields: &[(&str, &str)]) {
    message(Level::Info, text, fields);
}

/// What came of a command in a node. Their text ends with an empty line where output is shown.
pub fn executed(node: &str, command: &str, code: i32, stdout: &str, stderr: &str) {
    let mut fields = vec![("node", node), ("command", command)];
    let rc = code.to_string();
    if code != 0 {
        fields.push(("rc", &rc));
    }
    fields.push(("stdout", stdout));
    if !stderr.is_empty() || code != 0 {
        fields.push(("stderr", stderr));
    }
    match code {
        0 => record(Level::Info, "Executed command", &fields),
        _ => record(Level::Error, "Failed to execute command", &fields),
    }
}

/// Keeps a copy of a topology file where tools look for those that were deployed. The folder is in
/// a place where everybody may write: one that is not ours is left alone.
pub fn back_up(topology: &Path) -> std::io::Result<()> {
    let text = std::fs::read(topology)?;
    let mut folder = std::env::temp_dir();
    for part in [".clab", "bak"] {
        folder.push(part);
        match std::fs::DirBuilder::new().mode(0o755).create(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let found = std::fs::symlink_metadata(&folder)?;
        if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
            let what = format!("{} is somebody else's", folder.display());
            return Err(std::io::Error::other(what));
        }
    }
    let name = topology.file_name().unwrap_or_default().to_string_lossy();
    let path = folder.join(format!("{}_{name}", stamp()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&text)
}

/// Now, as `YYMMDD_HHMMSS` of the world's time.
pub fn stamp() -> String {
    chrono::Utc::now().format("%y%m%d_%H%M%S").to_string()
}

fn text(level: Level, message: &str, fields: &[(&str, &str)]) -> String {
    let mut out = match level {
        Level::Info => format!("INFO {message}"),
        Level::Warn => format!("WARN {message}"),
        Level::Error => format!("ERRO {message}"),
    };
    for (key, value) in fields {
        if value.contains('\n') {
            let _ = write!(out, "\n  {key}=");
            for line in value.lines() {
                let _ = write!(out, "\n  │ {line}");
            }
            out.push('\n');
        } else {
            let _ = write!(out, " {key}={}", quoted(value));
        }
    }
    out.push('\n');
    out
}

/// A value as one word.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty()
        && value.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=');
    if plain { value.into() } else { format!("{value:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_words_or_blocks() {
        let fields = [("node", "l1"), ("command", "uname -n"), ("stdout", "l1\n")];
        assert_eq!(
            text(Level::Info, "Executed command", &fields),
            "INFO Executed command node=l1 command=\"uname -n\"\n  stdout=\n  │ l1\n\n"
        );
        assert_eq!(text(Level::Warn, "w", &[("a", "")]), "WARN w a=\"\"\n");
        assert_eq!(quoted("say \"x\""), r#""say \"x\"""#);
    }
}
