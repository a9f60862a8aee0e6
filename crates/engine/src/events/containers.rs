//! Containers: daemons tell, the embedded runtime is looked at.

use super::{Happening, Records, Run, Running};
use crate::Engine;
use crate::record::LabRecord;
use crate::runtimes::LAB_LABEL;
use netloom_plan::Runs;
use netloom_runtime::{ContainerState, Status};
use netloom_runtime_docker::{Happened, Which};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How long what a daemon had is taken for what it has, when it tells nothing.
const STALE: Duration = Duration::from_secs(5);
/// How long a daemon that does not answer is left alone.
const AGAIN: Duration = Duration::from_millis(500);

/// What is known of containers.
pub struct Containers {
    told: Receiver<Happened>,
    sender: Sender<Happened>,
    listening: BTreeSet<(&'static str, PathBuf)>,
    states: HashMap<String, ContainerState>,
    /// What daemons had when they last told anything, by lab.
    listed: HashMap<(String, Runs), (Instant, Vec<ContainerState>)>,
}

impl Containers {
    /// Begins to listen to the usual daemons, where there are any, and to those labs are with.
    pub fn listen(engine: &Engine, records: &Records) -> Self {
        let (sender, told) = channel();
        let mut out = Containers {
            told,
            sender,
            listening: BTreeSet::new(),
            states: HashMap::new(),
            listed: HashMap::new(),
        };
        for runs in [Runs::Docker, Runs::Podman] {
            if let Ok(socket) = engine.daemons.socket(runs)
                && socket.exists()
            {
                out.listen_to(engine, runs, socket);
            }
        }
        out.listen_to_all(engine, records);
        out
    }

    fn listen_to_all(&mut self, engine: &Engine, records: &Records) {
        let sockets: Vec<_> =
            records.all().flat_map(|r| r.sockets.iter().map(|(k, v)| (*k, v.clone()))).collect();
        for (runs, socket) in sockets {
            self.listen_to(engine, runs, socket);
        }
    }

    fn listen_to(&mut self, engine: &Engine, runs: Runs, socket: PathBuf) {
        if !self.listening.insert((runs.program(), socket.clone())) {
            return;
        }
        let (engine, sender) = (engine.clone(), self.sender.clone());
        let (ready, wait) = channel::<()>();
        std::thread::spawn(move || {
            let mut ready = Some(ready);
            loop {
                if let Ok(daemon) = engine.daemons.anew(runs, &socket) {
                    let listening = || drop(ready.take());
                    let told = |happened| sender.send(happened).is_ok();
                    // One that went away may come back.
                    let _ = daemon.watch(Which::Label(LAB_LABEL), listening, told);
                }
                drop(ready.take());
                std::thread::sleep(AGAIN);
            }
        });
        // Nothing that happens from now on is missed.
        let _ = wait.recv_timeout(AGAIN * 4);
    }

