//! `type: dummy`: an interface that leads nowhere.

use super::{endpoint::Names, host};
use crate::lab::LinkEndpoint;
use netloom_diag::Diagnostics;
use netloom_yaml::Node;

/// The one end.
pub fn extended(
    node: &Node,
    names: &Names<'_>,
    found: &mut Diagnostics,
) -> Option<Vec<LinkEndpoint>> {
    Some(vec![host::single(node, names, found)?])
}
