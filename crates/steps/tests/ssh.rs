//! Steps over SSH and NETCONF against a real OpenSSH server on loopback, with accounts of its own.

use netloom_kinds::Sequence;
use netloom_runtime::{ExecOutput, ExecSpec, RuntimeError};
use netloom_steps::{Captured, Node, Turn, Walk};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const PASSWORD: &str = "NokiaSrl1!";

/// What a router's command line is like: a prompt, an echo, answers, modes.
const ROUTER: &str = r#"#!/bin/bash
[ "$1" != -c ] || exec sh -c "$2"
stty echo 2>/dev/null
prompt='r1# '
while printf '%s' "$prompt" && IFS= read -r line; do
	line=${line%$'\r'}
	echo "$line" >>LOG
	case $line in
	'configure terminal') prompt='r1(config)# ' ;;
	end) prompt='r1# ' ;;
	'show running-config') sleep 0.7; printf 'hostname r1\r\ninterface eth1\r\n' ;;
	bad) echo '% Invalid input' ;;
	esac
done
"#;

/// A NETCONF server of one call: says hello, then answers by what it is asked for.
const NETCONF: &str = r#"#!/usr/bin/env python3
import sys
END = "]]>]]>"
def message():
    text = ""
    while not text.endswith(END):
        piece = sys.stdin.read(1)
        if not piece:
            sys.exit(0)
        text += piece
    return text[:-len(END)]
def say(text):
    sys.stdout.write(text + END)
    sys.stdout.flush()
say('<hello xmlns="urn:ietf:params:xml:ns:netconf:base:1.0"><capabilities>'
    '<capability>urn:ietf:params:netconf:base:1.1</capability></capabilities></hello>')
assert "hello" in message()
while True:
    call = message()
    open("LOG", "a").write(call + "\n")
    if "refuse" in call:
        say('<rpc-reply><rpc-error><error-message>not today</error-message></rpc-error></rpc-reply>')
    elif "get-config" in call:
        say('<rpc-reply><data><system/></data></rpc-reply>')
    else:
        say('<rpc-reply><ok/></rpc-reply>')
"#;

struct Server {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    kept: Mutex<BTreeMap<String, String>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Server {
    /// In a mount namespace of the calling thread, where the machine's accounts are others.
    fn start(more: &str) -> Server {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace: run this as root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| folder.path().join(name);
        let log = at("log");
        fs::write(&log, "").unwrap();
        fs::set_permissions(&log, fs::Permissions::from_mode(0o666)).unwrap();
        let with_log = |text: &str| text.replace("LOG", &log.display().to_string());
        executable(&at("router"), &with_log(ROUTER));
        executable(&at("netconf"), &with_log(NETCONF));
        let hash = Command::new("openssl").args(["passwd", "-6", PASSWORD]).output().unwrap();
        let hash = String::from_utf8(hash.stdout).unwrap();
        let passwd = fs::read_to_string("/etc/passwd").unwrap()
            + &format!("admin:x:4242:65534::/:{}\n", at("router").display());
        let shadow = fs::read_to_string("/etc/shadow").unwrap()
            + &format!("admin:{}:19000:0:99999:7:::\n", hash.trim());
        for (name, text) in [("passwd", passwd), ("shadow", shadow)] {
            fs::write(at(name), text).unwrap();
            let to = format!("/etc/{name}");
            mount(Some(&at(name)), to.as_str(), none, MsFlags::MS_BIND, none).unwrap();
        }
        fs::set_permissions(at("passwd"), fs::Permissions::from_mode(0o644)).unwrap();
        // The router is a shell like any other.
        let shells = format!("/bin/sh\n{}\n", at("router").display());
        fs::write(at("shells"), shells).unwrap();
        fs::create_dir_all("/run/sshd").unwrap();
        let key = at("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
            .arg(&key)
            .status();
        assert!(made.unwrap().success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication yes\nSubsystem netconf {}\n{more}\n",
            key.display(),
            at("netconf").display()
        );
        fs::write(at("sshd_config"), config).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("sshd_config"))
            .stderr(fs::File::create(at("sshd.log")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .expect("sshd: install the package openssh-server");
        let server = Server { child, folder, port, kept: Mutex::default() };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "sshd does not listen: {}", server.log("sshd.log"));
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    fn walk(&self, steps: &str) -> Turn {
        let text = format!("{{\"timeout\": \"60s\", \"steps\": [{steps}]}}");
        let sequence: Sequence = serde_json::from_str(&text).unwrap();
        let mut walk = Walk::new(&sequence);
        loop {
            match walk.turn(self) {
                Turn::Again(wait) => std::thread::sleep(wait),
                end => return end,
            }
        }
    }
}

impl Node for Server {
    fn exec(&self, _: &ExecSpec) -> Result<ExecOutput, RuntimeError> {
        Err(RuntimeError::Remote("there is none".into()))
    }
    fn connect(&self, _: u16, within: Duration) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], self.port)), within)
    }
    fn fill(&self, text: &str, _: &Captured) -> Result<String, String> {
        Ok(text.replace("{{ .Lines }}", "interface eth1\n\nno shutdown").replace("{{ .No }}", ""))
    }
    fn pid(&self) -> Option<u32> {
        Some(std::process::id())
    }
    fn keep(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(content).into_owned();
        self.kept.lock().unwrap().insert(path.into(), text);
        Ok(())
    }
    fn credentials(&self) -> (&str, &str) {
        ("admin", PASSWORD)
    }
}

