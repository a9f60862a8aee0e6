//! Veth pairs, both ends made at once in their final namespaces.

use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};

use super::{Change, Comparison, NewLink, altnames_request, check_name};
use crate::addr::{self, Cidr};
use crate::error::{Error, Result};
use crate::netns::{Answers, Netns, group, visit_each};
use crate::observe::{self, LinkInfo};
use crate::socket::{Reply, Request, Socket};
use crate::{MacAddr, offload};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use nix::errno::Errno;

/// One end of a veth pair.
#[derive(Debug, Clone)]
pub struct VethEnd<'a> {
    /// Namespace of the end.
    pub netns: &'a Netns,
    /// Final name, at most 15 characters.
    pub name: String,
    /// Ethernet address; none lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// Alias.
    pub alias: Option<String>,
    /// Alternative names.
    pub altnames: Vec<String>,
    /// Group, 0 for none; see [`super::delete_group`].
    pub group: u32,
    /// Index of the bridge in the end's namespace the end becomes a port of.
    pub master: Option<u32>,
    /// Whether the end is set up.
    pub up: bool,
    /// Whether the end gives itself an IPv6 link-local address; a port of a
    /// bridge needs none.
    pub link_local: bool,
    /// Addresses, without duplicate detection.
    pub addresses: Vec<Cidr>,
    /// Whether checksums of what the end sends are left to hardware, which a veth has not:
    /// programs that read raw packets, as virtual machines do, see them wrong.
    pub tx_checksum: bool,
}

impl<'a> VethEnd<'a> {
    /// An end that will be up, with nothing else set.
    pub fn new(netns: &'a Netns, name: impl Into<String>) -> Self {
        Self {
            netns,
            name: name.into(),
            mac: None,
            alias: None,
            altnames: Vec::new(),
            group: 0,
            master: None,
            up: true,
            link_local: true,
            addresses: Vec::new(),
            tx_checksum: true,
        }
    }

    /// Sets the Ethernet address.
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    fn subject(&self) -> String {
        format!("{} in {}", self.name, self.netns.label())
    }

    fn new_link(&self, mtu: u32) -> Result<NewLink> {
        Ok(NewLink::named(&self.name)?
            .mtu(Some(mtu))
            .mac(self.mac)
            .group(self.group)
            .one_queue()
            .netns(self.netns))
    }

    /// What could not be said in the creation. Only the end made first can be
    /// set up and given a master there.
    fn rest(&self, first: bool) -> Vec<Request> {
        let change = Change {
            up: (self.up && !first).then_some(true),
            alias: self.alias.clone(),
            master: self.master.filter(|_| !first),
            ..Change::default()
        };
        let mut requests = Vec::new();
        // On its own: in one request the kernel would set the end up before it reads this.
        if !self.link_local {
            let quiet = Change { link_local: Some(false), ..Change::default() };
            requests.push(quiet.request(&self.name));
        }
        if !change.is_empty() {
            requests.push(change.request(&self.name));
        }
        requests.extend(altnames_request(&self.name, &self.altnames));
        requests
    }
}

/// A veth pair.
#[derive(Debug, Clone)]
pub struct VethSpec<'a> {
    /// The end that is made first.
    pub a: VethEnd<'a>,
    /// The other end.
    pub b: VethEnd<'a>,
    /// MTU of both.
    pub mtu: u32,
}

impl VethSpec<'_> {
    /// The end that is up from the start cannot be the peer: the kernel brings
    /// the peer up before the pair is joined and fails with ENOTCONN.
    fn request(&self) -> Result<Request> {
        let peer = self.b.new_link(self.mtu)?.message;
        let mut first =
            self.a.new_link(self.mtu)?.with(self.a.master.map(LinkAttribute::Controller));
        if self.a.up {
            first = first.up();
        }
        Ok(first.request(InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer)))))
    }

    fn subject(&self) -> String {
        format!("{} -- {}", self.a.subject(), self.b.subject())
    }
}

/// Makes a veth pair.
pub fn create(spec: &VethSpec<'_>) -> Result<()> {
    create_many(std::slice::from_ref(spec))?.pop().unwrap_or(Ok(()))
}

