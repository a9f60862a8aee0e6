//! Impairments of what an interface sends: netem at its root. A kernel without netem can still limit
//! the rate (tbf).
//!
//! The numbers are those of the kernel's `linux/pkt_sched.h`.

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::observe;
use crate::raw::{Message, Raw};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use nix::errno::Errno;
use std::time::Duration;

const NEW_QDISC: u16 = 36;
const DELETE_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;

/// `struct tcmsg`: family, index, handle, parent, info.
const BYTES: usize = 20;
const INDEX: usize = 4;
const PARENT: usize = 12;
const ROOT: u32 = 0xffff_ffff;
const KIND: u16 = 1;
const OPTIONS: u16 = 2;

const NETEM_CORRUPT: u16 = 4;
const NETEM_RATE: u16 = 6;
const NETEM_RATE64: u16 = 8;
const NETEM_LATENCY64: u16 = 10;
const NETEM_JITTER64: u16 = 11;
/// `struct tc_netem_qopt`: latency, limit, loss, gap, duplicate, jitter.
const NETEM_BYTES: usize = 24;
/// Nanoseconds of a tick of the packet scheduler, as a power of two.
const TICK: u32 = 6;
/// Packets that wait at most, so that a long delay at a high rate loses none.
const LIMIT: u32 = 10_000;

const TBF_PARAMETERS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// `struct tc_tbf_qopt`: two `tc_ratespec` of 12 bytes, limit, buffer, mtu.
const TBF_BYTES: usize = 36;
/// Where in a `tc_ratespec` the rate stands.
const TBF_RATE: usize = 8;
const TBF_LIMIT: usize = 24;
/// The least burst: one that a veth sends at once.
const BURST: u64 = 65_536;

/// What is done to packets an interface sends.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    /// Held back for so long.
    pub delay: Duration,
    /// The delay varies by so much.
    pub jitter: Duration,
    /// Lost, in percent.
    pub loss: f64,
    /// At most so many kbit/s; 0 for no limit.
    pub rate: u64,
    /// One bit turned over, in percent.
    pub corruption: f64,
}

impl Impairment {
    /// Whether nothing is done.
    pub fn is_none(&self) -> bool {
        *self == Impairment::default()
    }

    /// Whether it is a limit of the rate and nothing else.
    fn is_rate(&self) -> bool {
        *self == Impairment { rate: self.rate, ..Impairment::default() }
    }
}

/// How an impairment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// By netem.
    Netem,
    /// By tbf, as the kernel has no netem.
    Tbf,
}

/// Sets the impairment of an interface, whatever it had. Nothing in it takes the old one away.
pub fn set(netns: &Netns, interface: &str, wanted: &Impairment) -> Result<Made> {
    let mut raw = Raw::open_in(netns)?;
    let index = index(netns, interface)?;
    if wanted.is_none() {
        reset_at(&mut raw, index, interface)?;
        return Ok(Made::Netem);
    }
    let netem = say(&mut raw, index, "netem", netem(wanted));
    let (made, refused) = match netem {
        Ok(()) => return Ok(Made::Netem),
        Err(Errno::ENOENT) if wanted.is_rate() => {
            (Made::Tbf, say(&mut raw, index, "tbf", tbf(wanted.rate)))
        }
        Err(e) => (Made::Netem, Err(e)),
    };
    refused.map(|()| made).map_err(|errno| {
        let mut error = Error::kernel("impair", interface, errno);
        if errno == Errno::ENOENT
            && let Error::Kernel { hint, .. } = &mut error
        {
            *hint = Some(
                "this kernel has no netem (module sch_netem); without it only a rate can be set"
                    .into(),
            );
        }
        error
    })
}

/// Takes the impairment of an interface away; false when it had none.
pub fn reset(netns: &Netns, interface: &str) -> Result<bool> {
    let index = index(netns, interface)?;
    reset_at(&mut Raw::open_in(netns)?, index, interface)
}

