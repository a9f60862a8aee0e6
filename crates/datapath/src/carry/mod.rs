//! Interfaces carried from one namespace to another with what they had: addresses, routes, bridges
//! they are ports of, queueing disciplines. The other ends of their links see no more than carrier
//! that goes and comes.

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::raw::{Message, Raw, number};
use crate::socket::{Request, Socket};
use crate::{link, observe, sysctl};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use nix::errno::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd};

const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_QDISC: u16 = 36;
const GET_QDISC: u16 = 38;

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS_BYTES: usize = 8;
const ADDRESS_SCOPE: usize = 3;
const ADDRESS_INDEX: usize = 4;
const ADDRESS_FLAGS: u16 = 8;
const ADDRESS_LIFETIME: u16 = 6;
const INET6: u8 = 10;
const LINK_LOCAL: u8 = 253;
const PERMANENT: u32 = 0x80;
const NO_DAD: u32 = 0x02;

/// `struct rtmsg`: family, prefix lengths, tos, table, protocol, scope, type, flags.
const ROUTE_BYTES: usize = 12;
const ROUTE_PROTOCOL: usize = 5;
const ROUTE_TYPE: usize = 7;
const ROUTE_FLAGS: usize = 8;
const ROUTE_OUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_HOPS: u16 = 9;
const ROUTE_CACHE: u16 = 12;
const ROUTE_NEXTHOP: u16 = 30;
/// By hand (`ip route`), and by an administrator's file; daemons bring their own back.
const ROUTE_KEPT: [u8; 2] = [3, 4];
const ROUTE_UNICAST: u8 = 1;
const ON_LINK: u32 = 4;

/// `struct tcmsg`: family, index, handle, parent, info.
const QDISC_BYTES: usize = 20;
const QDISC_INDEX: usize = 4;
const QDISC_HANDLE: usize = 8;
const QDISC_KIND: u16 = 1;
const QDISC_OPTIONS: u16 = 2;

/// What of an interface is lost on the way, and said again afterwards.
struct Saved {
    name: String,
    index: u32,
    up: bool,
    master: Option<String>,
    addresses: Vec<Message>,
    qdiscs: Vec<Message>,
    /// What is there and cannot be carried.
    lost: Vec<String>,
}

/// Interfaces that were carried, and what could not be put back.
#[derive(Debug, Default)]
pub struct Carried {
    /// Names of those that are in the new place now.
    pub names: Vec<String>,
    /// Names of those that are in the old place still.
    pub left: Vec<String>,
    /// Why these could not be moved, and what could not be put back of the others.
    pub failures: Vec<Error>,
    /// What was left behind of them that a link works without.
    pub lost: Vec<String>,
}

/// Carries interfaces that are in `from` into `to`; those that are not there are left out. One that
/// cannot be moved stays, and is among the failures. Routes whose way is not carried are left out.
pub fn carry(from: &Netns, to: &Netns, names: &[&str]) -> Result<Carried> {
    let mut old = Socket::open_in(from)?;
    let mut new = Socket::open_in(to)?;
    let (mut old_raw, mut new_raw) = (Raw::open_in(from)?, Raw::open_in(to)?);
    let saved = save(&mut old, &mut old_raw, names)?;
    let routes = routes(&mut old_raw, &saved)?;
    let mut out = Carried::default();
    let mut places = HashMap::new();
    for each in &saved {
        match shift(&mut old, each, to).and_then(|()| link::index(&mut new, &each.name)) {
            Ok(index) => drop(places.insert(each.index, index)),
            // It went meanwhile, and its link with it.
            Err(e) if e.errno() == Some(Errno::ENODEV) => {}
            Err(e) => {
                out.left.push(each.name.clone());
                out.failures.push(e);
            }
        }
    }
    for each in &saved {
        let Some(&index) = places.get(&each.index) else { continue };
        out.names.push(each.name.clone());
        if let Err(e) = settle(&mut new, each) {
            out.failures.push(e);
        }
        for address in &each.addresses {
            if let Err(errno) = put_address(&mut new_raw, to, each, index, address) {
                let subject = new.subject(&each.name);
                out.failures.push(Error::kernel("put back an address of", subject, errno));
            }
        }
        for qdisc in &each.qdiscs {
            let mut qdisc = qdisc.clone();
            qdisc.set_fixed(QDISC_INDEX, index);
            match new_raw.say(NEW_QDISC, NLM_F_CREATE | NLM_F_REPLACE, &qdisc) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => {
                    let kind = text(qdisc.get(QDISC_KIND));
                    let subject = new.subject(&each.name);
                    out.lost.push(format!("queueing discipline {kind} of {subject}: {errno}"));
                }
            }
        }
        out.lost
            .extend(each.lost.iter().map(|what| format!("{what} of {}", new.subject(&each.name))));
    }
    for mut route in routes {
        moved(&mut route, &places);
        // What was made by hand wins over what the runtime has made, as a default route.
        match new_raw.say(NEW_ROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route) {
            Ok(()) | Err(Errno::EEXIST | Errno::ENODEV) => {}
            Err(errno) => out.lost.push(format!("a route in {}: {errno}", to.label())),
        }
    }
    Ok(out)
}

