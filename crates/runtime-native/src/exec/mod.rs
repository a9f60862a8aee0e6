//! Commands in a running container. Whoever asks joins the container's namespaces itself: neither
//! supervisor nor holder is in the way of the data.

mod attached;
mod captured;
mod join;

pub(crate) use attached::run as run_attached;
pub(crate) use captured::run;