    /// Tells what has happened since the last look; gives what runs.
    pub fn look(
        &mut self,
        engine: &Engine,
        records: &Records,
        first: bool,
        initial: bool,
        out: &mut Vec<Happening>,
    ) -> Running {
        self.listen_to_all(engine, records);
        while let Ok(happened) = self.told.try_recv() {
            self.listed.clear();
            let mut attributes = happened.attributes;
            attributes.insert("id".into(), happened.id.clone());
            let told =
                Happening::of_container(&happened.action, &happened.id, &happened.name, attributes);
            out.push(Happening { time: happened.time, ..told });
        }
        let mut states = HashMap::new();
        let mut running = Running::new();
        for record in records.all() {
            let Ok(Some(runtimes)) = engine.runtimes(record) else { continue };
            let names: HashMap<&str, &String> =
                record.nodes.iter().map(|(short, n)| (n.long_name.as_str(), short)).collect();
            for runs in record.runtimes() {
                // Daemons look at each container, and tell when something happens.
                let key = (record.name.clone(), runs);
                let known = self.listed.get(&key).filter(|(when, _)| when.elapsed() < STALE);
                let list = match known.filter(|_| runs != Runs::Native) {
                    Some((_, list)) => list.clone(),
                    None => {
                        let list = runtimes.of(runs).and_then(|r| Ok(r.list()?));
                        let Ok(list) = list else { continue };
                        if runs != Runs::Native {
                            self.listed.insert(key, (Instant::now(), list.clone()));
                        }
                        list
                    }
                };
                for state in list {
                    let Some(short) = names.get(state.name.as_str()) else { continue };
                    if let Some(pid) = state.pid {
                        let run = Run {
                            lab: record.name.clone(),
                            node: (*short).clone(),
                            id: state.id.clone(),
                            pid,
                            started: state.started_at,
                        };
                        running.insert(state.name.clone(), run);
                    }
                    if first && initial {
                        let attributes = described(record, short, &state, "snapshot");
                        let action = state.status.word();
                        out.push(Happening::of_container(
                            action,
                            &state.id,
                            &state.name,
                            attributes,
                        ));
                    }
                    if runs == Runs::Native {
                        if !first {
                            self.compare(record, short, &state, out);
                        }
                        states.insert(state.name.clone(), state);
                    }
                }
            }
        }
        for (name, gone) in self.states.iter().filter(|(name, _)| !states.contains_key(*name)) {
            for action in ["die", "destroy"] {
                if action == "destroy" || gone.status == Status::Running {
                    let attributes = labelled(gone);
                    out.push(Happening::of_container(action, &gone.id, name, attributes));
                }
            }
        }
        self.states = states;
        running
    }

    /// What a container of the embedded runtime went through since it was last looked at.
    fn compare(
        &self,
        record: &LabRecord,
        node: &str,
        now: &ContainerState,
        out: &mut Vec<Happening>,
    ) {
        let before = self.states.get(&now.name).filter(|b| b.id == now.id);
        let mut tell = |action: &str| {
            let attributes = described(record, node, now, "");
            out.push(Happening::of_container(action, &now.id, &now.name, attributes));
        };
        if before.is_none() {
            tell("create");
        }
        let was = before.and_then(|b| b.pid);
        if was.is_some() && was != now.pid {
            tell("die");
        }
        if now.pid.is_some() && was != now.pid {
            tell("start");
        }
        if let Some(health) = now.health
            && before.and_then(|b| b.health) != Some(health)
        {
            tell(&format!("health_status: {}", health.word()));
        }
    }
}

fn labelled(state: &ContainerState) -> BTreeMap<String, String> {
    let mut out = state.labels.clone();
    out.insert("id".into(), state.id.clone());
    out.insert("name".into(), state.name.clone());
    out
}

fn described(
    record: &LabRecord,
    node: &str,
    state: &ContainerState,
    origin: &str,
) -> BTreeMap<String, String> {
    let mut out = labelled(state);
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            out.insert(key.into(), value);
        }
    };
    put("image", record.nodes.get(node).map(|n| n.image.clone()));
    put("origin", Some(origin.to_owned()));
    if state.pid.is_none() {
        put("exitCode", state.exit_code.map(|c| c.to_string()));
    }
    if origin.is_empty() {
        return out;
    }
    put("state", Some(state.status.word().to_owned()));
    let place = record.objects.nodes.iter().find(|o| o.name == node);
    let leg = place.and_then(|p| p.mgmt.as_ref());
    let address = |v4: bool| {
        leg.and_then(|l| l.addresses.iter().find(|a| a.addr().is_ipv4() == v4))
            .map(ToString::to_string)
    };
    put("mgmt_ipv4", address(true));
    put("mgmt_ipv6", address(false));
    put("network", leg.and_then(|_| record.networks.iter().next().cloned()));
    let ports = place.map(|p| p.ports.as_slice()).unwrap_or_default().iter();
    let ports: Vec<String> =
        ports.map(|p| format!("{}->{}/{}", p.host_port, p.port, p.protocol)).collect();
    put("ports", Some(ports.join(", ")));
    out
}
