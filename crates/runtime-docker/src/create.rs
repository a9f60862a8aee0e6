//! A specification as the API takes it.

use crate::daemon::Daemon;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig,
    HostConfig, HostConfigCgroupnsModeEnum, NetworkingConfig, PortBinding, ResourcesUlimits,
    RestartPolicy as ApiRestart, RestartPolicyNameEnum,
};
use netloom_runtime::{
    CgroupNs, ContainerSpec, Leg, NetworkNs, PidNs, RestartPolicy, Rootfs, RuntimeError, Stdio,
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::Duration;

/// Label that says what a container was made from.
pub(crate) const SPEC: &str = "netloom-spec";

/// What a container was made from, as one number.
pub(crate) fn digest(spec: &ContainerSpec) -> Result<String, RuntimeError> {
    let text = serde_json::to_vec(spec).map_err(|e| RuntimeError::Remote(e.to_string()))?;
    let sum = Sha256::digest(text);
    Ok(sum.iter().take(16).map(|b| format!("{b:02x}")).collect())
}

/// The request that makes a container.
pub(crate) fn body(
    daemon: &Daemon,
    spec: &ContainerSpec,
) -> Result<ContainerCreateBody, RuntimeError> {
    let Rootfs::Image { reference, entrypoint } = &spec.rootfs else {
        return Err(RuntimeError::Unsupported {
            what: format!("container `{}`", spec.name),
            why: format!("{} takes images, not directories", daemon.program.title()),
        });
    };
    let tty = spec.stdio == Stdio::Tty;
    let mut labels: HashMap<String, String> = spec.labels.clone().into_iter().collect();
    labels.insert(SPEC.into(), digest(spec)?);
    let leg = match &spec.network {
        NetworkNs::Leg(leg) => Some(leg),
        _ => None,
    };
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    // The namespace's owner gives the host name where it is shared.
    let shared = matches!(spec.network, NetworkNs::Container(_));
    Ok(ContainerCreateBody {
        hostname: some(&spec.hostname).filter(|_| !shared),
        image: Some(reference.clone()),
        entrypoint: entrypoint.clone(),
        cmd: (!spec.argv.is_empty()).then(|| spec.argv.clone()),
        env: Some(spec.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        working_dir: some(&spec.cwd),
        user: some(&spec.user),
        tty: Some(tty),
        open_stdin: Some(tty),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(labels),
        stop_signal: (spec.stop_signal != 0).then(|| spec.stop_signal.to_string()),
        stop_timeout: i64::try_from(spec.stop_grace.as_secs()).ok(),
        healthcheck: spec.healthcheck.as_ref().map(|h| HealthConfig {
            test: Some(match h.argv.as_slice() {
                [] => vec!["NONE".to_owned()],
                // As whoever reads the container's configuration knows it.
                [shell, c, line] if shell == "/bin/sh" && c == "-c" => {
                    vec!["CMD-SHELL".to_owned(), line.clone()]
                }
                argv => std::iter::once("CMD".to_owned()).chain(argv.iter().cloned()).collect(),
            }),
            interval: Some(nanoseconds(h.interval)),
            timeout: Some(nanoseconds(h.timeout)),
            retries: Some(i64::from(h.retries)),
            start_period: Some(nanoseconds(h.start_period)),
            start_interval: None,
        }),
        exposed_ports: leg
            .map(|l| l.ports.iter().map(|p| format!("{}/{}", p.port, p.protocol)).collect()),
        host_config: Some(host(spec, leg.map(AsRef::as_ref))),
        volumes: Some(
            spec.binds
                .iter()
                .filter(|b| b.source.as_os_str().is_empty())
                .map(|b| b.target.display().to_string())
                .collect::<Vec<_>>(),
        )
        .filter(|volumes| !volumes.is_empty()),
        networking_config: leg.map(|leg| networking(leg)),
        ..ContainerCreateBody::default()
    })
}

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn host(spec: &ContainerSpec, leg: Option<&Leg>) -> HostConfig {
    let list = |items: &[String]| (!items.is_empty()).then(|| items.to_vec());
    HostConfig {
        network_mode: Some(match &spec.network {
            NetworkNs::Leg(leg) => leg.network.clone(),
            NetworkNs::Bare => "none".into(),
            NetworkNs::Host => "host".into(),
            NetworkNs::Container(name) => format!("container:{name}"),
            NetworkNs::Path(path) => format!("ns:{}", path.display()),
            NetworkNs::Kept(name) => format!("ns:{name}"),
        }),
        pid_mode: match &spec.pid {
            PidNs::Private => None,
            PidNs::Host => Some("host".into()),
            PidNs::Container(name) => Some(format!("container:{name}")),
        },
        cgroupns_mode: spec.cgroupns.map(|mode| match mode {
            CgroupNs::Private => HostConfigCgroupnsModeEnum::PRIVATE,
            CgroupNs::Host => HostConfigCgroupnsModeEnum::HOST,
        }),
        cgroup_parent: spec.cgroup_parent.clone(),
        binds: Some(
            spec.binds
                .iter()
                .filter(|b| !b.source.as_os_str().is_empty())
                .map(|b| {
                    let place = format!("{}:{}", b.source.display(), b.target.display());
                    if b.mode().is_empty() { place } else { format!("{place}:{}", b.mode()) }
                })
                .collect::<Vec<_>>(),
        )
        .filter(|binds| !binds.is_empty()),
        tmpfs: (!spec.tmpfs.is_empty()).then(|| {
            let each = spec.tmpfs.iter();
            each.map(|t| (t.target.display().to_string(), t.options.clone())).collect()
        }),
        devices: (!spec.devices.is_empty()).then(|| {
            let each = spec.devices.iter().map(|d| DeviceMapping {
                path_on_host: Some(d.source.display().to_string()),
                path_in_container: Some(d.target.display().to_string()),
                cgroup_permissions: Some(d.permissions.clone()),
            });
            each.collect()
        }),
        shm_size: i64::try_from(spec.shm_size).ok(),
        sysctls: (!spec.sysctls.is_empty()).then(|| spec.sysctls.clone().into_iter().collect()),
        ulimits: (!spec.ulimits.is_empty()).then(|| {
            let each = spec.ulimits.iter().map(|u| ResourcesUlimits {
                name: Some(u.name.clone()),
                soft: i64::try_from(u.soft).ok(),
                hard: i64::try_from(u.hard).ok(),
            });
            each.collect()
        }),
        privileged: Some(spec.privileged),
        cap_add: list(&capabilities(&spec.cap_add)),
        cap_drop: list(&capabilities(&spec.cap_drop)),
        security_opt: list(&spec.security_opts),
        // A tenth of a second is the period everybody uses.
        cpu_period: spec.resources.cpus.map(|_| PERIOD),
        cpu_quota: spec.resources.cpus.map(|cpus| (cpus * PERIOD as f64) as i64),
        cpuset_cpus: spec.resources.cpuset.clone(),
        memory: spec.resources.memory.and_then(|m| i64::try_from(m).ok()),
        pids_limit: spec.resources.pids.and_then(|p| i64::try_from(p).ok()),
        // One that goes when it ends cannot be started again.
        restart_policy: restart(spec.restart).filter(|_| !spec.auto_remove),
        auto_remove: Some(spec.auto_remove),
        port_bindings: leg.filter(|l| !l.ports.is_empty()).map(bindings),
        dns: list(&spec.names.dns_servers),
        dns_search: list(&spec.names.dns_search),
        dns_options: list(&spec.names.dns_options),
        extra_hosts: list(&spec.names.hosts),
        ..HostConfig::default()
    }
}

/// By their full names, as every version takes them.
fn capabilities(names: &[String]) -> Vec<String> {
    let full = |name: &String| match name.to_ascii_uppercase() {
        name if name == "ALL" || name.starts_with("CAP_") => name,
        name => format!("CAP_{name}"),
    };
    names.iter().map(full).collect()
}

/// Microseconds.
const PERIOD: i64 = 100_000;

fn bindings(leg: &Leg) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut out: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &leg.ports {
        let binding = PortBinding {
            host_ip: port.host.map(|h| h.to_string()),
            host_port: Some(port.host_port.to_string()),
        };
        let list = out.entry(format!("{}/{}", port.port, port.protocol)).or_default();
        list.get_or_insert_default().push(binding);
    }
    out
}

fn restart(policy: RestartPolicy) -> Option<ApiRestart> {
    let (name, count) = match policy {
        RestartPolicy::No => return None,
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        RestartPolicy::OnFailure(count) => (RestartPolicyNameEnum::ON_FAILURE, count),
    };
    Some(ApiRestart { name: Some(name), maximum_retry_count: count.map(i64::from) })
}

fn networking(leg: &Leg) -> NetworkingConfig {
    let settings = EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: leg.ipv4.map(|a| a.to_string()),
            ipv6_address: leg.ipv6.map(|a| a.to_string()),
            link_local_ips: None,
        }),
        aliases: (!leg.aliases.is_empty()).then(|| leg.aliases.clone()),
        ..EndpointSettings::default()
    };
    NetworkingConfig { endpoints_config: Some(HashMap::from([(leg.network.clone(), settings)])) }
}
