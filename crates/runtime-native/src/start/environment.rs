//! Environment, and where a program is found.

use super::plan::c_string;
use super::user::User;
use crate::child::Program;
use netloom_runtime::{ContainerSpec, RuntimeError, Stdio};
use std::ffi::CString;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The specification's environment, later entries winning, with what every program expects.
pub(crate) fn complete(spec: &ContainerSpec, user: &User) -> Vec<(String, String)> {
    let mut env = joined(&spec.env, &[]);
    let mut default = |key: &str, value: &str| {
        if !env.iter().any(|(k, _)| k == key) {
            env.push((key.to_owned(), value.to_owned()));
        }
    };
    default("PATH", PATH);
    default("HOSTNAME", &spec.hostname);
    default("HOME", &user.home);
    if spec.stdio == Stdio::Tty {
        default("TERM", "xterm");
    }
    env
}

/// Two environments as one, later entries winning.
pub(crate) fn joined(
    base: &[(String, String)],
    more: &[(String, String)],
) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::with_capacity(base.len() + more.len() + 4);
    for (key, value) in base.iter().chain(more) {
        match env.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1.clone_from(value),
            None => env.push((key.clone(), value.clone())),
        }
    }
    env
}

/// The program as the kernel takes it.
pub(crate) fn program(argv: &[String], env: &[(String, String)]) -> Result<Program, RuntimeError> {
    let Some(first) = argv.first().filter(|a| !a.is_empty()) else {
        return Err(RuntimeError::Unsupported {
            what: "a container without a command".into(),
            why: "neither image nor topology name one; set `cmd` or `entrypoint`".into(),
        });
    };
    let mut pairs = Vec::with_capacity(env.len());
    for (key, value) in env {
        pairs.push(c_string(&format!("{key}={value}"))?);
    }
    let argv_c = argv.iter().map(|a| c_string(a)).collect::<Result<_, _>>()?;
    Ok(Program { candidates: candidates(first, env)?, argv: argv_c, env: pairs })
}

/// Every path at which a program may be.
pub(crate) fn candidates(
    program: &str,
    env: &[(String, String)],
) -> Result<Vec<CString>, RuntimeError> {
    if program.contains('/') {
        return Ok(vec![c_string(program)?]);
    }
    let path = env.iter().find(|(k, _)| k == "PATH").map_or(PATH, |(_, v)| v.as_str());
    path.split(':')
        .map(|d| if d.is_empty() { "." } else { d })
        .map(|directory| c_string(&format!("{directory}/{program}")))
        .collect()
}

/// What to say when nothing could be executed.
pub(crate) fn explain(program: &Program, errno: Option<i32>) -> String {
    let name = program.argv.first().map(|a| a.to_string_lossy()).unwrap_or_default();
    if errno == Some(libc::ENOENT) && !name.contains('/') {
        return format!("execute {name}: not found in PATH");
    }
    format!("execute {name}")
}