#[test]
fn lines_are_typed_and_answers_kept() {
    let server = Server::start("");
    let end = server.walk(
        r#"{"ssh": {"lines": ["configure terminal", "{{ .Lines }}", "{{ .No }}", "end"]}},
           {"ssh": {"lines": ["terminal length 0", "show running-config"], "into": "config/x.cfg"}},
           {"ssh": {"lines": ["end"], "expect": "r1#"}}"#,
    );
    assert_eq!(end, Turn::Done, "{}", server.log("sshd.log"));
    let typed = server.log("log");
    assert!(
        typed.starts_with(
            "configure terminal\ninterface eth1\nno shutdown\nend\nterminal length 0\n"
        ),
        "{typed}"
    );
    let kept = server.kept.lock().unwrap()["config/x.cfg"].clone();
    assert_eq!(kept, "hostname r1\ninterface eth1\n");
    let wrong = server.walk(r#"{"name": "n", "ssh": {"lines": ["bad"], "expect": "^accepted"}}"#);
    let Turn::Failed { step, why } = wrong else { panic!("{wrong:?}") };
    assert_eq!(step, "n");
    assert!(why.contains("Invalid input"), "{why}");
}

#[test]
fn netconf_calls() {
    let server = Server::start("");
    let end = server.walk(
        r#"{"netconf": {"rpc": "<copy-config/>"}},
           {"netconf": {"rpc": "<get-config/>", "into": "all.xml"}}"#,
    );
    assert_eq!(end, Turn::Done, "{}", server.log("sshd.log"));
    assert_eq!(server.kept.lock().unwrap()["all.xml"], "<system/>");
    let refused = server.walk(r#"{"netconf": {"rpc": "<refuse/>"}}"#);
    assert!(
        matches!(&refused, Turn::Failed { why, .. } if why.contains("not today")),
        "{refused:?}"
    );
    assert!(server.log("log").contains("message-id=\"1\""));
}

/// What old systems offer, and one who asks for the password himself.
#[test]
fn old_ways() {
    let server = Server::start(
        "KexAlgorithms diffie-hellman-group14-sha1\nHostKeyAlgorithms ssh-rsa\nCiphers aes128-cbc\nMACs hmac-sha1",
    );
    let end = server.walk(r#"{"ssh": {"lines": ["end"], "expect": "r1#"}}"#);
    assert_eq!(end, Turn::Done, "{}", server.log("sshd.log"));
    let nobody = Server::start("DenyUsers admin");
    let refused = nobody.walk(r#"{"ssh": {"lines": ["end"]}}"#);
    assert!(
        matches!(&refused, Turn::Failed { why, .. } if why.contains("does not let admin in")),
        "{refused:?}"
    );
}

#[test]
fn files_and_ports_are_waited_for() {
    let server = Server::start("");
    let folder = server.folder.path();
    let (from, to) = (folder.join("from"), folder.join("to"));
    fs::write(&from, "text").unwrap();
    let steps = format!(
        r#"{{"copy": {{"from": "{}", "to": "{}"}}}}, {{"wait": {{"file": "{}"}}}}, {{"wait": {{"port": 22}}}}"#,
        from.display(),
        to.display(),
        to.display()
    );
    assert_eq!(server.walk(&steps), Turn::Done);
    assert_eq!(fs::read_to_string(&to).unwrap(), "text");
    let never = server
        .walk(r#"{"wait": {"file": "/nonexistent/x"}, "retry": {"every": "10ms", "for": "50ms"}}"#);
    assert!(
        matches!(&never, Turn::Failed { why, .. } if why.contains("no /nonexistent/x")),
        "{never:?}"
    );
}
