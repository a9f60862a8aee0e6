//! NETCONF calls over SSH (RFC 6241, 6242), with the framing every version understands.

use crate::ssh::session;
use crate::walk::{Try, short};
use netloom_kinds::step::Netconf;
use russh::{Channel, ChannelMsg, client};

/// Ends a message.
const END: &str = "]]>]]>";
/// Longest answer.
const MOST: usize = 64 << 20;
const SPACE: &str = "urn:ietf:params:xml:ns:netconf:base:1.0";

/// Makes a call.
pub fn run(step: &Netconf, one: &Try<'_>) -> Result<(), String> {
    let rpc = one.fill(&step.rpc)?;
    let reply = session(one, step.port.unwrap_or(830), async |handle| {
        let wrong = |e: russh::Error| format!("open NETCONF: {e}");
        let mut channel = handle.channel_open_session().await.map_err(wrong)?;
        channel.request_subsystem(true, "netconf").await.map_err(wrong)?;
        let hello = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><hello xmlns=\"{SPACE}\"><capabilities>\
             <capability>urn:ietf:params:netconf:base:1.0</capability></capabilities></hello>{END}"
        );
        say(&channel, hello).await?;
        let theirs = message(&mut channel).await?;
        if !theirs.contains("hello") {
            return Err(format!("no NETCONF is spoken there: {}", short(&theirs)));
        }
        let call = |id: u32, rpc: &str| {
            let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
            format!("{head}<rpc message-id=\"{id}\" xmlns=\"{SPACE}\">{rpc}</rpc>{END}")
        };
        say(&channel, call(1, &rpc)).await?;
        let reply = message(&mut channel).await?;
        let _ = say(&channel, call(2, "<close-session/>")).await;
        let _ = channel.close().await;
        Ok(reply)
    })?;
    if let Some(why) = refused(&reply) {
        return Err(format!("the call was refused: {}", short(&why)));
    }
    if let Some(path) = &step.into {
        let path = one.fill(path)?;
        one.node.keep(&path, data(&reply).as_bytes()).map_err(|e| format!("write {path}: {e}"))?;
    }
    Ok(())
}

async fn say(channel: &Channel<client::Msg>, text: String) -> Result<(), String> {
    let sent = channel.data_bytes(text.into_bytes()).await;
    sent.map_err(|e| format!("speak NETCONF: {e}"))
}

async fn message(channel: &mut Channel<client::Msg>) -> Result<String, String> {
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(piece) = channel.wait().await {
        // The end may come in two pieces.
        let from = bytes.len().saturating_sub(END.len());
        match piece {
            ChannelMsg::Data { data } => bytes.extend_from_slice(&data),
            ChannelMsg::Failure => return Err("it offers no NETCONF".into()),
            _ => continue,
        }
        if let Some(at) = bytes[from..].windows(END.len()).position(|w| w == END.as_bytes()) {
            return Ok(String::from_utf8_lossy(&bytes[..from + at]).into_owned());
        }
        if bytes.len() > MOST {
            return Err("its answer does not end".into());
        }
    }
    Err(format!("it hung up: {}", short(&String::from_utf8_lossy(&bytes))))
}

/// Why a call was refused, in the node's words.
fn refused(reply: &str) -> Option<String> {
    let element = regex::Regex::new(r"<(?:\w+:)?rpc-error").ok()?;
    element.find(reply)?;
    let words = regex::Regex::new(r"(?s)<(?:\w+:)?error-message[^>]*>(.*?)</").ok()?;
    let said: Vec<&str> =
        words.captures_iter(reply).filter_map(|c| Some(c.get(1)?.as_str().trim())).collect();
    Some(if said.is_empty() { reply.to_owned() } else { said.join("; ") })
}

/// What is inside of `data`, or the whole answer.
fn data(reply: &str) -> &str {
    let inside = || {
        let open = reply.find("<data")?;
        let begin = open + reply[open..].find('>')? + 1;
        Some(&reply[begin..reply.rfind("</data>")?])
    };
    inside().unwrap_or(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(refused("<rpc-reply><ok/></rpc-reply>"), None);
        let error = "<rpc-reply><nc:rpc-error><nc:error-message xml:lang=\"en\">no such\nthing</nc:error-message></nc:rpc-error></rpc-reply>";
        assert_eq!(refused(error).as_deref(), Some("no such\nthing"));
        assert_eq!(data("<rpc-reply><data xmlns='x'><a/></data></rpc-reply>"), "<a/>");
        assert_eq!(data("<ok/>"), "<ok/>");
    }
}
