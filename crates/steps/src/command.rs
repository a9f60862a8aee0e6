//! Commands in the node.

use crate::walk::{Failed, Try, short};
use netloom_kinds::step::Exec;
use netloom_runtime::ExecSpec;

/// Exit code that says that there is no such program: none will come.
const ABSENT: i32 = 127;

/// Runs a command; gives what it captured.
pub fn run(step: &Exec, one: &Try<'_>) -> Result<Option<(String, String)>, Failed> {
    let argv: Vec<String> = step.argv.iter().map(|a| one.fill(a)).collect::<Result<_, _>>()?;
    let stdin = step.stdin.as_deref().map(|s| one.fill(s)).transpose()?;
    let spec = ExecSpec {
        argv: argv.clone(),
        user: step.user.clone(),
        stdin: stdin.map(String::into_bytes),
        timeout: Some(one.limit),
        ..ExecSpec::default()
    };
    let out = one.node.exec(&spec).map_err(|e| e.to_string())?;
    let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
    let program = argv.first().map_or("", String::as_str);
    if out.code == ABSENT {
        return Err(Failed::ForGood(format!("there is no program `{program}` in it")));
    }
    if out.code != 0 {
        let said = format!("{stdout}\n{}", String::from_utf8_lossy(&out.stderr));
        let why = format!("`{program}` ended with code {}: {}", out.code, short(&said));
        return Err(why.into());
    }
    one.expect(step.expect.as_deref(), &stdout)?;
    if let Some(path) = &step.into {
        let path = one.fill(path)?;
        one.node.keep(&path, stdout.as_bytes()).map_err(|e| format!("write {path}: {e}"))?;
    }
    Ok(step.capture.clone().map(|name| (name, stdout.trim().to_owned())))
}
