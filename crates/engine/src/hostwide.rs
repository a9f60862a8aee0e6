//! Settings of the host that management networks change, written down before they are changed and
//! put back when the last network goes.

use crate::EngineError;
use crate::ledger::{Ledger, Locked};
use crate::wire::mgmt_spec;
use netloom_datapath::mgmt::MgmtSpec;
use netloom_datapath::mgmt::forward::{self, Entry, Way};
use netloom_datapath::{Netns, Socket, addr, mgmt, sysctl};
use netloom_plan::{NamespaceOf, Network, Objects};
use nix::errno::Errno;
use std::collections::{BTreeSet, HashSet};

/// Makes the network; what it changes of the host is written down before. `quiet` when no other lab
/// is on it. Gives what the user should hear.
pub fn make_network(
    locked: &mut Locked,
    network: &Network,
    quiet: bool,
    publishes: bool,
) -> Result<Vec<String>, EngineError> {
    let host = Netns::current()?;
    let mut spec = mgmt_spec(network)?;
    spec.quiet = quiet;
    note(&host, locked, &spec)?;
    mgmt::ensure(&host, &spec)?;
    // The bridge's own settings are there only now.
    if publishes && spec.foreign {
        note_published(&host, locked, &spec.bridge)?;
    }
    let_through(&host, locked, network)
}

/// Turning these on or off turns others on or off with them, so they are put back first.
const SWITCHES: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

/// Writes down what making a network changes: forwarding with all that hangs on it, and addresses
/// on a bridge that is not ours.
pub fn note(host: &Netns, locked: &mut Locked, spec: &MgmtSpec) -> Result<(), EngineError> {
    if spec.external_access {
        for (v4, key) in [(true, SWITCHES[0]), (false, SWITCHES[1])] {
            let used = spec.gateways.iter().any(|g| g.address.is_ipv4() == v4);
            let before = if used { sysctl::read(host, key)? } else { "1".into() };
            if before.trim() != "1" && !locked.ledger.sysctls.contains_key(key) {
                for key in followers(host, v4)? {
                    // An interface may go at any moment.
                    if let Ok(before) = sysctl::read(host, &key) {
                        locked.ledger.sysctls.entry(key).or_insert(before);
                    }
                }
                locked.ledger.sysctls.insert(key.into(), before);
            }
        }
        locked.save()?;
        keep_learned_routes(host, locked)?;
    }
    if spec.foreign {
        let mut socket = Socket::open_in(host)?;
        let have = addr::list(&mut socket, &spec.bridge)?;
        let new = spec.gateways.iter().filter(|g| have.iter().all(|h| h.cidr != **g));
        let new: Vec<String> = new.map(ToString::to_string).collect();
        let added = locked.ledger.added.entry(spec.bridge.clone()).or_default();
        added.extend(new);
        locked.save()?;
    }
    Ok(())
}

/// Writes down that programs of the host reach published ports by way of its loopback address.
pub fn note_published(host: &Netns, locked: &mut Locked, bridge: &str) -> Result<(), EngineError> {
    let key = route_localnet(bridge);
    let before = sysctl::read(host, &key)?;
    locked.ledger.sysctls.entry(key).or_insert(before);
    locked.save()
}