fn reset_at(raw: &mut Raw, index: u32, interface: &str) -> Result<bool> {
    if read(raw)?.iter().all(|(at, _)| *at != index) {
        return Ok(false);
    }
    let message = Message { fixed: fixed(index), attributes: Vec::new() };
    match raw.say(DELETE_QDISC, 0, &message) {
        Ok(()) => Ok(true),
        // It went meanwhile.
        Err(Errno::ENOENT | Errno::EINVAL) => Ok(false),
        Err(errno) => Err(Error::kernel("take the impairment from", interface, errno)),
    }
}

/// Impairments of a namespace, by index of the interface.
pub fn list(netns: &Netns) -> Result<Vec<(u32, Impairment)>> {
    read(&mut Raw::open_in(netns)?)
}

fn index(netns: &Netns, interface: &str) -> Result<u32> {
    let found = observe::links_in(netns)?.into_iter().find(|l| {
        l.name == interface
            || l.altnames.iter().any(|a| a == interface)
            || l.alias.as_deref() == Some(interface)
    });
    found.map(|l| l.index).ok_or_else(|| Error::NotFound {
        subject: format!("interface {interface} of {}", netns.label()),
    })
}

fn fixed(index: u32) -> Vec<u8> {
    let mut message = Message { fixed: vec![0; BYTES], attributes: Vec::new() };
    message.set_fixed(INDEX, index);
    message.set_fixed(PARENT, ROOT);
    message.fixed
}

fn say(raw: &mut Raw, index: u32, kind: &str, options: Vec<u8>) -> std::result::Result<(), Errno> {
    let kind = [kind.as_bytes(), &[0]].concat();
    let message =
        Message { fixed: fixed(index), attributes: vec![(KIND, kind), (OPTIONS, options)] };
    match raw.say(NEW_QDISC, NLM_F_CREATE | NLM_F_REPLACE, &message) {
        // The one that is there is of another kind, and is not changed into this one.
        Err(Errno::EINVAL | Errno::EEXIST | Errno::EOPNOTSUPP) => {
            let root = Message { fixed: fixed(index), attributes: Vec::new() };
            raw.say(DELETE_QDISC, 0, &root)?;
            raw.say(NEW_QDISC, NLM_F_CREATE | NLM_F_REPLACE, &message)
        }
        other => other,
    }
}

/// Nested attributes behind a fixed part.
fn options(fixed: Vec<u8>, attributes: Vec<(u16, Vec<u8>)>) -> Vec<u8> {
    Message { fixed, attributes }.bytes()
}

/// A share in percent as the kernel has it.
fn probability(percent: f64) -> u32 {
    (percent.clamp(0.0, 100.0) / 100.0 * f64::from(u32::MAX)).round() as u32
}

