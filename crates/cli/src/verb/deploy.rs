//! `netloom deploy`.

use super::planned;
use crate::exit::{self, Invalid};
use crate::progress::Progress;
use crate::say::{say, say_text, show};
use crate::standin::{self, Level, stands_in};
use crate::{Global, context, interrupt, output};
use anyhow::{Context, Result};
use netloom_diag::{Diagnostics, render};
use netloom_engine::{DeployOptions, DestroyOptions, EngineError, LabRecord};
use netloom_topology::Overrides;
use std::time::Instant;

/// Flags of `deploy`.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Print what would be done, and do nothing.
    #[arg(long, env = "CLAB_DEPLOY_DRY_RUN")]
    dry_run: bool,
    /// Form of the summary.
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"], env = "CLAB_DEPLOY_FORMAT")]
    format: String,
    /// Unmake a running lab of this name first, its directory too.
    #[arg(short = 'c', long, env = "CLAB_DEPLOY_RECONFIGURE")]
    reconfigure: bool,
    /// Most nodes started at once; 0 chooses.
    #[arg(
        long,
        default_value_t = 0,
        allow_negative_numbers = true,
        env = "CLAB_DEPLOY_MAX_WORKERS"
    )]
    max_workers: usize,
    /// Only these nodes, and links between them.
    #[arg(long, value_delimiter = ',', env = "CLAB_DEPLOY_NODE_FILTER")]
    node_filter: Vec<String>,
    /// Owner of the lab, in its labels.
    #[arg(long, env = "CLAB_DEPLOY_OWNER")]
    owner: Option<String>,
    /// Leave out the steps a kind has for a started node.
    #[arg(long, env = "CLAB_DEPLOY_SKIP_POST_DEPLOY")]
    skip_post_deploy: bool,
    /// Write the file as it is after templates and variables.
    #[arg(long, value_name = "FILE", env = "CLAB_DEPLOY_EXPORT_RENDERED")]
    export_rendered: Option<std::path::PathBuf>,
    /// Set no access lists on the lab directory (accepted for compatibility; none are set).
    #[arg(long, env = "CLAB_DEPLOY_SKIP_LABDIR_ACL")]
    skip_labdir_acl: bool,
    /// Draw the lab for Graphviz into its directory.
    #[arg(short, long, env = "CLAB_DEPLOY_GRAPH")]
    graph: bool,
    /// Keep what was made when something fails, to look at it.
    #[arg(long)]
    keep_failed: bool,
    /// Name of the management network.
    #[arg(long, env = "CLAB_DEPLOY_NETWORK")]
    network: Option<String>,
    /// IPv4 subnet of the management network.
    #[arg(short = '4', long, env = "CLAB_DEPLOY_IPV4_SUBNET")]
    ipv4_subnet: Option<String>,
    /// IPv6 subnet of the management network.
    #[arg(short = '6', long, env = "CLAB_DEPLOY_IPV6_SUBNET")]
    ipv6_subnet: Option<String>,
}

impl Arguments {
    /// Those that make a lab anew.
    pub fn anew(
        max_workers: usize,
        owner: Option<String>,
        rendered: Option<std::path::PathBuf>,
    ) -> Self {
        Arguments {
            reconfigure: true,
            max_workers,
            owner,
            export_rendered: rendered,
            format: "table".into(),
            dry_run: false,
            node_filter: Vec::new(),
            skip_post_deploy: false,
            skip_labdir_acl: false,
            graph: false,
            keep_failed: false,
            network: None,
            ipv4_subnet: None,
            ipv6_subnet: None,
        }
    }

    /// What of these stands above the file.
    pub fn overrides(&self) -> Overrides {
        Overrides {
            network: self.network.clone(),
            ipv4_subnet: self.ipv4_subnet.clone(),
            ipv6_subnet: self.ipv6_subnet.clone(),
            owner: self.owner.clone(),
            ..Overrides::default()
        }
    }

