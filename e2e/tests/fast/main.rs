//! The fast tier: every feature of a lab once, on small images.

mod converge;
mod docker;
mod events;
mod faults;
mod halfway;
mod labs;
mod lifecycle;
mod links;
mod machine;
mod management;
mod mend;
mod node;
mod outputs;
mod outside;
mod podman;
mod registry;
mod shapes;
mod stages;
mod steps;
mod tools;
mod verbs;
