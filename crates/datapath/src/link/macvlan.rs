//! Macvlan interfaces on a parent, made directly in their final namespace.

use netlink_packet_route::link::{InfoData, InfoKind, InfoMacVlan, LinkAttribute, MacVlanMode};

use super::{Change, Comparison, NewLink};
use crate::error::Result;
use crate::netns::Netns;
use crate::observe::{self, KindData};
use crate::socket::Socket;
use crate::{Error, MacAddr, link};

/// How the macvlans of a parent reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Directly, inside the parent.
    #[default]
    Bridge,
    /// Through the switch the parent is connected to.
    Vepa,
    /// There is only one, which takes the parent over.
    Passthru,
    /// Not at all.
    Private,
    /// By listed source addresses.
    Source,
}

impl Mode {
    fn to_kernel(self) -> MacVlanMode {
        match self {
            Self::Bridge => MacVlanMode::Bridge,
            Self::Vepa => MacVlanMode::Vepa,
            Self::Passthru => MacVlanMode::Passthrough,
            Self::Private => MacVlanMode::Private,
            Self::Source => MacVlanMode::Source,
        }
    }

    pub(crate) fn from_kernel(mode: MacVlanMode) -> Option<Self> {
        let all = [Self::Bridge, Self::Vepa, Self::Passthru, Self::Private, Self::Source];
        all.into_iter().find(|known| known.to_kernel() == mode)
    }
}

/// A macvlan; it is set up and takes the MTU of its parent unless told.
#[derive(Debug, Clone)]
pub struct MacvlanSpec<'a> {
    /// Namespace the interface goes to.
    pub netns: &'a Netns,
    /// Name, at most 15 characters.
    pub name: String,
    /// Parent, in the namespace of the socket.
    pub parent: String,
    /// Mode.
    pub mode: Mode,
    /// Ethernet address; none lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// MTU, at most that of the parent.
    pub mtu: Option<u32>,
}

/// Makes a macvlan on a parent of the socket's namespace.
pub fn create(socket: &mut Socket, spec: &MacvlanSpec<'_>) -> Result<()> {
    let parent = link::index(socket, &spec.parent)?;
    let request = NewLink::named(&spec.name)?
        .with([LinkAttribute::Link(parent)])
        .mtu(spec.mtu)
        .mac(spec.mac)
        .netns(spec.netns)
        .request(
            InfoKind::MacVlan,
            Some(InfoData::MacVlan(vec![InfoMacVlan::Mode(spec.mode.to_kernel())])),
        );
    let subject = format!("{} in {}", spec.name, spec.netns.label());
    match socket.request(request) {
        Ok(_) => {}
        Err(failure) => {
            let action = format!("create macvlan on {} as", spec.parent);
            return Err(failure.during(action, subject));
        }
    }
    // Up only when joined: a passthru one changes its parent's address then.
    up(&mut Socket::open_in(spec.netns)?, &spec.name)
}

/// Sets it up, for frames to any address: what runs behind it (VRRP, a bridge) has addresses of its
/// own.
fn up(socket: &mut Socket, name: &str) -> Result<()> {
    let change = Change { up: Some(true), promiscuous: Some(true), ..Change::default() };
    link::change(socket, name, change)
}

/// Makes the macvlan unless an equal one is there; says whether anything was
/// done. One that was made but is still down is set up.
pub fn ensure(socket: &mut Socket, spec: &MacvlanSpec<'_>) -> Result<bool> {
    let mut inside = Socket::open_in(spec.netns)?;
    let Some(found) = observe::link(&mut inside, &spec.name)? else {
        return create(socket, spec).map(|()| true);
    };
    let Some(parent) = observe::link(socket, &spec.parent)? else {
        return Err(Error::NotFound { subject: socket.subject(&spec.parent) });
    };
    let comparison = Comparison { subject: inside.subject(&spec.name) };
    comparison.field("kind", &"macvlan", &found.kind.as_str())?;
    comparison.field("parent", &Some(parent.index), &found.peer.map(|peer| peer.index))?;
    comparison.field("mode", &KindData::Macvlan { mode: Some(spec.mode) }, &found.data)?;
    comparison.field("MTU", &spec.mtu.unwrap_or(parent.mtu), &found.mtu)?;
    comparison.given("MAC", &spec.mac.map(Some), &found.mac)?;
    if !found.up {
        up(&mut inside, &spec.name)?;
    }
    Ok(!found.up)
}
