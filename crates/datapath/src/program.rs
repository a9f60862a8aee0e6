//! Programs of the host that own what has no kernel interface of its own to speak to: `nft` and
//! `ovs-vsctl`.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};
use crate::netns::Netns;

/// A program and where it comes from.
pub(crate) struct Program {
    /// Its name.
    pub name: &'static str,
    /// The package that brings it.
    pub package: &'static str,
}

impl Program {
    /// Where it is: administrators' programs are not in everybody's search path.
    pub fn find(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let mut folders = std::env::split_paths(&path).chain(usual);
        folders.find_map(|folder| Some(folder.join(self.name)).filter(|file| file.is_file()))
    }

    /// Runs it inside the namespace, which must go well; gives what it printed.
    pub fn run(
        &self,
        host: &Netns,
        action: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<String> {
        let output = self.spawn(host, action, arguments, input)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(self.failed(action, &output)),
        }
    }

    /// Runs it inside the namespace: a child starts in that of the thread that makes it.
    pub fn spawn(
        &self,
        host: &Netns,
        action: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<Output> {
        let program = self.find().unwrap_or_else(|| self.name.into());
        host.run_in(|| {
            let mut child = Command::new(program)
                .args(arguments)
                .env("LC_ALL", "C")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that ends early says why on its standard error.
                let _ = stdin.write_all(input.as_bytes());
            }
            child.wait_with_output()
        })?
        .map_err(|error| Error::Program {
            program: self.name.into(),
            action: action.into(),
            status: "could not be run".into(),
            stderr: format!("{error}; is the package `{}` installed?", self.package),
        })
    }

    /// The error of a run that went wrong.
    pub fn failed(&self, action: &str, output: &Output) -> Error {
        Error::Program {
            program: self.name.into(),
            action: action.into(),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }
    }
}
