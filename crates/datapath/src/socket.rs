//! A netlink route socket that keeps many requests in flight.

use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

use crate::error::{Error, Failure, Result};
use crate::netns::Netns;

/// Requests in flight that are only acknowledged: their answers must fit the
/// default receive buffer.
const ACK_WINDOW: usize = 64;
/// Requests in flight that are answered with a message.
const REPLY_WINDOW: usize = 32;
/// Bytes of one send; well below the default send buffer.
const SEND_BYTES: usize = 32 * 1024;
/// Large enough for any datagram of a route dump.
const RECEIVE_BYTES: usize = 64 * 1024;
/// How long a dump that changes keep disturbing is repeated: as long as another lab of a thousand
/// nodes takes to come.
const DUMP_PATIENCE: Duration = Duration::from_secs(30);
const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A request and its flags beyond `REQUEST` and `ACK`.
#[derive(Debug, Clone)]
pub struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

impl Request {
    /// A request with extra `NLM_F_*` flags, 0 for none.
    pub fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self { message, flags }
    }

    fn expects_reply(&self) -> bool {
        use RouteNetlinkMessage as M;
        matches!(self.message, M::GetLink(_) | M::GetNsId(_) | M::GetRoute(_) | M::GetAddress(_))
    }
}

/// What the kernel answered to one request: the messages, empty for a mere ACK.
pub type Reply = std::result::Result<Vec<RouteNetlinkMessage>, Failure>;

/// A netlink route socket, bound to the namespace it was opened in.
pub struct Socket {
    raw: RawSocket,
    sequence: u32,
    buffer: Vec<u8>,
    label: Option<String>,
}

impl Socket {
    /// Opens a socket in the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let fail = |error: std::io::Error| Error::io("open", "a netlink socket", &error);
        let mut raw = RawSocket::new(NETLINK_ROUTE).map_err(fail)?;
        raw.bind_auto().map_err(fail)?;
        raw.connect(&SocketAddr::new(0, 0)).map_err(fail)?;
        raw.set_cap_ack(true).map_err(fail)?;
        raw.set_ext_ack(true).map_err(fail)?;
        Ok(Self { raw, sequence: 0, buffer: Vec::new(), label: None })
    }

    /// Opens a socket in a namespace; it may then be used from any thread.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        Ok(netns.run_in(Self::open)??.with_label(netns.label()))
    }

    /// Gives the receive buffer back, for a socket that is kept.
    pub(crate) fn release(&mut self) {
        self.buffer = Vec::new();
    }

    /// Names the namespace of the socket for error messages.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// How an interface of this socket's namespace is called in messages.
    pub fn subject(&self, interface: &str) -> String {
        match &self.label {
            Some(label) => format!("{interface} in {label}"),
            None => interface.to_owned(),
        }
    }

    /// Sends one request and waits for its answer.
    pub fn request(&mut self, request: Request) -> Reply {
        self.batch(vec![request]).pop().unwrap_or(Err(Errno::EPROTO.into()))
    }

    /// Sends requests, many in flight, and answers for each on its own. The
    /// kernel works through them in order; a refused one does not stop the
    /// rest.
    pub fn batch(&mut self, requests: Vec<Request>) -> Vec<Reply> {
        let mut replies = Vec::with_capacity(requests.len());
        let mut pending = requests.into_iter().peekable();
        while pending.peek().is_some() {
            let mut bytes = Vec::with_capacity(4096);
            let first = self.sequence.wrapping_add(1);
            let mut count = 0;
            let mut window = ACK_WINDOW;
            while let Some(request) = pending.peek() {
                if request.expects_reply() {
                    window = REPLY_WINDOW;
                }
                if count >= window || (count > 0 && bytes.len() >= SEND_BYTES) {
                    break;
                }
                let Some(request) = pending.next() else { break };
                self.append(&mut bytes, request.message, NLM_F_REQUEST | NLM_F_ACK | request.flags);
                count += 1;
            }
            replies.extend(self.exchange(&bytes, first, count));
        }
        replies
    }

    /// Asks for a dump; one that was disturbed by a change is repeated.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> Reply {
        let begun = std::time::Instant::now();
        for round in 0.. {
            match self.dump_once(message.clone()) {
                Err(failure)
                    if failure.errno == Errno::EINTR && begun.elapsed() < DUMP_PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(1 << round.min(7)));
                }
                reply => return reply,
            }
        }
        self.dump_once(message)
    }

    fn dump_once(&mut self, message: RouteNetlinkMessage) -> Reply {
        let mut bytes = Vec::new();
        let first = self.sequence.wrapping_add(1);
        self.append(&mut bytes, message, NLM_F_REQUEST | NLM_F_DUMP);
        self.exchange(&bytes, first, 1).pop().unwrap_or(Err(Errno::EPROTO.into()))
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let start = bytes.len();
        let length = packet.buffer_len();
        bytes.resize(start + length.next_multiple_of(4), 0);
        packet.serialize(&mut bytes[start..start + length]);
    }

    /// Sends a chunk and gathers the answers until each request has its end.
    fn exchange(&mut self, bytes: &[u8], first: u32, count: usize) -> Vec<Reply> {
        let mut replies: Vec<Reply> = (0..count).map(|_| Ok(Vec::new())).collect();
        let mut ended = vec![false; count];
        if let Err(failure) =
            self.send(bytes).and_then(|()| self.gather(first, &mut replies, &mut ended))
        {
            for (reply, ended) in replies.iter_mut().zip(ended) {
                if !ended {
                    *reply = Err(failure.clone());
                }
            }
        }
        replies
    }

    fn send(&self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        loop {
            match self.raw.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io_failure(&error)),
            }
        }
    }

    fn gather(
        &mut self,
        first: u32,
        replies: &mut [Reply],
        ended: &mut [bool],
    ) -> std::result::Result<(), Failure> {
        let mut open = replies.len();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(RECEIVE_BYTES);
        while open > 0 {
            buffer.clear();
            match self.raw.recv(&mut buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io_failure(&error)),
            }
            for packet in Packets(&buffer) {
                let slot = packet.sequence.wrapping_sub(first) as usize;
                let Some(reply) = replies.get_mut(slot).filter(|_| !ended[slot]) else { continue };
                if packet.ends(reply) {
                    ended[slot] = true;
                    open -= 1;
                }
            }
        }
        self.buffer = buffer;
        Ok(())
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("label", &self.label).finish_non_exhaustive()
    }
}

