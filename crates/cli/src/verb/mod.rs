//! One file per command.

pub mod completion;
pub mod deploy;
pub mod destroy;
pub mod doctor;
pub mod events;
pub mod exec;
pub mod generate;
pub mod graph;
pub mod image;
pub mod inspect;
pub mod kind;
pub mod lifecycle;
pub mod logs;
pub mod planned;
pub mod redeploy;
pub mod save;
pub mod shell;
pub mod supervisor;
pub mod tools;
pub mod validate;
pub mod version;
