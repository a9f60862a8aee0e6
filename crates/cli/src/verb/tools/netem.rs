//! `netloom tools netem`.

use super::lab;
use crate::say::show;
use crate::standin::{Level, info, message, stands_in};
use crate::{Global, context, output};
use anyhow::{Result, bail};
use netloom_engine::{Impairment, Made};
use serde_json::{Value as Json, json};
use std::time::Duration;

/// What is done.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Impair what an interface sends; what is not named is as if it had never been set.
    Set(Set),
    /// Show the impairments of a container's interfaces.
    Show(Show),
    /// Take the impairment of an interface away.
    Reset(Reset),
}

/// Flags of `set`.
#[derive(clap::Args, Debug)]
pub struct Set {
    /// The container, by its name; or a node by its short name where the lab is named.
    #[arg(short, long, env = "CLAB_TOOLS_NETEM_SET_NODE")]
    node: String,
    /// The interface.
    #[arg(short, long, env = "CLAB_TOOLS_NETEM_SET_INTERFACE")]
    interface: String,
    /// Hold packets back (`100ms`).
    #[arg(long, default_value = "0s", value_parser = time, env = "CLAB_TOOLS_NETEM_SET_DELAY")]
    delay: Duration,
    /// Let the delay vary by so much.
    #[arg(long, default_value = "0s", value_parser = time, env = "CLAB_TOOLS_NETEM_SET_JITTER")]
    jitter: Duration,
    /// Lose so many packets, in percent.
    #[arg(long, default_value_t = 0.0, value_parser = percent, env = "CLAB_TOOLS_NETEM_SET_LOSS")]
    loss: f64,
    /// Send at most so many kbit/s.
    #[arg(long, default_value_t = 0, env = "CLAB_TOOLS_NETEM_SET_RATE")]
    rate: u64,
    /// Damage so many packets, in percent.
    #[arg(long, default_value_t = 0.0, value_parser = percent, env = "CLAB_TOOLS_NETEM_SET_CORRUPTION")]
    corruption: f64,
}

/// Flags of `show`.
#[derive(clap::Args, Debug)]
pub struct Show {
    /// The container.
    #[arg(short, long, env = "CLAB_TOOLS_NETEM_SHOW_NODE")]
    node: String,
    /// Form of the output.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"], env = "CLAB_TOOLS_NETEM_SHOW_FORMAT")]
    format: String,
}

/// Flags of `reset`.
#[derive(clap::Args, Debug)]
pub struct Reset {
    /// The container.
    #[arg(short, long, env = "CLAB_TOOLS_NETEM_RESET_NODE")]
    node: String,
    /// The interface.
    #[arg(short, long, env = "CLAB_TOOLS_NETEM_RESET_INTERFACE")]
    interface: String,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    match (0.0..=100.0).contains(&number) {
        true => Ok(number),
        false => Err("a share is between 0 and 100 percent".into()),
    }
}

/// A time that may be nothing, with fractions (`1.5ms`, `300us`).
fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time; write it like 100ms, 300us or 1.5s");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let at = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "s" => number,
        "ms" => number / 1e3,
        "us" | "µs" => number / 1e6,
        "ns" => number / 1e9,
        "m" => number * 60.0,
        _ => return Err(wrong()),
    };
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    // The kernel counts to about 274 s.
    if time > Duration::from_secs(274) { Err("at most 274s".into()) } else { Ok(time) }
}

/// Sets, shows or resets impairments.
pub fn run(global: &Global, verb: Verb) -> Result<u8> {
    let engine = context::engine()?;
    let lab = lab(global, &engine)?;
    match verb {
        Verb::Set(a) => {
            if a.jitter > Duration::ZERO && a.delay.is_zero() {
                bail!("a delay can only vary when there is one: --jitter needs --delay");
            }
            let wanted = Impairment {
                delay: a.delay,
                jitter: a.jitter,
                loss: a.loss,
                rate: a.rate,
                corruption: a.corruption,
            };
            let made = engine.impair(lab.as_ref(), &a.node, &a.interface, &wanted)?;
            if made == Made::Tbf {
                let what = "this kernel has no netem; the rate is limited by tbf";
                message(Level::Warn, what, &[]);
            }
            show!("{}", table(&[(a.interface, Some(wanted))]));
        }
        Verb::Show(a) => {
            let list = engine.impairments(lab.as_ref(), &a.node)?;
            match a.format.as_str() {
                "json" => {
                    let impaired: Vec<Json> = list.iter().filter_map(as_json).collect();
                    // Under the other name, nothing is no list.
                    let impaired = (!impaired.is_empty() || !stands_in()).then_some(impaired);
                    output::json(&json!({ &a.node: impaired }))?;
                }
                _ => show!("{}", table(&list)),
            }
        }
        Verb::Reset(a) => {
            engine.unimpair(lab.as_ref(), &a.node, &a.interface)?;
            let text =
                format!("Reset impairments on node {:?}, interface {:?}", a.node, a.interface);
            info(&text, &[]);
        }
    }
    Ok(0)
}

type Row = (String, Option<Impairment>);

fn table(list: &[Row]) -> String {
    let headers = ["Interface", "Delay", "Jitter", "Packet Loss", "Rate (Kbit)", "Corruption"];
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|(name, found)| {
            let mut cells = vec![output::flat(name)];
            match found {
                Some(i) => cells.extend([
                    output::go_time(i.delay),
                    output::go_time(i.jitter),
                    format!("{:.2}%", i.loss),
                    i.rate.to_string(),
                    format!("{:.2}%", i.corruption),
                ]),
                None => cells.extend(["N/A"; 5].map(str::to_owned)),
            }
            cells
        })
        .collect();
    output::compact_table(&headers, &rows)
}

fn as_json((name, found): &Row) -> Option<Json> {
    let i = found.as_ref()?;
    Some(json!({
        "interface": name,
        "delay": output::go_time(i.delay),
        "jitter": output::go_time(i.jitter),
        "packet_loss": i.loss,
        "rate": i.rate,
        "corruption": i.corruption,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares() {
        assert_eq!(time("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(time("0"), Ok(Duration::ZERO));
        assert_eq!(time("300us"), Ok(Duration::from_micros(300)));
        for wrong in ["soon", "5", "-1ms", "1h", "300s", "ms"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        assert!(percent("101").is_err() && percent("-1").is_err() && percent("2.5").is_ok());
    }
}
