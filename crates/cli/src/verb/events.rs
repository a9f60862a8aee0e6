//! `netloom events`.

use crate::output::flat;
use crate::{Global, context, interrupt};
use anyhow::Result;
use chrono::{DateTime, SecondsFormat, Utc};
use netloom_engine::{Happening, Watch};
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

/// Flags of `events`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Form of the output.
    #[arg(short, long, default_value = "plain", value_parser = ["plain", "json"], env = "CLAB_EVENTS_FORMAT")]
    format: String,
    /// Begin with what is there.
    #[arg(short, long, env = "CLAB_EVENTS_INITIAL_STATE")]
    initial_state: bool,
    /// Also tell what interfaces have sent and received.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", require_equals = true, env = "CLAB_EVENTS_INTERFACE_STATS")]
    interface_stats: bool,
    /// How often.
    #[arg(long, default_value = "1s", value_parser = context::duration, env = "CLAB_EVENTS_INTERFACE_STATS_INTERVAL")]
    interface_stats_interval: Duration,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    #[serde(flatten)]
    happening: &'a Happening,
}

/// Tells what happens in all labs.
pub fn run(_: &Global, a: &Arguments) -> Result<u8> {
    let engine = context::engine()?;
    interrupt::listen_quietly()?;
    let json = a.format == "json";
    let watch = Watch {
        initial: a.initial_state,
        stats: a.interface_stats.then_some(a.interface_stats_interval),
    };
    let mut out = std::io::stdout().lock();
    engine.watch(watch, interrupt::wanted, |happening| {
        let time = DateTime::<Utc>::from_timestamp_nanos(happening.time);
        let timestamp = time.to_rfc3339_opts(SecondsFormat::Nanos, true);
        let line = match json {
            true => serde_json::to_string(&Line { timestamp, happening: &happening })
                .unwrap_or_default(),
            false => plain(&timestamp, &happening),
        };
        // Whoever reads may go away.
        writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
    })?;
    Ok(0)
}

fn plain(time: &str, h: &Happening) -> String {
    // One line each, whatever labels and commands hold.
    let attributes: Vec<String> =
        h.attributes.iter().map(|(k, v)| format!("{}={}", flat(k), flat(v))).collect();
    let tail =
        if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    format!("{time} {} {} {}{tail}", h.what, flat(&h.action), h.actor_id)
}