/// What the kernel changes by itself when forwarding is switched.
fn followers(host: &Netns, v4: bool) -> Result<Vec<String>, EngineError> {
    let family = if v4 { "ipv4" } else { "ipv6" };
    let names = host.run_in(|| -> std::io::Result<Vec<String>> {
        std::fs::read_dir(format!("/proc/sys/net/{family}/conf"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    })??;
    let each = names.into_iter().filter(|name| name != "all");
    let mut out: Vec<String> =
        each.map(|name| format!("{family}/conf/{name}/forwarding")).collect();
    if v4 {
        out.push("ipv4/conf/all/accept_redirects".into());
    }
    Ok(out)
}

/// A host that begins to forward IPv6 forgets what routers told it, unless an interface insists.
/// Interfaces of labs are not asked: nobody there is to tell the host its way.
fn keep_learned_routes(host: &Netns, locked: &mut Locked) -> Result<(), EngineError> {
    let noted = locked.ledger.sysctls.contains_key(SWITCHES[1]);
    if !noted || sysctl::read(host, SWITCHES[1])?.trim() == "1" {
        return Ok(());
    }
    // A bridge that was there before us may be how routers reach the host.
    let networks = locked.ledger.networks.values().filter(|n| !n.foreign_bridge);
    let bridges = networks.flat_map(|n| {
        let further = n.further().into_iter().flat_map(|(bridge, up, down)| [bridge, up, down]);
        std::iter::once(n.bridge.clone()).chain(further)
    });
    let mut others: HashSet<String> = bridges.collect();
    others.extend(locked.ledger.interfaces.keys().cloned());
    others.extend(["default".to_string(), "lo".to_string()]);
    let mut insist = Vec::new();
    for key in followers(host, false)? {
        let name = key.split('/').nth(2).unwrap_or_default();
        let key = key.replace("/forwarding", "/accept_ra");
        // One that has just gone needs nothing.
        if !others.contains(name) && sysctl::read(host, &key).is_ok_and(|now| now.trim() == "1") {
            locked.ledger.sysctls.entry(key.clone()).or_insert_with(|| "1".into());
            insist.push(key);
        }
    }
    locked.save()?;
    for key in insist {
        let done = sysctl::write(host, &key, "2");
        if sysctl::read(host, &key).is_ok() {
            done?;
        }
    }
    Ok(())
}

/// Bridges that programs of the host need no way over any more, as no port of a lab there is
/// published, no longer take what is meant for the loopback address.
pub fn close_loopback(host: &Netns, locked: &mut Locked) -> Result<(), EngineError> {
    let ledger = &locked.ledger;
    let publishing: HashSet<&String> = ledger.ports.values().collect();
    let publishes = |n: &Network| n.users.keys().any(|lab| publishing.contains(lab));
    let networks = ledger.networks.values();
    let open: HashSet<&str> =
        networks.clone().filter(|n| publishes(n)).map(|n| n.bridge.as_str()).collect();
    let shut: Vec<(String, bool)> = networks
        .filter(|n| !open.contains(n.bridge.as_str()))
        .map(|n| (route_localnet(&n.bridge), n.foreign_bridge))
        .collect();
    for (key, foreign) in shut {
        let before = match locked.ledger.sysctls.remove(&key) {
            Some(before) => before,
            // One that was there before us, and that we never touched.
            None if foreign => continue,
            None => "0".into(),
        };
        if sysctl::read(host, &key).is_ok_and(|now| now.trim() == "1" && before.trim() != "1") {
            sysctl::write(host, &key, &before)?;
        }
    }
    Ok(())
}

fn route_localnet(bridge: &str) -> String {
    format!("ipv4/conf/{bridge}/route_localnet")
}

/// Puts everything back that is still as we set it.
pub fn restore(host: &Netns, locked: &mut Locked) -> Result<(), EngineError> {
    let mut settings = std::mem::take(&mut locked.ledger.sysctls);
    for (v4, key) in [(true, SWITCHES[0]), (false, SWITCHES[1])] {
        let Some(before) = settings.remove(key) else { continue };
        if sysctl::read(host, key)?.trim() == "1" {
            sysctl::write(host, key, &before)?;
        } else {
            // Somebody has switched it since, and with it all that follows.
            followers(host, v4)?.into_iter().for_each(|key| drop(settings.remove(&key)));
        }
    }
    for (key, before) in settings {
        let now = sysctl::read(host, &key);
        let ours = |now: &str| match key.rsplit('/').next() {
            Some("accept_ra") => now == "2",
            Some("route_localnet") => now == "1",
            _ => true,
        };
        // An interface that is gone took its settings along.
        if now.is_ok_and(|now| now != before && ours(now.trim())) {
            sysctl::write(host, &key, &before)?;
        }
    }
    Ok(())
}

/// Takes a network's addresses off a bridge that is not ours; those of other networks there stay.
pub fn withdraw(host: &Netns, locked: &mut Locked, spec: &MgmtSpec) -> Result<(), EngineError> {
    let bridge = &spec.bridge;
    let Some(added) = locked.ledger.added.get_mut(bridge) else { return Ok(()) };
    let mut socket = Socket::open_in(host)?;
    for gateway in &spec.gateways {
        if !added.remove(&gateway.to_string()) {
            continue;
        }
        match addr::ensure_absent(&mut socket, bridge, *gateway) {
            Err(e) if !matches!(e.errno(), None | Some(Errno::ENODEV)) => return Err(e.into()),
            _ => {}
        }
    }
    if added.is_empty() {
        locked.ledger.added.remove(bridge);
    }
    Ok(())
}

/// Lets a network through forwarding rules of others that would stop it, or no longer; says what
/// could not be done, as a lab without a way out is a lab still.
pub fn let_through(
    host: &Netns,
    locked: &mut Locked,
    network: &Network,
) -> Result<Vec<String>, EngineError> {
    let way = match network.external_access {
        true => Way::OutAndIn,
        // Bridges filter nothing themselves, unless somebody wants them to (Docker does).
        false if filters_bridges(host) => Way::Within,
        false => {
            stop_letting(host, locked, &network.name)?;
            return Ok(Vec::new());
        }
    };
    let complaint = |e: netloom_datapath::Error| {
        format!(
            "this host may drop what nodes send out of it ({e}); let `{}` through its forwarding \
             rules yourself, or write `external-access: false` under `mgmt`",
            network.bridge
        )
    };
    let chains = match forward::closed(host, Entry::ForUsers) {
        Ok(chains) => chains,
        Err(e) => return Ok(vec![complaint(e)]),
    };
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    let noted = locked.ledger.through.entry(network.name.clone()).or_default();
    noted.extend(chains.iter().map(ToString::to_string));
    locked.save()?;
    let further = network.further();
    let mut bridges = vec![network.bridge.as_str()];
    bridges.extend(further.iter().map(|(bridge, ..)| bridge.as_str()));
    let tried = chains.iter().map(|c| forward::open(host, c, &network.name, &bridges, way));
    Ok(tried.filter_map(Result::err).map(complaint).collect())
}

/// Bridges of the host that links of a lab are on, but for those of management networks.
fn bridges_of<'o>(objects: &'o Objects, ledger: &Ledger) -> BTreeSet<&'o str> {
    let ends = objects.links.iter().flat_map(|l| l.ends());
    ends.filter(|e| e.namespace == NamespaceOf::Host)
        .filter_map(|e| e.master.as_deref())
        .filter(|b| ledger.networks.values().all(|n| n.bridge != **b))
        .collect()
}

