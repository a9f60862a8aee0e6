//! A topology file to a resolved lab.
//!
//! ```text
//! Inputs ──render──► text ──expand──► text ──parse──► Document ──check──► ──resolve(kinds)──► Lab
//! ```
//!
//! Everything from outside (files, environment, host facts) comes in through [`Inputs`], so that
//! resolving is a pure function. Knows: the format. Must never know: sockets, clocks, processes,
//! and how anything is made.

mod actions;
mod containerlab;
mod document;
mod env;
mod expand;
mod files;
mod inputs;
mod inventory;
mod kind;
mod lab;
mod link;
mod magic;
mod merge;
mod mgmt;
mod node;
mod parts;
mod ports;
mod render;
mod resolve;
mod schema;
mod size;
mod stages;
mod template_data;
mod verify;

pub use containerlab::to_containerlab;
pub use files::{
    Certificate, Content, FileContext, GeneratedFile, NodeFiles, StepData, node_files,
};
pub use inputs::{Files, Git, Inputs, NoFiles, Overrides, Settings, absolute};
pub use inventory::{PLATFORM_NAMES, inventories};
pub use lab::{
    AddressPair, Credentials, Dns, EndpointNode, Healthcheck, Lab, Link, LinkEndpoint, LinkKind,
    Mgmt, Node, Origin, PortBinding, PullPolicy, Stage, StageExec, Stages, StartupConfig, Tunnel,
    WaitFor,
};
pub use parts::{ROOT_LONG_NAME, ROOT_NAME, with_parts};
pub use resolve::{Resolved, resolve};
pub use schema::{Key, Merge, Shape, Type, json_schema, topology_reference};
pub use size::bytes;
