//! Lines typed into the node's command line, over SSH.

use crate::ssh::session;
use crate::walk::{Try, short};
use netloom_kinds::step::Ssh;
use russh::{Channel, ChannelMsg, client};
use std::time::Duration;

/// How long nothing may come until a line that ends like a prompt is one.
const QUIET: Duration = Duration::from_millis(300);
/// How long nothing may come until whatever was said is over.
const SILENCE: Duration = Duration::from_secs(5);
/// As wide as lines of a configuration are, so that nothing is broken in two.
const COLUMNS: u32 = 511;

/// Types the lines one by one, each after the answer to the one before.
pub fn run(step: &Ssh, one: &Try<'_>) -> Result<(), String> {
    let mut lines = Vec::new();
    for line in &step.lines {
        let text = one.fill(line)?;
        lines.extend(text.lines().filter(|l| !l.trim().is_empty()).map(str::to_owned));
    }
    let (whole, last) = session(one, step.port.unwrap_or(22), async |handle| {
        let wrong = |e: russh::Error| format!("open a shell: {e}");
        let mut channel = handle.channel_open_session().await.map_err(wrong)?;
        channel.request_pty(false, "vt100", COLUMNS, 1000, 0, 0, &[]).await.map_err(wrong)?;
        channel.request_shell(true).await.map_err(wrong)?;
        let mut whole = hear(&mut channel).await;
        let mut last = String::new();
        for line in &lines {
            let typed = format!("{line}\n");
            let sent = channel.data_bytes(typed.into_bytes()).await;
            sent.map_err(|e| format!("type `{line}`: {e}"))?;
            last = hear(&mut channel).await;
            whole.push_str(&last);
        }
        let _ = channel.close().await;
        Ok((whole, last))
    })?;
    one.expect(step.expect.as_deref(), &whole)?;
    if let Some(path) = &step.into {
        let path = one.fill(path)?;
        let answer = answer(&last);
        if answer.trim().is_empty() {
            return Err(format!("nothing came of the last line: {}", short(&whole)));
        }
        one.node.keep(&path, answer.as_bytes()).map_err(|e| format!("write {path}: {e}"))?;
    }
    Ok(())
}

/// What comes until there is a prompt again, or nothing any more.
async fn hear(channel: &mut Channel<client::Msg>) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        let patience = if prompt(&text) { QUIET } else { SILENCE };
        match tokio::time::timeout(patience, channel.wait()).await {
            Ok(Some(ChannelMsg::Data { data })) => bytes.extend_from_slice(&data),
            Ok(Some(ChannelMsg::ExtendedData { data, .. })) => bytes.extend_from_slice(&data),
            Ok(Some(ChannelMsg::Eof | ChannelMsg::Close) | None) | Err(_) => break,
            Ok(Some(_)) => {}
        }
    }
    plain(&String::from_utf8_lossy(&bytes))
}

/// Whether a text ends as command lines end that wait for the next command.
fn prompt(text: &str) -> bool {
    let last = text.rsplit('\n').next().unwrap_or_default();
    let last = plain(last);
    let last = last.trim_end();
    last.ends_with(['#', '>', '$', '%']) && last.len() > 1 || last == "#" || last == "$"
}

/// The text without what moves a cursor or colours it.
fn plain(text: &str) -> String {
    let escapes = r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|[\x07\r]";
    match regex::Regex::new(escapes) {
        Ok(escapes) => escapes.replace_all(text, "").into_owned(),
        Err(_) => text.to_owned(),
    }
}

/// An answer without the line that was typed and the prompt after it.
fn answer(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().skip(1).collect();
    if lines.last().is_some_and(|l| prompt(l)) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_and_answers() {
        for yes in ["r1#", "x\nr1(config)# ", "\u{1b}[32madmin@r1>\u{1b}[0m ", "$ ", "A:admin@r1# "]
        {
            assert!(prompt(yes), "{yes:?}");
        }
        for no in ["", "Building configuration...\n", "Password:", "50%\n", ">"] {
            assert!(!prompt(no), "{no:?}");
        }
        assert_eq!(answer("show run\nhostname r1\nend\nr1# "), "hostname r1\nend\n");
        assert_eq!(plain("\u{1b}[1mx\r\n"), "x\n");
    }
}
