//! Image references, the local content store, imports and safe unpacking.

mod config;
mod digest;
mod error;
mod export;
mod image;
mod import;
mod platform;
mod reference;
mod store;
mod stream;
mod tar;
mod unpack;
mod xattr;

pub use config::{ConfigOverrides, Healthcheck, ImageConfig};
pub use digest::{Digest, NotADigest};
pub use error::{Error, Refusal};
pub use image::Image;
pub use import::{ImportOptions, Imported, SourceKind};
pub use platform::host_architecture;
pub use reference::{Reference, ReferenceError};
pub use store::{Removed, Reserved, Store};
pub use stream::Limits;
pub use unpack::{Tally, Unpacked, unpack_layer};
