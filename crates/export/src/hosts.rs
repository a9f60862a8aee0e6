//! The lab's block of the host's hosts file.

use netloom_plan::Objects;
use netloom_topology::Lab;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// Whether a word can be nothing else on a line of such a file.
pub(crate) fn plain(word: &str) -> bool {
    let fine = |c: char| c.is_ascii_graphic() && c != '#';
    !word.is_empty() && word.chars().all(fine)
}

fn marks(lab: &str) -> (String, String) {
    (format!("###### CLAB-{lab}-START ######"), format!("###### CLAB-{lab}-END ######"))
}

/// Lines for every node with a management address, IPv4 first; none when there is no such node.
/// `ids` are the containers' numbers by container name.
pub fn host_block(lab: &Lab, objects: &Objects, ids: &BTreeMap<String, String>) -> String {
    let mut lines = String::new();
    for v4 in [true, false] {
        for (node, object) in lab.nodes.iter().zip(&objects.nodes) {
            let addresses = object.mgmt.iter().flat_map(|m| &m.addresses);
            for address in addresses.filter(|a| a.addr().is_ipv4() == v4) {
                let mut names = vec![node.long_name.as_str()];
                names.extend(node.aliases.iter().map(String::as_str).filter(|a| plain(a)));
                names.extend(ids.get(&node.long_name).map(|id| id.get(..12).unwrap_or(id)));
                // A writer to a string does not fail.
                let _ = writeln!(
                    lines,
                    "{}\t{}\t# Kind: {}",
                    address.addr(),
                    names.join(" "),
                    node.kind
                );
                debug_assert!(plain(&node.long_name) && plain(&node.kind));
            }
        }
    }
    if lines.is_empty() {
        return lines;
    }
    let (start, end) = marks(&lab.name);
    format!("{start}\n{lines}{end}\n")
}

/// A hosts file with a lab's block at its end, in place of the one it had.
pub fn with_block(text: &str, lab: &str, block: &str) -> String {
    let mut out = without_block(text, lab);
    if !(out.is_empty() || out.ends_with('\n') || block.is_empty()) {
        out.push('\n');
    }
    out + block
}

/// A hosts file without a lab's block. One whose end is missing reaches to the first line that is
/// none of a block.
pub fn without_block(text: &str, lab: &str) -> String {
    let (start, end) = marks(lab);
    let ends = text.lines().any(|l| l.trim_end() == end);
    let mut out = String::new();
    let mut inside = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if bare == start {
            inside = true;
        } else if inside && bare == end {
            inside = false;
        } else {
            inside = inside && (ends || bare.contains("\t# Kind: "));
            if !inside {
                out.push_str(line);
            }
        }
    }
    out
}

/// A hosts file without some nodes of a lab, by container name; the lab's last one takes the block
/// along.
pub fn without_nodes(text: &str, lab: &str, names: &HashSet<&str>) -> String {
    let (start, end) = marks(lab);
    let mut inside = false;
    let mut left = 0;
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        inside = (inside || bare == start) && bare != end;
        if inside && bare != start {
            if line.split_whitespace().nth(1).is_some_and(|name| names.contains(name)) {
                continue;
            }
            left += 1;
        }
        out.push_str(line);
    }
    if left == 0 { without_block(&out, lab) } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str =
        "###### CLAB-a-START ######\n10.0.0.1\tclab-a-n\t# Kind: linux\n###### CLAB-a-END ######\n";

    #[test]
    fn blocks_come_and_go() {
        let before = "127.0.0.1\tlocalhost\n";
        let with = with_block(before, "a", BLOCK);
        assert_eq!(with, format!("{before}{BLOCK}"));
        assert_eq!(with_block(&with, "a", BLOCK), with);
        assert_eq!(without_block(&with, "a"), before);
        assert_eq!(without_block(&with, "b"), with);
        let both = with_block(&with, "b", &BLOCK.replace("-a-", "-b-"));
        assert_eq!(without_block(&both, "a"), format!("{before}{}", BLOCK.replace("-a-", "-b-")));
        assert_eq!(with_block("no newline", "a", BLOCK), format!("no newline\n{BLOCK}"));
    }

    #[test]
    fn nodes_go_one_by_one() {
        let two = BLOCK.replace("10.0.0.1", "10.0.0.2\tclab-a-m\t# Kind: linux\n10.0.0.1");
        let text = with_block("127.0.0.1\tlocalhost\n", "a", &two);
        let one = without_nodes(&text, "a", &HashSet::from(["clab-a-m"]));
        assert_eq!(one, with_block("127.0.0.1\tlocalhost\n", "a", BLOCK));
        assert_eq!(
            without_nodes(&one, "a", &HashSet::from(["clab-a-n"])),
            "127.0.0.1\tlocalhost\n"
        );
        assert_eq!(without_nodes(&one, "b", &HashSet::from(["clab-a-n"])), one);
    }

    #[test]
    fn a_block_without_an_end_takes_nothing_else_along() {
        let torn =
            "###### CLAB-a-START ######\n10.0.0.1\tclab-a-n\t# Kind: linux\n192.0.2.1 mine\n";
        assert_eq!(without_block(torn, "a"), "192.0.2.1 mine\n");
    }
}
