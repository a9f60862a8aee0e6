//! Route netlink by hand: messages as bytes, many in flight.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const REQUEST: u16 = libc::NLM_F_REQUEST as u16 | libc::NLM_F_ACK as u16;
const CREATE: u16 = REQUEST | libc::NLM_F_CREATE as u16 | libc::NLM_F_EXCL as u16;
/// Requests sent before answers are read; their answers fit the receive buffer.
const WINDOW: usize = 64;

/// A message under construction.
pub struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Message(bytes)
    }

    /// `ifinfomsg`: index 0 for an interface meant by name.
    fn header(mut self, index: u32, up: bool) -> Self {
        let flags = if up { libc::IFF_UP as u32 } else { 0 };
        self.0.extend([0u8; 4]);
        self.0.extend(index.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend((value.len() as u16 + 4).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    fn name(self, name: &str) -> Self {
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        self.attribute(libc::IFLA_IFNAME, &text)
    }

    fn nested(mut self, kind: u16, inside: impl FnOnce(Self) -> Self) -> Self {
        let start = self.0.len();
        self.0.extend(0u16.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self = inside(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    fn end(self, end: &End<'_>, mtu: u32) -> Self {
        let mut message = self
            .name(end.name)
            .number(libc::IFLA_MTU, mtu)
            .attribute(libc::IFLA_ADDRESS, &end.mac)
            .number(libc::IFLA_NUM_TX_QUEUES, 1)
            .number(libc::IFLA_NUM_RX_QUEUES, 1);
        if let Some(netns) = end.netns {
            message = message.number(libc::IFLA_NET_NS_FD, netns as u32);
        }
        if let Some((master, group)) = end.port {
            message = message.number(libc::IFLA_MASTER, master).number(libc::IFLA_GROUP, group);
        }
        message
    }
}

/// One end of a veth pair.
pub struct End<'a> {
    /// Final name.
    pub name: &'a str,
    /// Ethernet address.
    pub mac: [u8; 6],
    /// Descriptor of its namespace; none for the socket's own.
    pub netns: Option<i32>,
    /// Bridge and group, for an end on the host.
    pub port: Option<(u32, u32)>,
}

/// A pair, the first end up: the kernel refuses it of the second.
pub fn pair(a: &End<'_>, b: &End<'_>, mtu: u32) -> Message {
    const PEER: u16 = 1;
    let new = Message::new(libc::RTM_NEWLINK, CREATE).header(0, true).end(a, mtu);
    new.nested(libc::IFLA_LINKINFO, |m| {
        m.attribute(libc::IFLA_INFO_KIND, b"veth")
            .nested(libc::IFLA_INFO_DATA, |m| m.nested(PEER, |m| m.header(0, false).end(b, mtu)))
    })
}

/// A bridge, up.
pub fn bridge(name: &str, mtu: u32) -> Message {
    let new = Message::new(libc::RTM_NEWLINK, CREATE).header(0, true).name(name);
    new.number(libc::IFLA_MTU, mtu)
        .nested(libc::IFLA_LINKINFO, |m| m.attribute(libc::IFLA_INFO_KIND, b"bridge"))
}

/// Sets an interface up.
pub fn up(name: &str) -> Message {
    Message::new(libc::RTM_NEWLINK, REQUEST).header(0, true).name(name)
}

/// Sets `lo` up.
pub fn loopback() -> Message {
    Message::new(libc::RTM_NEWLINK, REQUEST).header(1, true)
}

/// Asks for an interface, which also puts its carrier in force.
pub fn get(name: &str) -> Message {
    Message::new(libc::RTM_GETLINK, REQUEST).header(0, false).name(name)
}

/// Deletes an interface.
pub fn delete(name: &str) -> Message {
    Message::new(libc::RTM_DELLINK, REQUEST).header(0, false).name(name)
}

/// Deletes all interfaces of a group at once.
pub fn delete_group(group: u32) -> Message {
    Message::new(libc::RTM_DELLINK, REQUEST).header(0, false).number(libc::IFLA_GROUP, group)
}

fn family(address: &[u8]) -> u8 {
    if address.len() == 4 { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

/// Adds an address, without duplicate detection.
pub fn address(index: u32, address: &[u8], prefix: u8) -> Message {
    const NODAD: u8 = 2;
    let mut message = Message::new(libc::RTM_NEWADDR, CREATE);
    message.0.extend([family(address), prefix, NODAD, 0]);
    message.0.extend(index.to_ne_bytes());
    message.attribute(libc::IFA_LOCAL, address).attribute(libc::IFA_ADDRESS, address)
}

/// Adds a default route.
pub fn default_route(index: u32, gateway: &[u8]) -> Message {
    const STATIC: u8 = 4;
    let mut message = Message::new(libc::RTM_NEWROUTE, CREATE);
    let table = libc::RT_TABLE_MAIN;
    message.0.extend([family(gateway), 0, 0, 0, table, STATIC, 0, libc::RTN_UNICAST]);
    message.0.extend([0u8; 4]);
    message.attribute(libc::RTA_GATEWAY, gateway).number(libc::RTA_OIF, index)
}

/// A socket in the namespace of the thread that opened it.
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one.
    pub fn open() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: plain numbers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just made, nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Socket { fd, buffer: vec![0; 16 << 10] })
    }

    /// Sends all and reads all answers; the index in each `RTM_NEWLINK` that came, in order.
    pub fn talk(&mut self, messages: &mut [Message]) -> io::Result<Vec<u32>> {
        let mut indices = Vec::new();
        for window in messages.chunks_mut(WINDOW) {
            let mut bytes = Vec::with_capacity(window.len() * 200);
            for (at, message) in window.iter_mut().enumerate() {
                let length = message.0.len() as u32;
                message.0[0..4].copy_from_slice(&length.to_ne_bytes());
                message.0[8..12].copy_from_slice(&(at as u32 + 1).to_ne_bytes());
                bytes.extend(&message.0);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            self.send(&bytes)?;
            let mut open = window.len();
            while open > 0 {
                let got = self.receive()?;
                open -= answers(&self.buffer[..got], &mut indices)?;
            }
        }
        Ok(indices)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: `length` bytes from `start` are alive through the call.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), start, length, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let (start, length) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
        // SAFETY: the buffer has `length` bytes and is ours alone.
        let got = unsafe { libc::recv(self.fd.as_raw_fd(), start, length, 0) };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }
}

/// Counts the acknowledgements in a datagram; an error among them is returned.
fn answers(mut bytes: &[u8], indices: &mut Vec<u32>) -> io::Result<usize> {
    let mut acknowledged = 0;
    let word = |b: &[u8], at: usize| {
        b.get(at..at + 4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).unwrap_or(0)
    };
    while bytes.len() >= 16 {
        let length = (word(bytes, 0) as usize).clamp(16, bytes.len());
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        if kind == libc::NLMSG_ERROR as u16 {
            let error = word(bytes, 16) as i32;
            if error != 0 {
                return Err(io::Error::from_raw_os_error(-error));
            }
            acknowledged += 1;
        } else if kind == libc::RTM_NEWLINK {
            indices.push(word(bytes, 20));
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(acknowledged)
}