/// How rules for a bridge that is no management network's are marked.
fn mark(bridge: &str) -> String {
    format!("bridge..{bridge}")
}

/// Lets bridges that nodes of the file stand for through forwarding rules of others that would stop
/// what goes over them; says what could not be done.
pub fn let_bridges_through(
    locked: &mut Locked,
    lab: &str,
    objects: &Objects,
) -> Result<Vec<String>, EngineError> {
    let bridges = bridges_of(objects, &locked.ledger);
    if bridges.is_empty() {
        return Ok(Vec::new());
    }
    let host = Netns::current()?;
    let complaint = |bridge: &str, e: netloom_datapath::Error| {
        format!("this host may drop what goes over bridge {bridge} ({e}); let it through yourself")
    };
    let chains = match forward::closed(&host, Entry::First) {
        Ok(chains) => chains,
        Err(e) => return Ok(bridges.iter().map(|b| complaint(b, e.clone())).collect()),
    };
    if chains.is_empty() {
        return Ok(Vec::new());
    }
    for bridge in &bridges {
        locked.ledger.bridges.entry((*bridge).into()).or_default().insert(lab.into());
        let noted = locked.ledger.through.entry(mark(bridge)).or_default();
        noted.extend(chains.iter().map(ToString::to_string));
    }
    locked.save()?;
    let mut complaints = Vec::new();
    for bridge in bridges {
        for chain in &chains {
            if let Err(e) = forward::open(&host, chain, &mark(bridge), &[bridge], Way::OutAndIn) {
                complaints.push(complaint(bridge, e));
            }
        }
    }
    Ok(complaints)
}

/// Takes the rules for bridges back that no lab has links on any more; `left` is what this one has.
pub fn leave_bridges(
    host: &Netns,
    locked: &mut Locked,
    lab: &str,
    left: &Objects,
) -> Result<(), EngineError> {
    let mut free = Vec::new();
    let still: BTreeSet<String> =
        bridges_of(left, &locked.ledger).into_iter().map(str::to_owned).collect();
    for (bridge, labs) in &mut locked.ledger.bridges {
        if !still.contains(bridge) && labs.remove(lab) && labs.is_empty() {
            free.push(bridge.clone());
        }
    }
    for bridge in free {
        stop_letting(host, locked, &mark(&bridge))?;
        locked.ledger.bridges.remove(&bridge);
    }
    Ok(())
}

/// Whether what crosses a bridge goes through the host's forwarding rules.
fn filters_bridges(host: &Netns) -> bool {
    let on = |key| sysctl::read(host, key).is_ok_and(|value| value.trim() == "1");
    on("bridge/bridge-nf-call-iptables") || on("bridge/bridge-nf-call-ip6tables")
}

/// Takes the rules back that let a network through.
pub fn stop_letting(host: &Netns, locked: &mut Locked, network: &str) -> Result<(), EngineError> {
    for chain in locked.ledger.through.get(network).cloned().unwrap_or_default() {
        forward::close(host, &chain.parse()?, network)?;
    }
    locked.ledger.through.remove(network);
    Ok(())
}