    /// Whether the lab directory goes too.
    pub fn cleans(&self) -> bool {
        self.reconfigure
    }
}

/// Deploys.
pub fn run(global: &Global, a: Arguments) -> Result<u8> {
    let remake = a.reconfigure.then(|| DestroyOptions { cleanup: true, ..Default::default() });
    deploy(global, a, remake)
}

/// Deploys; a lab that runs is unmade first where `remake` says how.
pub fn deploy(global: &Global, a: Arguments, remake: Option<DestroyOptions>) -> Result<u8> {
    let since = Instant::now();
    let resolved = context::resolved(global, a.overrides())?;
    if let Some(path) = &a.export_rendered {
        let text = &resolved.rendered;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let (lab, sources) = context::sound(resolved, global)?;
    if let Some(unknown) = a.node_filter.iter().find(|n| lab.node(n).is_none()) {
        return Err(EngineError::NoNode { lab: lab.name, node: unknown.clone() }.into());
    }
    let engine = context::engine()?;
    let options = DeployOptions {
        max_workers: a.max_workers,
        node_filter: a.node_filter,
        keep_failed: a.keep_failed,
        remake: remake.clone(),
        timeout: global.timeout,
        home: context::home(),
        environment: context::environment().into(),
        look: a.dry_run,
        skip_post_deploy: a.skip_post_deploy,
        interrupted: interrupt::wanted,
    };
    if a.dry_run {
        let mut found = Diagnostics::default();
        let planned = engine.plan(&lab, &options, &mut found)?;
        if found.has_errors() {
            return Err(Invalid { sources, found }.into());
        }
        if !found.is_empty() {
            say_text(&render(&sources, &found, false));
        }
        let known = LabRecord::load(&engine.directories, &lab.name)?.is_some();
        planned::show(&planned, &lab.name, known, a.format == "json")?;
        return Ok(0);
    }
    interrupt::listen()?;
    let known = LabRecord::load(&engine.directories, &lab.name)?.is_some();
    if stands_in()
        && let Err(e) = standin::back_up(&lab.topology_file)
    {
        standin::record(
            Level::Warn,
            "no copy of the topology file was kept",
            &[("err", &e.to_string())],
        );
    }
    let progress = Progress::new(global.plain).with_sources(sources.clone());
    let changes = match stands_in() && known && a.format != "json" && remake.is_none() {
        true => engine.plan(&lab, &options, &mut Diagnostics::default()).ok(),
        false => None,
    };
    let done = match engine.deploy(&lab, &options, &progress) {
        Err(EngineError::Refused(found)) => return Err(Invalid { sources, found }.into()),
        other => other?,
    };
    let record = LabRecord::load(&engine.directories, &lab.name)?
        .ok_or_else(|| EngineError::NoLab(lab.name.clone()))?;
    let mut rows = engine.nodes(&record, super::inspect::now())?;
    if stands_in() {
        rows = super::inspect::as_there(rows, false);
    }
    if let Some(changes) = changes {
        show!("{}", planned::summary(&changes, &lab.name));
    }
    match a.format.as_str() {
        "json" => output::json(&output::node_json(&rows))?,
        _ => show!("{}", output::node_table(&rows, output::Columns::default())),
    }
    if a.graph {
        super::graph::draw(&lab)?;
    }
    if stands_in() && known {
        standin::info("Apply summary", &[]);
    }
    let time = since.elapsed().as_secs_f64();
    match (done.nodes, done.links, done.removed + done.healed) {
        (0, 0, 0) => say!("lab {} is as its file says", lab.name),
        (n, l, _) => say!("lab {}: {n} nodes and {l} links made in {time:.2} s", lab.name),
    }
    if !done.unready.is_empty() && !stands_in() {
        say!("not ready, or not configured: {}; the lab stays", done.unready.join(", "));
        return Ok(exit::NOT_READY);
    }
    Ok(0)
}
