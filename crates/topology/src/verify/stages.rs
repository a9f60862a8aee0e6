//! Who waits for whom.

use crate::lab::Lab;
use netloom_diag::{Diagnostic, Diagnostics, Span, did_you_mean};
use std::collections::HashMap;

/// Every stage a node can wait for exists, and nobody waits for itself in the end.
pub fn stages(lab: &Lab, found: &mut Diagnostics) {
    let index: HashMap<&str, usize> =
        lab.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); lab.nodes.len() * 5];
    let mut places: HashMap<(usize, usize), Option<Span>> = HashMap::new();
    let number = |stage: &str| {
        ["create", "create-links", "configure", "healthy", "exit"].iter().position(|s| *s == stage)
    };
    for (i, node) in lab.nodes.iter().enumerate() {
        for s in 1..5 {
            edges[i * 5 + s].push(i * 5 + s - 1);
        }
        for (s, (_, stage)) in node.stages.named().into_iter().enumerate() {
            for wait in &stage.wait_for {
                let Some(&other) = index.get(wait.node.as_str()) else {
                    let near = did_you_mean(&wait.node, index.keys().copied());
                    found.push(
                        Diagnostic::error(
                            "unknown-node",
                            format!("there is no node `{}` to wait for", wait.node),
                        )
                        .at(wait.span)
                        .hint("name a node of this file")
                        .maybe_hint(near.map(|n| format!("did you mean `{n}`?"))),
                    );
                    continue;
                };
                let Some(theirs) = number(&wait.stage) else {
                    // A stage that does not exist has been reported as an unknown word.
                    if !wait.stage.is_empty() {
                        continue;
                    }
                    found.push(
                        Diagnostic::error("missing-key", "`wait-for` names no stage")
                            .at(wait.span)
                            .hint("one of create, create-links, configure, healthy, exit"),
                    );
                    continue;
                };
                edges[i * 5 + s].push(other * 5 + theirs);
                places.insert((i * 5 + s, other * 5 + theirs), wait.span);
                if wait.stage == "healthy" && lab.nodes[other].healthcheck.is_none() {
                    found.push(
                        Diagnostic::warning(
                            "no-healthcheck",
                            format!("node `{}` has no `healthcheck` in this file", wait.node),
                        )
                        .at(wait.span)
                        .hint("unless its image or kind has one, it counts as healthy once it is configured"),
                    );
                }
            }
        }
        let owner = node.shares_namespace_of().and_then(|o| lab.container(o));
        if let Some(&owner) = owner.and_then(|o| index.get(o.name.as_str())) {
            edges[i * 5].push(owner * 5);
        }
    }
    if let Some(path) = cycle(&edges) {
        let mut names: Vec<&str> = path.iter().map(|v| lab.nodes[v / 5].name.as_str()).collect();
        names.dedup();
        let first = &lab.nodes[path[0] / 5];
        let at = path.windows(2).find_map(|edge| *places.get(&(edge[0], edge[1]))?);
        found.push(
            Diagnostic::error(
                "cycle",
                format!("nodes wait for each other: {}", names.join(" -> ")),
            )
            .at(at.or(first.span))
            .hint("take one `wait-for` of the circle away"),
        );
    }
}

/// A cycle of a graph, as the list of its vertices; iterative, so that long chains are no danger.
fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut colour = vec![0u8; edges.len()];
    for start in 0..edges.len() {
        if colour[start] != 0 {
            continue;
        }
        let mut stack = vec![(start, 0)];
        colour[start] = 1;
        while let Some((v, next)) = stack.last_mut() {
            let v = *v;
            match edges[v].get(*next) {
                Some(&w) => {
                    *next += 1;
                    match colour[w] {
                        0 => {
                            colour[w] = 1;
                            stack.push((w, 0));
                        }
                        1 => {
                            let from = stack.iter().position(|(s, _)| *s == w).unwrap_or(0);
                            let mut path: Vec<usize> =
                                stack[from..].iter().map(|(s, _)| *s).collect();
                            path.push(w);
                            return Some(path);
                        }
                        _ => {}
                    }
                }
                None => {
                    colour[v] = 2;
                    stack.pop();
                }
            }
        }
    }
    None
}
