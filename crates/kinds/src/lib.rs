//! Kinds of nodes as data: schema, loading, checking, the catalogue, interface names.
//!
//! What is special about a network operating system stands in `kinds/<name>/kind.yml`
//! (`docs/kind-schema.md`). Knows: the schema. Must never know: any kind's name.

mod catalogue;
mod check;
mod interface;
mod schema;
pub mod step;

pub use catalogue::{Catalogue, KindError};
pub use check::{check, owner_ids};
pub use interface::{InterfaceError, Mapped};
pub use schema::{
    Certificate, Class, Credentials, Defaults, EnvRules, File, Healthcheck, HostNeeds, Interfaces,
    Inventory, Kind, Late, License, LinkApply, MacPlan, Minimum, Parts, Role, Sequence,
    SysctlRules, Types,
};
pub use step::{Retry, Step};