fn io_failure(error: &std::io::Error) -> Failure {
    Failure { errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw), detail: None }
}

/// One message of a datagram.
struct Packet<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    bytes: &'a [u8],
}

impl Packet<'_> {
    /// Adds the message to the reply; true when it is the last one.
    fn ends(&self, reply: &mut Reply) -> bool {
        if self.flags & NLM_F_DUMP_INTR != 0 && reply.is_ok() {
            *reply = Err(Errno::EINTR.into());
        }
        match self.kind {
            NLMSG_ERROR | NLMSG_DONE => {
                let code = read_i32(&self.bytes[HEADER_BYTES..]).unwrap_or(0);
                if code < 0 {
                    let errno = Errno::from_raw(-code);
                    *reply = Err(Failure { errno, detail: self.extended_ack() });
                }
                true
            }
            _ => {
                match NetlinkMessage::<RouteNetlinkMessage>::deserialize(self.bytes) {
                    Ok(message) => {
                        if let (NetlinkPayload::InnerMessage(inner), Ok(list)) =
                            (message.payload, reply)
                        {
                            list.push(inner);
                        }
                    }
                    Err(error) => {
                        *reply =
                            Err(Failure { errno: Errno::EBADMSG, detail: Some(error.to_string()) });
                    }
                }
                false
            }
        }
    }

    /// The kernel's sentence after the error code and the echoed header.
    fn extended_ack(&self) -> Option<String> {
        let mut start = HEADER_BYTES + 4;
        if self.kind == NLMSG_ERROR {
            let echoed = read_i32(self.bytes.get(start..)?)? as usize;
            start += if self.flags & NLM_F_CAPPED != 0 {
                HEADER_BYTES
            } else {
                echoed.next_multiple_of(4)
            };
        }
        NlasIterator::new(self.bytes.get(start..)?)
            .flatten()
            .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)
            .map(|attribute| {
                String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned()
            })
    }
}

/// Walks the messages of a datagram.
struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let length = read_i32(self.0)? as usize;
        if length < HEADER_BYTES || length > self.0.len() {
            return None;
        }
        let bytes = &self.0[..length];
        self.0 = &self.0[length.next_multiple_of(4).min(self.0.len())..];
        Some(Packet {
            kind: u16::from_ne_bytes([bytes[4], bytes[5]]),
            flags: u16::from_ne_bytes([bytes[6], bytes[7]]),
            sequence: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
            bytes,
        })
    }
}

fn read_i32(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?))
}