/// A share of the kernel in percent, to the hundredth.
fn percent(probability: u32) -> f64 {
    (f64::from(probability) / f64::from(u32::MAX) * 10_000.0).round() / 100.0
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn netem(wanted: &Impairment) -> Vec<u8> {
    let ticks = |time| u32::try_from(nanoseconds(time) >> TICK).unwrap_or(u32::MAX);
    let numbers =
        [ticks(wanted.delay), LIMIT, probability(wanted.loss), 0, 0, ticks(wanted.jitter)];
    let mut attributes = vec![
        (NETEM_LATENCY64, nanoseconds(wanted.delay).to_ne_bytes().to_vec()),
        (NETEM_JITTER64, nanoseconds(wanted.jitter).to_ne_bytes().to_vec()),
    ];
    if wanted.corruption > 0.0 {
        let numbers = [probability(wanted.corruption), 0];
        attributes.push((NETEM_CORRUPT, numbers.map(u32::to_ne_bytes).concat()));
    }
    if wanted.rate > 0 {
        let bytes = wanted.rate.saturating_mul(125);
        let small = u32::try_from(bytes).unwrap_or(u32::MAX);
        attributes.push((NETEM_RATE, [small, 0, 0, 0].map(u32::to_ne_bytes).concat()));
        attributes.push((NETEM_RATE64, bytes.to_ne_bytes().to_vec()));
    }
    options(numbers.map(u32::to_ne_bytes).concat(), attributes)
}

fn tbf(rate: u64) -> Vec<u8> {
    let bytes = rate.saturating_mul(125);
    let burst = BURST.max(bytes / 100);
    let cap = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let mut parameters = Message { fixed: vec![0; TBF_BYTES], attributes: Vec::new() };
    parameters.set_fixed(TBF_RATE, cap(bytes));
    // A quarter of a second's worth waits at most.
    parameters.set_fixed(TBF_LIMIT, cap((bytes / 4).saturating_add(burst)));
    options(
        Vec::new(),
        vec![
            (TBF_PARAMETERS, parameters.fixed),
            (TBF_BURST, cap(burst).to_ne_bytes().to_vec()),
            (TBF_RATE64, bytes.to_ne_bytes().to_vec()),
        ],
    )
}

fn read(raw: &mut Raw) -> Result<Vec<(u32, Impairment)>> {
    let list = raw.dump(GET_QDISC, &[0; BYTES], BYTES)?;
    let each = |m: &Message| {
        let options = m.get(OPTIONS)?;
        let root = m.fixed_number(PARENT) == ROOT;
        let found = match m.get(KIND)?.split(|b| *b == 0).next()? {
            b"netem" if root => read_netem(options)?,
            b"tbf" if root => read_tbf(options)?,
            _ => return None,
        };
        Some((m.fixed_number(INDEX), found))
    };
    Ok(list.iter().filter_map(each).collect())
}

fn long(message: &Message, kind: u16) -> Option<u64> {
    Some(u64::from_ne_bytes(message.get(kind)?.try_into().ok()?))
}

fn read_netem(bytes: &[u8]) -> Option<Impairment> {
    let message = Message::parse(bytes, NETEM_BYTES)?;
    let number = |at: usize| message.fixed_number(at * 4);
    let time = |kind: u16, at: usize| {
        let ticks = u64::from(number(at)) << TICK;
        Duration::from_nanos(long(&message, kind).unwrap_or(ticks))
    };
    let first = |kind: u16| {
        let bytes = message.get(kind)?.get(..4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let rate = long(&message, NETEM_RATE64).or_else(|| first(NETEM_RATE).map(u64::from));
    Some(Impairment {
        delay: time(NETEM_LATENCY64, 0),
        jitter: time(NETEM_JITTER64, 5),
        loss: percent(number(2)),
        rate: rate.unwrap_or(0) / 125,
        corruption: first(NETEM_CORRUPT).map_or(0.0, percent),
    })
}

fn read_tbf(bytes: &[u8]) -> Option<Impairment> {
    let message = Message::parse(bytes, 0)?;
    let parameters = Message::parse(message.get(TBF_PARAMETERS)?, TBF_BYTES)?;
    let rate = long(&message, TBF_RATE64).unwrap_or(parameters.fixed_number(TBF_RATE).into());
    Some(Impairment { rate: rate / 125, ..Impairment::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netem_is_read_as_it_was_written() {
        let all = Impairment {
            delay: Duration::from_millis(100),
            jitter: Duration::from_micros(2500),
            loss: 10.5,
            rate: 40_000_000,
            corruption: 2.0,
        };
        assert_eq!(read_netem(&netem(&all)), Some(all));
        let little = Impairment { delay: Duration::from_secs(7), ..Impairment::default() };
        assert_eq!(read_netem(&netem(&little)), Some(little));
        // What `tc` writes: ticks alone, and a rate without its long form.
        let mut old = [15_625u32, 1000, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        old.extend(options(
            Vec::new(),
            vec![(NETEM_RATE, [12_500u32, 0, 0, 0].map(u32::to_ne_bytes).concat())],
        ));
        let read = read_netem(&old).unwrap();
        assert_eq!((read.delay, read.rate), (Duration::from_millis(1), 100));
        assert_eq!(read_netem(&[0; 10]), None);
    }

    #[test]
    fn tbf_is_read_as_it_was_written() {
        for rate in [8, 1000, 100_000_000] {
            let wanted = Impairment { rate, ..Impairment::default() };
            assert_eq!(read_tbf(&tbf(rate)), Some(wanted));
        }
    }
}
