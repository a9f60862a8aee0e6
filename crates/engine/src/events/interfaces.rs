//! Interfaces of nodes: compared whenever the kernel says that something has changed.

use super::{Happening, Records, Run, Running, now};
use crate::Engine;
use netloom_datapath::carrier::Changes;
use netloom_datapath::impair::{self, Impairment};
use netloom_datapath::observe::Stats;
use netloom_datapath::{LinkInfo, Netns, link, observe};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::time::Duration;

/// A node that is watched.
struct Place {
    run: Run,
    netns: Netns,
    changes: Changes,
    seen: BTreeMap<u32, Seen>,
}

/// An interface as it was last seen.
#[derive(Clone, PartialEq)]
struct Seen {
    link: LinkInfo,
    impairment: Option<Impairment>,
}

/// All nodes that run.
#[derive(Default)]
pub struct Interfaces {
    places: HashMap<String, Place>,
    counted: HashMap<(String, u32), Stats>,
}

fn look(netns: &Netns) -> BTreeMap<u32, Seen> {
    let impaired: HashMap<u32, Impairment> =
        impair::list(netns).unwrap_or_default().into_iter().collect();
    let links = observe::links_in(netns).unwrap_or_default();
    links
        .into_iter()
        .map(|link| {
            let impairment = impaired.get(&link.index).copied();
            // Counters and addresses are other affairs.
            let link = LinkInfo { stats: Stats::default(), addresses: Vec::new(), ..link };
            (link.index, Seen { link, impairment })
        })
        .collect()
}

impl Interfaces {
    /// Tells what has changed since the last look; `word` is for interfaces of nodes that were not
    /// there then.
    pub fn look(
        &mut self,
        engine: &Engine,
        records: &Records,
        running: &Running,
        word: Option<&str>,
        out: &mut Vec<Happening>,
    ) {
        let same = |name: &String, place: &Place| {
            running.get(name).is_some_and(|r| r.id == place.run.id && r.pid == place.run.pid)
        };
        // What ends takes its interfaces along, unless its namespace stays.
        self.places.retain(|name, place| same(name, place));
        for (name, run) in running {
            if self.places.contains_key(name) {
                continue;
            }
            let record = records.all().find(|r| r.name == run.lab);
            let opened = record.and_then(|r| engine.netns(r, &run.node).ok());
            let Some(netns) = opened.filter(|n| Netns::current().is_ok_and(|host| !host.same(n)))
            else {
                continue;
            };
            let Ok(changes) = Changes::with_impairments(&netns) else { continue };
            let seen = look(&netns);
            let place = Place { run: run.clone(), netns, changes, seen };
            if let Some(word) = word {
                out.extend(place.seen.values().map(|s| told(word, name, &place.run, s)));
            }
            self.places.insert(name.clone(), place);
        }
        for (name, place) in &mut self.places {
            if !place.changes.take() {
                continue;
            }
            let seen = look(&place.netns);
            for (index, one) in &seen {
                match place.seen.get(index) {
                    None => out.push(told("create", name, &place.run, one)),
                    Some(before) if before != one => {
                        out.push(told("update", name, &place.run, one));
                    }
                    Some(_) => {}
                }
            }
            for (_, gone) in place.seen.iter().filter(|(index, _)| !seen.contains_key(index)) {
                out.push(told("delete", name, &place.run, gone));
            }
            place.seen = seen;
        }
    }

    /// Tells what interfaces have sent and received.
    pub fn count(&mut self, since: Duration, out: &mut Vec<Happening>) {
        for (name, place) in &self.places {
            for link in observe::links_in(&place.netns).unwrap_or_default() {
                let key = (name.clone(), link.index);
                let now = link.stats;
                let before = self.counted.insert(key, now);
                let Some(seen) = place.seen.get(&link.index) else { continue };
                let before = before.unwrap_or(now);
                let mut one = told("stats", name, &place.run, seen);
                let mut put =
                    |key: &str, value: String| drop(one.attributes.insert(key.into(), value));
                let rate = |now: u64, before: u64| {
                    (now.saturating_sub(before) as f64 / since.as_secs_f64().max(0.001)).to_string()
                };
                put("interval_seconds", since.as_secs_f64().to_string());
                put("rx_bytes", now.rx_bytes.to_string());
                put("tx_bytes", now.tx_bytes.to_string());
                put("rx_packets", now.rx_packets.to_string());
                put("tx_packets", now.tx_packets.to_string());
                put("rx_bps", rate(now.rx_bytes * 8, before.rx_bytes * 8));
                put("tx_bps", rate(now.tx_bytes * 8, before.tx_bytes * 8));
                put("rx_pps", rate(now.rx_packets, before.rx_packets));
                put("tx_pps", rate(now.tx_packets, before.tx_packets));
                out.push(one);
            }
        }
        let places = &self.places;
        self.counted.retain(|(name, _), _| places.contains_key(name));
    }

    /// Waits until something changes, but no longer than this.
    pub fn wait(&self, limit: Duration) {
        let mut fds: Vec<PollFd<'_>> = self
            .places
            .values()
            .map(|p| PollFd::new(p.changes.as_fd(), PollFlags::POLLIN))
            .collect();
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut fds, limit);
        // Several things often change at once.
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn told(action: &str, name: &str, run: &Run, seen: &Seen) -> Happening {
    let link = &seen.link;
    let mut attributes = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value);
        }
    };
    put("id", run.id.clone());
    put("name", name.into());
    put("lab", run.lab.clone());
    put("ifname", link.name.clone());
    put("alias", link.alias.clone().unwrap_or_default());
    put("index", link.index.to_string());
    put("mtu", link.mtu.to_string());
    put(
        "mac",
        link.mac.as_ref().map(link::mac_text).filter(|_| !link.kind.is_empty()).unwrap_or_default(),
    );
    let state = match (link.up, link.carrier) {
        _ if link.kind.is_empty() && link.name == "lo" => "unknown",
        (true, true) => "up",
        _ => "down",
    };
    put("state", state.into());
    put("type", if link.kind.is_empty() { "device".into() } else { link.kind.clone() });
    put("origin", if action == "snapshot" { "snapshot".into() } else { "netlink".into() });
    if let Some(i) = seen.impairment {
        put("netem_delay", format!("{}ms", i.delay.as_secs_f64() * 1000.0));
        put("netem_jitter", format!("{}ms", i.jitter.as_secs_f64() * 1000.0));
        put("netem_loss", format!("{:.2}%", i.loss));
        put("netem_rate", format!("{}kbit", i.rate));
        put("netem_corruption", format!("{:.2}%", i.corruption));
    }
    Happening {
        time: now(),
        what: "interface",
        action: action.into(),
        actor_id: run.id.chars().take(12).collect(),
        actor_name: name.into(),
        actor_full_id: run.id.clone(),
        attributes,
    }
}