/// Makes many veth pairs, many requests in flight; answers for each. A pair
/// that could not be finished (state, alias, master, names, addresses) is
/// removed again.
///
/// Each namespace is visited once: second ends come up there, and whatever else a creation cannot
/// say is said. An end whose peer came up later is settled afterwards, through the socket that was
/// left in its namespace.
pub fn create_many(specs: &[VethSpec<'_>]) -> Result<Vec<Result<()>>> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let mut results = Vec::with_capacity(specs.len());
    let mut requests = Vec::with_capacity(specs.len());
    for spec in specs {
        results.push(spec.request().map(|request| requests.push(request)));
    }
    // Kernels before 6.15 look for the new name in the socket's own namespace: in this one there is
    // only `lo`.
    let nowhere = Netns::create()?;
    let replies = Socket::open_in(&nowhere)?.batch(requests);
    let open = results.iter_mut().zip(specs).filter(|(result, _)| result.is_ok());
    for ((result, spec), reply) in open.zip(replies) {
        *result = reply.map(drop).map_err(|failure| failure.during("create veth", spec.subject()));
    }
    finish_many(specs, &mut results)?;
    Ok(results)
}

/// An end of a pair that was made, and whether it is the first one.
type MadeEnd<'a> = (usize, &'a VethEnd<'a>, bool);

fn finish_many(specs: &[VethSpec<'_>], results: &mut [Result<()>]) -> Result<()> {
    let made = specs.iter().enumerate().filter(|(i, _)| results[*i].is_ok());
    let ends = made.flat_map(|(i, spec)| [(i, &spec.a, true), (i, &spec.b, false)]);
    let groups: Vec<(&Netns, Vec<MadeEnd<'_>>)> = group(ends.map(|end| (end.1.netns, end)))
        .into_iter()
        .map(|(netns, ends)| (netns, ends.into_iter().map(|(_, end)| end).collect()))
        .collect();
    // When each pair has carrier: with the visit of its second end.
    let mut joined = vec![usize::MAX; specs.len()];
    for (visit, (_, ends)) in groups.iter().enumerate() {
        for (i, _, first) in ends {
            if !first && specs[*i].a.up && specs[*i].b.up {
                joined[*i] = visit;
            }
        }
    }
    let visits: Vec<_> = groups.iter().map(|(netns, ends)| (*netns, ends)).collect();
    let visited = visit_each(visits, |socket, netns, ends| finish_here(socket, netns, ends))?;
    for (visit, (visited, (_, ends))) in visited.into_iter().zip(&groups).enumerate() {
        let (socket, answers) = match visited {
            Ok((socket, answers)) => (Some(socket), answers),
            Err(error) => (None, ends.iter().map(|(i, ..)| (*i, Err(error.clone()))).collect()),
        };
        for (i, answer) in answers {
            if let (Err(error), Ok(())) = (answer, &results[i]) {
                results[i] = Err(error);
                // What went wrong first is the message; a pair that stays is found by `ensure`.
                let _ = remove_end(&specs[i].a);
            }
        }
        let late = |i: usize| joined[i] != usize::MAX && joined[i] > visit && results[i].is_ok();
        if let Some(mut socket) = socket {
            let names = ends.iter().filter(|(i, ..)| late(*i)).map(|(_, end, _)| end.name.as_str());
            super::settle(&mut socket, names);
        }
    }
    Ok(())
}

/// Finishes all ends of a namespace: one batch for what is asked of interfaces, ending with a look
/// at each that also puts its carrier in force, and one for addresses.
fn finish_here(mut socket: Socket, netns: &Netns, ends: &[MadeEnd<'_>]) -> (Socket, Answers<()>) {
    let mut answers: Answers<()> = Vec::with_capacity(ends.len());
    let mut requests = Vec::with_capacity(ends.len() * 2);
    let counts: Vec<usize> = ends
        .iter()
        .map(|(_, end, first)| {
            let rest = end.rest(*first);
            let count = rest.len();
            requests.extend(rest);
            count
        })
        .collect();
    requests.extend(ends.iter().map(|(_, end, _)| observe::link_request(&end.name)));
    let mut replies = socket.batch(requests).into_iter();
    for ((i, end, _), count) in ends.iter().zip(counts) {
        let failure = replies.by_ref().take(count).filter_map(Reply::err).reduce(|a, _| a);
        let error = failure.map(|failure| failure.during("finish veth end", end.subject()));
        answers.push((*i, error.map_or(Ok(()), Err)));
    }
    let mut requests = Vec::new();
    let mut owners = Vec::new();
    for (position, ((_, end, _), reply)) in ends.iter().zip(replies).enumerate() {
        let index = reply.ok().and_then(observe::first_link).map(|link| link.index);
        for cidr in end.addresses.iter().filter(|_| answers[position].1.is_ok()) {
            let Some(index) = index else {
                answers[position].1 = Err(Error::NotFound { subject: end.subject() });
                break;
            };
            owners.push((position, cidr));
            let flags = NLM_F_CREATE | NLM_F_EXCL;
            requests.push(addr::new_request(index, *cidr, true, flags));
        }
    }
    for ((position, cidr), reply) in owners.into_iter().zip(socket.batch(requests)) {
        if let Err(failure) = reply {
            let end = ends[position].1;
            let refused = failure.errno == Errno::EACCES && cidr.address.is_ipv6();
            let action = format!("add address {cidr} to");
            let error = failure.during(action, end.subject());
            answers[position].1 =
                if refused { addr::switched_on(netns, &end.name, *cidr) } else { Err(error) };
        }
    }
    let plain: Vec<&str> = ends
        .iter()
        .filter(|(_, end, _)| !end.tx_checksum)
        .map(|(_, end, _)| end.name.as_str())
        .collect();
    if !plain.is_empty() {
        // A kernel that cannot leaves the checksums to whoever reads them, as before.
        let _ = offload::disable_tx_checksum_here(netns, &plain);
    }
    socket.release();
    (socket, answers)
}

fn remove_end(end: &VethEnd<'_>) -> Result<bool> {
    super::ensure_absent(&mut Socket::open_in(end.netns)?, &end.name)
}

/// Makes the pair unless an equal one is there; says whether anything was
/// done. A pair whose making was interrupted (an end still down, or without its
/// alias, master or alternative names) is completed; anything else that differs
/// is an error, and then nothing is changed.
pub fn ensure(spec: &VethSpec<'_>) -> Result<bool> {
    check_name(&spec.a.name)?;
    check_name(&spec.b.name)?;
    let mut at_a = Socket::open_in(spec.a.netns)?;
    let mut at_b = Socket::open_in(spec.b.netns)?;
    let a = observe::link(&mut at_a, &spec.a.name)?;
    let b = observe::link(&mut at_b, &spec.b.name)?;
    let (a, b) = match (a, b) {
        (None, None) => return create(spec).map(|()| true),
        (Some(a), Some(b)) => (a, b),
        (Some(_), None) => return Err(lonely(&spec.a, &spec.b)),
        (None, Some(_)) => return Err(lonely(&spec.b, &spec.a)),
    };
    let netnsid = match spec.a.netns.same(spec.b.netns) {
        true => None,
        false => observe::netnsid(&mut at_a, spec.b.netns)?,
    };
    let comparison = Comparison { subject: spec.a.subject() };
    comparison.field("peer", &Some(observe::Peer { index: b.index, netnsid }), &a.peer)?;
    let missing_a = missing(&spec.a, spec.mtu, &a)?;
    let missing_b = missing(&spec.b, spec.mtu, &b)?;
    let done = complete(&mut at_a, &spec.a, missing_a)? | complete(&mut at_b, &spec.b, missing_b)?;
    if done && spec.a.up && spec.b.up {
        super::settle(&mut at_a, [spec.a.name.as_str()]);
        super::settle(&mut at_b, [spec.b.name.as_str()]);
    }
    let mut added = false;
    for (socket, end) in [(&mut at_a, &spec.a), (&mut at_b, &spec.b)] {
        for cidr in &end.addresses {
            added |= match addr::ensure(socket, &end.name, *cidr, true) {
                Err(e) if e.errno() == Some(Errno::EACCES) && cidr.address.is_ipv6() => {
                    addr::switched_on(end.netns, &end.name, *cidr)?;
                    true
                }
                other => other?,
            };
        }
        if !end.tx_checksum {
            // As in the making of one.
            let _ = offload::set_tx_checksum(end.netns, &end.name, false);
        }
    }
    Ok(done | added)
}

fn complete(socket: &mut Socket, end: &VethEnd<'_>, requests: Vec<Request>) -> Result<bool> {
    let any = !requests.is_empty();
    for reply in socket.batch(requests) {
        reply.map_err(|failure| failure.during("complete veth end", end.subject()))?;
    }
    Ok(any)
}

fn lonely(there: &VethEnd<'_>, missing: &VethEnd<'_>) -> Error {
    Error::Differs {
        subject: there.subject(),
        field: "peer",
        wanted: missing.subject(),
        found: "another interface".into(),
    }
}

/// The requests that complete an end, or the first field that differs.
fn missing(end: &VethEnd<'_>, mtu: u32, found: &LinkInfo) -> Result<Vec<Request>> {
    let comparison = Comparison { subject: end.subject() };
    comparison.field("kind", &"veth", &found.kind.as_str())?;
    comparison.field("MTU", &mtu, &found.mtu)?;
    comparison.given("MAC", &end.mac.map(Some), &found.mac)?;
    comparison.field("group", &end.group, &found.group)?;
    let mut change = Change::default();
    match (end.up, found.up) {
        (true, false) => change.up = Some(true),
        (wanted, found) => comparison.field("state up", &wanted, &found)?,
    }
    match (&end.alias, &found.alias) {
        (Some(alias), None) => change.alias = Some(alias.clone()),
        (wanted, found) => comparison.field("alias", wanted, found)?,
    }
    match (end.master, found.master) {
        (Some(master), None) => change.master = Some(master),
        (wanted, found) => comparison.field("master", &wanted, &found)?,
    }
    let extra: Vec<_> = found.altnames.iter().filter(|n| !end.altnames.contains(n)).collect();
    comparison.field("further alternative names", &Vec::new(), &extra)?;
    let absent: Vec<String> =
        end.altnames.iter().filter(|name| !found.altnames.contains(name)).cloned().collect();
    let mut requests = Vec::new();
    if !change.is_empty() {
        requests.push(change.request(&end.name));
    }
    requests.extend(altnames_request(&end.name, &absent));
    Ok(requests)
}
