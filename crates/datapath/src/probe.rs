//! What this kernel can do, found by doing a small thing in a scratch
//! namespace.

use std::fmt;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::link::{self, veth};
use crate::netns::Netns;
use crate::socket::{Request, Socket};
use crate::stitch::{self, Classifier};

/// Link kinds a lab is made of. Asking for a kind loads its module, and some
/// modules make interfaces in the host's namespace (bond0, ifb0): such kinds
/// are only asked for one by one, see [`link_kind`].
const LINK_KINDS: [&str; 7] = ["veth", "bridge", "macvlan", "vxlan", "dummy", "vlan", "vrf"];
/// Qdiscs worth knowing of.
const QDISCS: [&str; 4] = ["clsact", "netem", "tbf", "htb"];

/// Whether the kernel can do a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// It was done.
    Yes,
    /// It cannot.
    No(Errno),
    /// We may not: nothing is known of the kernel.
    Denied(Errno),
}

impl Support {
    fn of(result: std::result::Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Self::Yes,
            Err(errno @ (Errno::EPERM | Errno::EACCES)) => Self::Denied(errno),
            Err(errno) => Self::No(errno),
        }
    }

    /// Whether it was done.
    pub fn is_yes(&self) -> bool {
        *self == Self::Yes
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => write!(f, "supported"),
            Self::No(Errno::EOPNOTSUPP | Errno::ENOENT) => write!(f, "missing in this kernel"),
            Self::No(errno) => write!(f, "does not work: {}", errno.desc()),
            Self::Denied(_) => write!(f, "unknown, not permitted"),
        }
    }
}

/// The kind of thing that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// A link kind.
    Link,
    /// A qdisc.
    Qdisc,
    /// A classifier that redirects every frame.
    Classifier,
    /// A device file.
    Device,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link kind",
            Self::Qdisc => "qdisc",
            Self::Classifier => "classifier",
            Self::Device => "device",
        })
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What sort of thing.
    pub area: Area,
    /// The kernel's name of it.
    pub name: &'static str,
    /// Whether the kernel can do it.
    pub support: Support,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.area, self.name, self.support)
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// In a fixed order.
    pub list: Vec<Finding>,
}

impl Findings {
    /// Whether a thing was found to work.
    pub fn has(&self, area: Area, name: &str) -> bool {
        self.list.iter().any(|f| f.area == area && f.name == name && f.support.is_yes())
    }
}

/// A namespace with a veth pair to try things on.
struct Scratch {
    netns: Netns,
    socket: Socket,
    a: u32,
    b: u32,
}

impl Scratch {
    fn new() -> Result<Self> {
        let netns = Netns::create()?.with_label("the probe's netns");
        let mut socket = Socket::open_in(&netns)?;
        let (a, b) = (veth::VethEnd::new(&netns, "probe-a"), veth::VethEnd::new(&netns, "probe-b"));
        veth::create(&veth::VethSpec { a, b, mtu: 1500 })?;
        let (a, b) = (link::index(&mut socket, "probe-a")?, link::index(&mut socket, "probe-b")?);
        Ok(Self { netns, socket, a, b })
    }

    fn classifier(&mut self, classifier: Classifier) -> Result<Support> {
        let (from, to) = (("probe-a", self.a), ("probe-b", self.b));
        let made = stitch::redirect(&mut self.socket, from, to, classifier);
        stitch::remove(&mut self.socket, "probe-a", "probe-b")?;
        Ok(Support::of(made.map_err(|error| errno(&error))))
    }
}

/// Tries to make an interface of a kind ("ifb", "bond", …).
pub fn link_kind(kind: &str) -> Result<Support> {
    let mut scratch = Scratch::new()?;
    Ok(Support::of(try_link(&mut scratch.socket, kind, scratch.a)))
}

/// Tries to redirect frames with a classifier.
pub fn classifier(classifier: Classifier) -> Result<Support> {
    Scratch::new()?.classifier(classifier)
}

/// Tries everything in a scratch namespace, which is gone afterwards.
pub fn run() -> Result<Findings> {
    let mut scratch = Scratch::new()?;
    let mut list = Vec::new();
    for name in LINK_KINDS {
        let support = Support::of(try_link(&mut scratch.socket, name, scratch.a));
        list.push(Finding { area: Area::Link, name, support });
    }
    for name in QDISCS {
        let support = Support::of(try_qdisc(&mut scratch.socket, name, scratch.a));
        list.push(Finding { area: Area::Qdisc, name, support });
    }
    for classifier in Classifier::ALL {
        let support = scratch.classifier(classifier)?;
        list.push(Finding { area: Area::Classifier, name: classifier.name(), support });
    }
    let tap = link::tap::create(&link::tap::TapSpec::new(&scratch.netns, "probe-tap"));
    let support = Support::of(tap.map(drop).map_err(|error| errno(&error)));
    list.push(Finding { area: Area::Device, name: "tap", support });
    Ok(Findings { list })
}

fn errno(error: &Error) -> Errno {
    error.errno().unwrap_or(Errno::EIO)
}

fn try_link(socket: &mut Socket, kind: &str, parent: u32) -> std::result::Result<(), Errno> {
    let mut info = vec![LinkInfo::Kind(InfoKind::Other(kind.into()))];
    if kind == "vlan" {
        info.push(LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(1)])));
    }
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName("probe-link".into()));
    if matches!(kind, "macvlan" | "vlan") {
        message.attributes.push(LinkAttribute::Link(parent));
    }
    message.attributes.push(LinkAttribute::LinkInfo(info));
    let message = RouteNetlinkMessage::NewLink(message);
    match socket.request(Request::new(message, NLM_F_CREATE | NLM_F_EXCL)) {
        Ok(_) => link::delete(socket, "probe-link").map_err(|error| errno(&error)),
        // The kernel knows the kind and only misses its parameters.
        Err(failure) if failure.errno == Errno::EINVAL => Ok(()),
        Err(failure) => Err(failure.errno),
    }
}

fn try_qdisc(socket: &mut Socket, kind: &str, index: u32) -> std::result::Result<(), Errno> {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = if kind == "clsact" { TcHandle::CLSACT } else { TcHandle::ROOT };
    message.attributes.push(TcAttribute::Kind(kind.into()));
    let request = RouteNetlinkMessage::NewQueueDiscipline(message.clone());
    match socket.request(Request::new(request, NLM_F_CREATE | NLM_F_EXCL)) {
        Ok(_) => {
            let request = RouteNetlinkMessage::DelQueueDiscipline(message);
            socket.request(Request::new(request, 0)).map(drop).map_err(|failure| failure.errno)
        }
        // The kernel knows the qdisc and only misses its parameters.
        Err(failure) if failure.errno == Errno::EINVAL => Ok(()),
        Err(failure) => Err(failure.errno),
    }
}
