//! Magic variables: `__clabNodeDir__` and their like.

use crate::inputs::Git;
use crate::lab::{Lab, Node};
use std::path::Path;

/// Replaces the variables of a lab name (`__gitBranch__`, `__gitHash__`).
pub fn lab_name(name: &str, git: Option<&Git>) -> String {
    let Some(git) = git else { return name.to_string() };
    name.replace("__gitBranch__", &git.branch.replace('/', "-"))
        .replace("__gitHash__", git.hash.get(..7).unwrap_or(&git.hash))
}

/// Replaces the variables of a node.
pub fn node_text(text: &str, lab_dir: &Path, lab_dir_name: &str, node: &str) -> String {
    if !text.contains("__clab") {
        return text.to_string();
    }
    text.replace("__clabNodeDir__", &lab_dir.join(node).to_string_lossy())
        .replace("__clabDir__", &lab_dir.to_string_lossy())
        .replace("__clabNodeName__", node)
        .replace("__clabLabName__", lab_dir_name)
}

impl Lab {
    /// Replaces magic variables in a text of a node.
    pub fn magic(&self, node: &Node, text: &str) -> String {
        node_text(text, &self.dir, &self.dir_name(), &node.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_names() {
        let git = Git { branch: "feature/x".into(), hash: "0123456789".into() };
        assert_eq!(lab_name("l-__gitBranch__-__gitHash__", Some(&git)), "l-feature-x-0123456");
        assert_eq!(lab_name("l-__gitHash__", None), "l-__gitHash__");
    }

    #[test]
    fn node_variables() {
        let t = node_text(
            "__clabNodeDir__ __clabDir__ __clabNodeName__ __clabLabName__",
            Path::new("/l/clab-x"),
            "clab-x",
            "n",
        );
        assert_eq!(t, "/l/clab-x/n /l/clab-x n clab-x");
    }
}