/// Bridge and state.
fn settle(new: &mut Socket, each: &Saved) -> Result<()> {
    if let Some(master) = &each.master
        && observe::link(new, master)?.is_some()
    {
        link::set_master(new, &each.name, Some(master))?;
    }
    if each.up { link::set_up(new, &each.name) } else { Ok(()) }
}

/// Puts an address back. Where IPv6 is switched off, as in Docker's containers, an interface that
/// was given an address has it switched on; what the kernel gave by itself is not missed.
fn put_address(
    new: &mut Raw,
    to: &Netns,
    each: &Saved,
    index: u32,
    address: &Message,
) -> std::result::Result<(), Errno> {
    let mut address = address.clone();
    address.set_fixed(ADDRESS_INDEX, index);
    let mut say =
        |address: &Message| match new.say(NEW_ADDRESS, NLM_F_CREATE | NLM_F_REPLACE, address) {
            Err(Errno::EEXIST) => Ok(()),
            other => other,
        };
    match say(&address) {
        Err(Errno::EACCES) if address.fixed[0] == INET6 => {
            if address.fixed[ADDRESS_SCOPE] == LINK_LOCAL {
                return Ok(());
            }
            let key = format!("ipv6/conf/{}/disable_ipv6", each.name);
            sysctl::write(to, &key, "0").map_err(|e| e.errno().unwrap_or(Errno::EACCES))?;
            say(&address)
        }
        other => other,
    }
}

/// Moves one; what is of that name in the new place already is an error.
fn shift(old: &mut Socket, each: &Saved, to: &Netns) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = each.index;
    message.attributes.push(LinkAttribute::NetNsFd(to.as_fd().as_raw_fd()));
    let request = Request::new(RouteNetlinkMessage::SetLink(message), 0);
    match old.request(request) {
        Ok(_) => Ok(()),
        Err(failure) => {
            Err(failure.during(format!("move to {}", to.label()), old.subject(&each.name)))
        }
    }
}

fn save(old: &mut Socket, raw: &mut Raw, names: &[&str]) -> Result<Vec<Saved>> {
    let links = observe::links(old)?;
    let addresses = raw.dump(GET_ADDRESS, &[0; ADDRESS_BYTES], ADDRESS_BYTES)?;
    let qdiscs = raw.dump(GET_QDISC, &[0; QDISC_BYTES], QDISC_BYTES)?;
    let mut out = Vec::new();
    for name in names {
        let Some(found) = links.iter().find(|l| l.name == *name) else { continue };
        let master = found.master.and_then(|m| links.iter().find(|l| l.index == m));
        let of = |m: &&Message| m.fixed_number(ADDRESS_INDEX) == found.index;
        let of_link = || qdiscs.iter().filter(|m| m.fixed_number(QDISC_INDEX) == found.index);
        out.push(Saved {
            name: found.name.clone(),
            index: found.index,
            up: found.up,
            master: master.map(|m| m.name.clone()),
            addresses: addresses.iter().filter(of).filter_map(address).collect(),
            qdiscs: of_link().filter_map(qdisc).collect(),
            lost: of_link().filter_map(unknown).collect(),
        });
    }
    Ok(out)
}

