//! `netloom tools vxlan`.

use crate::context;
use crate::standin::info;
use anyhow::{Result, anyhow};
use netloom_engine::{EngineError, HandTunnel};
use std::net::{IpAddr, ToSocketAddrs};

/// What is done.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Make a tunnel to another machine and join it to an interface of this one.
    Create(Create),
    /// Remove tunnels that were made so.
    Delete(Delete),
}

/// Flags of `create`.
#[derive(clap::Args, Debug)]
pub struct Create {
    /// VXLAN network identifier.
    #[arg(short, long, default_value_t = 10, env = "CLAB_TOOLS_VXLAN_CREATE_ID", value_parser = clap::value_parser!(u32).range(1..=0xff_ffff))]
    id: u32,
    /// The other machine: address or name.
    #[arg(long, env = "CLAB_TOOLS_VXLAN_CREATE_REMOTE")]
    remote: String,
    /// Interface towards it; the route decides without.
    #[arg(long, env = "CLAB_TOOLS_VXLAN_CREATE_DEV")]
    dev: Option<String>,
    /// Interface of this machine that is joined to the tunnel.
    #[arg(short, long, env = "CLAB_TOOLS_VXLAN_CREATE_LINK")]
    link: String,
    /// MTU of the tunnel; what fits into that interface without.
    #[arg(short, long, env = "CLAB_TOOLS_VXLAN_CREATE_MTU")]
    mtu: Option<u32>,
    /// UDP port of the other machine.
    #[arg(
        short = 'p',
        long,
        default_value_t = 14789,
        visible_alias = "port",
        env = "CLAB_TOOLS_VXLAN_CREATE_DST_PORT"
    )]
    dst_port: u16,
    /// UDP port of this one; one for each flow without.
    #[arg(short = 's', long, env = "CLAB_TOOLS_VXLAN_CREATE_SRC_PORT")]
    src_port: Option<u16>,
}

/// Flags of `delete`.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
pub struct Delete {
    /// All whose names begin so.
    #[arg(short, long, env = "CLAB_TOOLS_VXLAN_DELETE_PREFIX", num_args = 0..=1, default_missing_value = "vx-")]
    prefix: Option<String>,
    /// The one of this name.
    #[arg(id = "name", short = 'n', long = "name", env = "CLAB_TOOLS_VXLAN_DELETE_NAME")]
    tunnel: Option<String>,
}

/// Makes or removes tunnels.
pub fn run(verb: Verb) -> Result<u8> {
    let engine = context::engine()?;
    match verb {
        Verb::Create(a) => {
            let made = engine.add_tunnel(&HandTunnel {
                id: a.id,
                remote: address(&a.remote)?,
                device: a.dev,
                link: a.link.clone(),
                mtu: a.mtu.filter(|m| *m > 0),
                port: a.dst_port,
                source_port: a.src_port.filter(|p| *p > 0),
            })?;
            info(
                &format!("Created VxLAN link {made}"),
                &[("link", &a.link), ("remote", &a.remote)],
            );
        }
        Verb::Delete(a) => {
            let removed = engine.remove_tunnels(|name| match (&a.prefix, &a.tunnel) {
                (Some(prefix), _) => name.starts_with(prefix),
                (_, Some(own)) => name == own,
                _ => false,
            })?;
            if let (true, Some(name)) = (removed.is_empty(), &a.tunnel) {
                let what = format!("no tunnel `{name}` was made here");
                let hint = "`ip -d link show type vxlan` shows what else there is".into();
                return Err(EngineError::Input { what, hint }.into());
            }
            for name in removed {
                info(&format!("Deleted VxLAN link {name}"), &[]);
            }
        }
    }
    Ok(0)
}

fn address(text: &str) -> Result<IpAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let found = (text, 0).to_socket_addrs().ok().and_then(|mut list| list.next());
    found.map(|a| a.ip()).ok_or_else(|| anyhow!("`{text}` is neither an address nor a known name"))
}
