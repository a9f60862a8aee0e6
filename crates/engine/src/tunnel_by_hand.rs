//! Tunnels made by a command of their own: VXLAN to another machine, joined to an interface of this
//! one. The ledger knows them; they go by command.

use crate::ledger::Ledger;
use crate::{Engine, EngineError};
use netloom_datapath::link::vxlan::{self, VxlanSpec};
use netloom_datapath::{Netns, Socket, link, observe, route, stitch};
use netloom_plan::port_name;
use std::net::IpAddr;

/// A tunnel as a user asks for it.
#[derive(Debug, Clone)]
pub struct HandTunnel {
    /// VXLAN network identifier.
    pub id: u32,
    /// Address of the other machine.
    pub remote: IpAddr,
    /// Interface towards it; the route decides when none is named.
    pub device: Option<String>,
    /// Interface of this machine that is joined to the tunnel.
    pub link: String,
    /// MTU of the tunnel; the kernel's choice when none is named.
    pub mtu: Option<u32>,
    /// UDP port of the other machine.
    pub port: u16,
    /// UDP port of this one; chosen for each flow when none is named.
    pub source_port: Option<u16>,
}

impl Engine {
    /// Makes a tunnel and joins it to an interface; gives the name of its own.
    pub fn add_tunnel(&self, wanted: &HandTunnel) -> Result<String, EngineError> {
        let host = Netns::current()?.with_label("the host");
        let mut socket = Socket::open_in(&host)?;
        link::index(&mut socket, &wanted.link)?;
        let device = match &wanted.device {
            Some(device) => device.clone(),
            None => {
                route::towards(&mut socket, wanted.remote)?.ok_or_else(|| EngineError::Input {
                    what: format!("no route leads to {}", wanted.remote),
                    hint: "name the interface towards it with --dev".into(),
                })?
            }
        };
        let whole = format!("vx-{}", wanted.link);
        let name = match whole.len() <= link::MAX_NAME {
            true => whole.clone(),
            false => port_name("vx-", &[&wanted.link]),
        };
        let mut locked = Ledger::lock(&self.directories, None)?;
        if observe::link(&mut socket, &name)?.is_some() {
            return Err(EngineError::Input {
                what: format!("there is an interface `{name}` already"),
                hint: format!("remove it with: netloom tools vxlan delete --name {name}"),
            });
        }
        locked.ledger.tunnels.insert(name.clone(), wanted.link.clone());
        locked.save()?;
        let mut spec = VxlanSpec::new(&host, name.clone(), wanted.id, wanted.remote);
        spec.device = Some(device);
        spec.mtu = wanted.mtu;
        spec.port = wanted.port;
        spec.source_ports = wanted.source_port.map(|p| (p, p.saturating_add(1)));
        let altnames = if whole == name { Vec::new() } else { vec![whole] };
        let made = vxlan::create(&mut socket, &spec)
            .and_then(|()| link::add_altnames(&mut socket, &name, &altnames))
            .and_then(|()| stitch::ensure(&mut socket, &name, &wanted.link).map(drop));
        if let Err(e) = made {
            link::ensure_absent(&mut socket, &name)?;
            locked.ledger.tunnels.remove(&name);
            locked.save()?;
            return Err(e.into());
        }
        Ok(name)
    }

    /// Removes tunnels, by name or by the beginning of their names; says which. Only those made
    /// here are known.
    pub fn remove_tunnels(&self, meant: impl Fn(&str) -> bool) -> Result<Vec<String>, EngineError> {
        let host = Netns::current()?.with_label("the host");
        let mut socket = Socket::open_in(&host)?;
        let mut locked = Ledger::lock(&self.directories, None)?;
        let known = locked.ledger.tunnels.clone();
        let mut removed = Vec::new();
        for (name, joined) in known.into_iter().filter(|(name, _)| meant(name)) {
            if observe::link(&mut socket, &name)?.is_some() {
                // Only if it is still this tunnel it leads to.
                let index = link::index(&mut socket, &name)?;
                let leads = observe::link(&mut socket, &joined)?.is_some()
                    && stitch::target(&mut socket, &joined)? == Some(index);
                if leads {
                    stitch::remove(&mut socket, &name, &joined)?;
                }
                link::ensure_absent(&mut socket, &name)?;
            }
            locked.ledger.tunnels.remove(&name);
            removed.push(name);
        }
        locked.save()?;
        Ok(removed)
    }
}
