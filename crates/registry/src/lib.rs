//! Pulls images from OCI and Docker registries into the image store, and pushes them (push.rs).
//!
//! ```text
//! reference ─► places: mirrors, then the registry itself          (places.rs)
//!           ─► credentials of Docker's and Podman's files         (credentials.rs)
//!           ─► manifest, configuration, the layers the store lacks (pull.rs, download.rs)
//!           ─► an OCI layout under the store's `downloads` ─► Store::import
//! ```
//!
//! What was downloaded before a pull was ended is there for the next one. Everything is synchronous
//! outside; inside, one thread drives the requests.

mod ask;
mod credentials;
mod download;
mod error;
mod places;
mod pull;
mod push;

pub use credentials::login;
pub use error::PullError;
pub use places::Settings;
pub use pull::{Progress, pull};
pub use push::push;
