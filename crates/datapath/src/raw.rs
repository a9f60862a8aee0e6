//! Netlink messages as bytes: what one namespace says is said to another one with another index,
//! and nothing that this program does not know is lost on the way.

use crate::error::{Error, Result};
use crate::netns::Netns;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;

const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// An attribute: its number and its bytes.
pub(crate) type Attribute = (u16, Vec<u8>);

/// The number of an attribute without the two bits that say how it is written.
pub(crate) fn number(kind: u16) -> u16 {
    kind & 0x3fff
}

/// A message: the fixed part and the attributes.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub fixed: Vec<u8>,
    pub attributes: Vec<Attribute>,
}

impl Message {
    /// From what stands behind the header; `fixed` bytes are not attributes.
    pub fn parse(bytes: &[u8], fixed: usize) -> Option<Self> {
        let mut rest = bytes.get(fixed.next_multiple_of(4)..)?;
        let mut attributes = Vec::new();
        while rest.len() >= 4 {
            let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            attributes
                .push((u16::from_ne_bytes([rest[2], rest[3]]), rest.get(4..length)?.to_vec()));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(Message { fixed: bytes[..fixed].to_vec(), attributes })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.fixed.clone();
        out.resize(out.len().next_multiple_of(4), 0);
        for (kind, value) in &self.attributes {
            out.extend(((value.len() + 4) as u16).to_ne_bytes());
            out.extend(kind.to_ne_bytes());
            out.extend(value);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    /// The bytes of an attribute.
    pub fn get(&self, kind: u16) -> Option<&[u8]> {
        self.attributes.iter().find(|(k, _)| number(*k) == kind).map(|(_, v)| v.as_slice())
    }

    /// An attribute that is a number.
    pub fn number(&self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|v| v.try_into().ok()).map(u32::from_ne_bytes)
    }

    /// Sets an attribute that is a number.
    pub fn set(&mut self, kind: u16, value: u32) {
        self.attributes.retain(|(k, _)| number(*k) != kind);
        self.attributes.push((kind, value.to_ne_bytes().to_vec()));
    }

    /// A number of the fixed part.
    pub fn fixed_number(&self, at: usize) -> u32 {
        let bytes = self.fixed.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }

    /// Sets a number of the fixed part.
    pub fn set_fixed(&mut self, at: usize, value: u32) {
        if let Some(place) = self.fixed.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
    }
}

/// A socket for such messages.
pub(crate) struct Raw {
    socket: Socket,
    sequence: u32,
    label: String,
}

impl Raw {
    pub fn open_in(netns: &Netns) -> Result<Self> {
        let open = || {
            let fail = |e: std::io::Error| Error::io("open", "a netlink socket", &e);
            let mut socket = Socket::new(NETLINK_ROUTE).map_err(fail)?;
            socket.bind_auto().map_err(fail)?;
            socket.connect(&SocketAddr::new(0, 0)).map_err(fail)?;
            Ok(socket)
        };
        let socket: Socket = netns.run_in(open)??;
        Ok(Raw { socket, sequence: 0, label: netns.label().to_owned() })
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> std::result::Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend(self.sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(body);
        self.socket.send(&bytes, 0).map(drop).map_err(|e| errno(&e))
    }

    /// Reads until the end of an answer, or its first refusal.
    fn gather(&mut self, fixed: usize) -> std::result::Result<Vec<Message>, Errno> {
        let mut out = Vec::new();
        loop {
            let (bytes, _) = self.socket.recv_from_full().map_err(|e| errno(&e))?;
            let mut rest = bytes.as_slice();
            while rest.len() >= HEADER {
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                let Some(packet) = rest.get(..length).filter(|_| length >= HEADER) else { break };
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                let sequence = u32::from_ne_bytes([packet[8], packet[9], packet[10], packet[11]]);
                if sequence != self.sequence {
                    continue;
                }
                let body = &packet[HEADER..];
                match u16::from_ne_bytes([packet[4], packet[5]]) {
                    ERROR | DONE => {
                        let code = body.get(..4).and_then(|b| b.try_into().ok());
                        return match code.map_or(0, i32::from_ne_bytes) {
                            0 => Ok(out),
                            code => Err(Errno::from_raw(-code)),
                        };
                    }
                    _ => out.extend(Message::parse(body, fixed)),
                }
            }
        }
    }

    /// Everything of one kind; `request` is the fixed part of the question.
    pub fn dump(&mut self, kind: u16, request: &[u8], fixed: usize) -> Result<Vec<Message>> {
        let mut round = 0;
        loop {
            let answer = self.send(kind, NLM_F_DUMP, request).and_then(|()| self.gather(fixed));
            match answer {
                // Somebody changed something meanwhile.
                Err(Errno::EINTR) if round < 20 => round += 1,
                Err(e) => return Err(Error::kernel("list", &self.label, e)),
                Ok(list) => return Ok(list),
            }
        }
    }

    /// Says something; the errno of a refusal.
    pub fn say(
        &mut self,
        kind: u16,
        flags: u16,
        message: &Message,
    ) -> std::result::Result<(), Errno> {
        self.send(kind, NLM_F_ACK | flags, &message.bytes())?;
        self.gather(0).map(drop)
    }
}

fn errno(e: &std::io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_what_they_are_made_of() {
        let mut message =
            Message { fixed: vec![1, 2, 3, 4, 5, 0, 0, 0], attributes: vec![(7, vec![9])] };
        message.set(3, 77);
        message.set(3, 78);
        let again = Message::parse(&message.bytes(), 8).unwrap();
        assert_eq!(
            (again.number(3), again.get(7), again.fixed_number(4)),
            (Some(78), Some(&[9u8][..]), 5)
        );
        message.set_fixed(4, 6);
        assert_eq!(message.fixed_number(4), 6);
        assert!(Message::parse(&[0; 3], 8).is_none());
        // A length that leads out of the message.
        assert!(Message::parse(&[200, 0, 1, 0], 0).is_none());
    }
}
