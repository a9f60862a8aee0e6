//! What a container is doing, read from the daemon's answer.

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, HealthStatusEnum};
use netloom_runtime::{ContainerState, Health, Status};

/// An answer of `inspect` as a state.
pub(crate) fn of(answer: ContainerInspectResponse) -> ContainerState {
    let state = answer.state.unwrap_or_default();
    let said = state.status.unwrap_or(ContainerStateStatusEnum::EMPTY);
    let started_at = state.started_at.as_deref().and_then(seconds);
    let status = match said {
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::PAUSED => Status::Running,
        ContainerStateStatusEnum::RESTARTING => Status::Restarting,
        ContainerStateStatusEnum::CREATED | ContainerStateStatusEnum::EMPTY => Status::Created,
        _ if state.running == Some(true) => Status::Running,
        _ => Status::Exited,
    };
    let runs = status == Status::Running;
    let mounts = answer.mounts.unwrap_or_default().into_iter();
    let mounts = mounts.filter_map(|m| Some((m.source?, m.destination?))).collect();
    let networks = answer.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let mut addresses = Vec::new();
    for end in networks.into_values() {
        let families = [
            (end.ip_address, end.ip_prefix_len),
            (end.global_ipv6_address, end.global_ipv6_prefix_len),
        ];
        for (address, length) in families {
            if let Some(address) = address.filter(|a| !a.is_empty()) {
                addresses.push(format!("{address}/{}", length.unwrap_or(0)));
            }
        }
    }
    let image = answer.config.as_ref().and_then(|c| c.image.clone()).unwrap_or_default();
    let ran = started_at.is_some();
    ContainerState {
        name: answer.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        id: answer.id.unwrap_or_default(),
        status,
        health: state.health.and_then(|h| h.status).and_then(|status| match status {
            HealthStatusEnum::STARTING => Some(Health::Starting),
            HealthStatusEnum::HEALTHY => Some(Health::Healthy),
            HealthStatusEnum::UNHEALTHY => Some(Health::Unhealthy),
            _ => None,
        }),
        pid: state.pid.and_then(|p| u32::try_from(p).ok()).filter(|p| *p != 0 && runs),
        exit_code: state.exit_code.and_then(|c| i32::try_from(c).ok()).filter(|_| ran && !runs),
        started_at,
        finished_at: state.finished_at.as_deref().and_then(seconds).filter(|_| !runs),
        restarts: answer.restart_count.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        labels: answer
            .config
            .and_then(|c| c.labels)
            .unwrap_or_default()
            .into_iter()
            .filter(|(key, _)| key != crate::create::SPEC)
            .collect(),
        image,
        addresses,
        mounts,
    }
}

/// Seconds since 1970; `None` for the year 1, which stands for "never".
fn seconds(text: &str) -> Option<u64> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?.timestamp();
    u64::try_from(time).ok().filter(|t| *t > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(seconds("1970-01-01T01:00:01.5+01:00"), Some(1));
        assert_eq!(seconds("0001-01-01T00:00:00Z"), None);
        assert_eq!(seconds(""), None);
    }
}