/// An address somebody gave, as it is given again: it was there, so nobody else has it.
fn address(seen: &Message) -> Option<Message> {
    let mut message = seen.clone();
    let flags = message.number(ADDRESS_FLAGS).unwrap_or_else(|| u32::from(message.fixed[2]));
    if flags & PERMANENT == 0 {
        return None;
    }
    message.set(ADDRESS_FLAGS, flags | NO_DAD);
    message.attributes.retain(|(kind, _)| number(*kind) != ADDRESS_LIFETIME);
    Some(message)
}

/// Queueing disciplines that are all in one message: they have no classes and no filters.
const WHOLE: [&str; 10] =
    ["bfifo", "cake", "codel", "fq", "fq_codel", "netem", "pfifo", "red", "sfq", "tbf"];

/// What somebody set up that is more than one message.
fn unknown(seen: &Message) -> Option<String> {
    let kind = text(seen.get(QDISC_KIND));
    let own_choice = seen.fixed_number(QDISC_HANDLE) == 0;
    (!own_choice && !WHOLE.contains(&kind.as_str()))
        .then(|| format!("queueing discipline {kind}, with classes or filters,"))
}

/// The text of an attribute.
fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).trim_end_matches('\0').to_owned()
}

/// A queueing discipline that is not the kernel's own choice.
fn qdisc(seen: &Message) -> Option<Message> {
    if seen.fixed_number(QDISC_HANDLE) == 0 || unknown(seen).is_some() {
        return None;
    }
    let mut message = seen.clone();
    // Its counter of users stands there.
    message.set_fixed(QDISC_BYTES - 4, 0);
    message.attributes.retain(|(kind, _)| matches!(number(*kind), QDISC_KIND | QDISC_OPTIONS));
    Some(message)
}

/// Routes over these interfaces, networks before what is behind a gateway.
fn routes(raw: &mut Raw, saved: &[Saved]) -> Result<Vec<Message>> {
    if saved.is_empty() {
        return Ok(Vec::new());
    }
    let of = |index: u32| saved.iter().any(|s| s.index == index);
    let ours = |m: &Message| {
        let out = m.number(ROUTE_OUT).is_some_and(of);
        let hops = m.get(ROUTE_HOPS).is_some_and(|hops| {
            let indices = hop_indices(hops);
            !indices.is_empty() && indices.iter().all(|(_, index)| of(*index))
        });
        let kept = ROUTE_KEPT.contains(&m.fixed[ROUTE_PROTOCOL]);
        kept && m.fixed[ROUTE_TYPE] == ROUTE_UNICAST && (out || hops)
    };
    let mut list: Vec<Message> = raw
        .dump(GET_ROUTE, &[0; ROUTE_BYTES], ROUTE_BYTES)?
        .into_iter()
        .filter(ours)
        .filter(|m| m.get(ROUTE_NEXTHOP).is_none())
        .collect();
    for message in &mut list {
        message.attributes.retain(|(kind, _)| number(*kind) != ROUTE_CACHE);
        let flags = message.fixed_number(ROUTE_FLAGS) & ON_LINK;
        message.set_fixed(ROUTE_FLAGS, flags);
    }
    list.sort_by_key(|m| m.get(ROUTE_GATEWAY).is_some() || m.get(ROUTE_HOPS).is_some());
    Ok(list)
}

/// Where the index of each hop stands, and which it is (`struct rtnexthop`: length, flags, hops,
/// index).
fn hop_indices(hops: &[u8]) -> Vec<(usize, u32)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(hop) = hops.get(at..at + 8) {
        let length = usize::from(u16::from_ne_bytes([hop[0], hop[1]]));
        out.push((at + 4, u32::from_ne_bytes([hop[4], hop[5], hop[6], hop[7]])));
        if length < 8 {
            break;
        }
        at += length.next_multiple_of(4);
    }
    out
}

/// Gives a route the new indices.
fn moved(route: &mut Message, places: &HashMap<u32, u32>) {
    let place = |index: u32| places.get(&index).copied().unwrap_or(index);
    if let Some(out) = route.number(ROUTE_OUT) {
        route.set(ROUTE_OUT, place(out));
    }
    if let Some((_, hops)) = route.attributes.iter_mut().find(|(k, _)| number(*k) == ROUTE_HOPS) {
        for (at, index) in hop_indices(hops) {
            hops[at..at + 4].copy_from_slice(&place(index).to_ne_bytes());
            // Whether it was alive there says nothing.
            hops[at - 2] &= ON_LINK as u8;
        }
    }
}
