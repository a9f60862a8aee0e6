//! Dummy interfaces, with a stand-in where the kernel lacks the type.

use netlink_packet_route::link::InfoKind;
use nix::errno::Errno;

use super::veth::{self, VethEnd, VethSpec};
use super::{Comparison, NewLink};
use crate::MacAddr;
use crate::error::Result;
use crate::netns::Netns;
use crate::observe;
use crate::socket::Socket;

/// A dummy interface; it is set up.
#[derive(Debug, Clone)]
pub struct DummySpec<'a> {
    /// Namespace of the interface.
    pub netns: &'a Netns,
    /// Name, at most 15 characters.
    pub name: String,
    /// MTU.
    pub mtu: Option<u32>,
    /// Ethernet address; none lets the kernel choose.
    pub mac: Option<MacAddr>,
}

/// What was made for a dummy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// A dummy.
    Dummy,
    /// A veth whose other end is up in the parking namespace.
    ParkedVeth,
}

/// Where the other end of a stand-in goes.
#[derive(Debug, Clone, Copy)]
pub struct Parking<'a> {
    /// The parking namespace.
    pub netns: &'a Netns,
    /// Name of the parked end, unique there.
    pub name: &'a str,
}

const DEFAULT_MTU: u32 = 1500;

/// Makes a dummy, or where the kernel lacks the type a veth whose other end is
/// parked; says which.
pub fn create(spec: &DummySpec<'_>, parking: Parking<'_>) -> Result<Made> {
    let request =
        NewLink::named(&spec.name)?.mtu(spec.mtu).mac(spec.mac).up().request(InfoKind::Dummy, None);
    let mut socket = Socket::open_in(spec.netns)?;
    match socket.request(request) {
        Ok(_) => Ok(Made::Dummy),
        Err(failure) if failure.errno == Errno::EOPNOTSUPP => {
            veth::create(&stand_in(spec, parking)).map(|()| Made::ParkedVeth)
        }
        Err(failure) => Err(failure.during("create dummy", socket.subject(&spec.name))),
    }
}

fn stand_in<'a>(spec: &DummySpec<'a>, parking: Parking<'a>) -> VethSpec<'a> {
    let mut end = VethEnd::new(spec.netns, &spec.name);
    end.mac = spec.mac;
    let parked = VethEnd::new(parking.netns, parking.name);
    VethSpec { a: end, b: parked, mtu: spec.mtu.unwrap_or(DEFAULT_MTU) }
}

/// Makes the interface unless an equal one is there; says what it is and
/// whether it was made.
pub fn ensure(spec: &DummySpec<'_>, parking: Parking<'_>) -> Result<(Made, bool)> {
    let mut socket = Socket::open_in(spec.netns)?;
    let Some(found) = observe::link(&mut socket, &spec.name)? else {
        return create(spec, parking).map(|made| (made, true));
    };
    if found.kind == "veth" {
        return veth::ensure(&stand_in(spec, parking)).map(|made| (Made::ParkedVeth, made));
    }
    let comparison = Comparison { subject: socket.subject(&spec.name) };
    comparison.field("kind", &"dummy", &found.kind.as_str())?;
    comparison.given("MTU", &spec.mtu, &found.mtu)?;
    comparison.given("MAC", &spec.mac.map(Some), &found.mac)?;
    comparison.field("state up", &true, &found.up)?;
    Ok((Made::Dummy, false))
}
