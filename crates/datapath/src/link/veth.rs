//! Veth pairs, both ends made at once in their final namespaces.

use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute};

use super::{Change, Comparison, NewLink, altnames_request, check_name};
use crate::MacAddr;
use crate::error::{Error, Result};
use crate::netns::{Answers, Netns, group, visit_each, work_in_each};
use crate::observe::{self, LinkInfo};
use crate::socket::{Reply, Request, Socket};

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
    /// bridge needs none. It must be the end `a` for it to have none.
    pub link_local: bool,
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
            link_local: (!self.link_local).then_some(false),
            ..Change::default()
        };
        let mut requests = Vec::new();
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
/// that could not be finished (state, alias, master, alternative names) is
/// removed again.
pub fn create_many(specs: &[VethSpec<'_>]) -> Result<Vec<Result<()>>> {
    let Some(first) = specs.first() else { return Ok(Vec::new()) };
    let mut results = Vec::with_capacity(specs.len());
    let mut requests = Vec::with_capacity(specs.len());
    for spec in specs {
        results.push(spec.request().map(|request| requests.push(request)));
    }
    // Any namespace we administer will do; our own may belong to somebody else.
    let mut socket = Socket::open_in(first.a.netns)?;
    let replies = socket.batch(requests);
    let open = results.iter_mut().zip(specs).filter(|(result, _)| result.is_ok());
    for ((result, spec), reply) in open.zip(replies) {
        *result = reply.map(drop).map_err(|failure| failure.during("create veth", spec.subject()));
    }
    finish_many(specs, &mut results)?;
    settle_many(specs, &results)?;
    Ok(results)
}

/// Sets states, aliases, masters and alternative names of the pairs made.
fn finish_many(specs: &[VethSpec<'_>], results: &mut [Result<()>]) -> Result<()> {
    let mut owners = Vec::new();
    let mut work = Vec::new();
    for (i, spec) in specs.iter().enumerate().filter(|(i, _)| results[*i].is_ok()) {
        for (end, first) in [(&spec.a, true), (&spec.b, false)] {
            let requests = end.rest(first);
            if !requests.is_empty() {
                owners.push(i);
                work.push((end.netns, (end, requests)));
            }
        }
    }
    let finished = work_in_each(work, |socket, _, items| finish_group(socket, items))?;
    for (i, finished) in owners.into_iter().zip(finished) {
        if let (Err(error), Ok(())) = (finished, &results[i]) {
            let removed = remove_end(&specs[i].a);
            results[i] = Err(removed.err().unwrap_or(error));
        }
    }
    Ok(())
}

/// Sends the requests of all ends of a namespace in one batch.
fn finish_group(
    socket: &mut Socket,
    items: Vec<(usize, (&VethEnd<'_>, Vec<Request>))>,
) -> Answers<()> {
    let mut ends = Vec::with_capacity(items.len());
    let mut requests = Vec::with_capacity(items.len());
    for (position, (end, list)) in items {
        ends.push((position, end, list.len()));
        requests.extend(list);
    }
    let mut replies = socket.batch(requests).into_iter();
    ends.into_iter()
        .map(|(position, end, count)| {
            let failure = replies.by_ref().take(count).filter_map(Reply::err).reduce(|a, _| a);
            let error = failure.map(|failure| failure.during("finish veth end", end.subject()));
            (position, error.map_or(Ok(()), Err))
        })
        .collect()
}

/// Waits until the new carrier is in force on both ends; see [`super::settle`].
fn settle_many(specs: &[VethSpec<'_>], results: &[Result<()>]) -> Result<()> {
    let made = specs.iter().zip(results).filter(|(_, result)| result.is_ok());
    let connected = made.filter(|(spec, _)| spec.a.up && spec.b.up);
    let ends = connected.flat_map(|(spec, _)| [&spec.a, &spec.b]);
    let names = ends.map(|end| (end.netns, end.name.as_str()));
    visit_each(group(names), |socket, _, names| {
        super::settle(socket, names.into_iter().map(|(_, name)| name));
    })
    .map(drop)
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
    Ok(done)
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
