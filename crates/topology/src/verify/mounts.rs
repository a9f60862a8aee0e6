//! Binds and volumes: every part of them is something, and nothing is left out in silence.

use crate::lab::Node;
use netloom_diag::{Diagnostic, Diagnostics, did_you_mean};

/// What may stand after the target of a bind. The first two are honoured, the next ones are what is
/// done anyway, the last have no meaning without SELinux.
const OPTIONS: [&str; 8] = ["ro", "rw", "rbind", "rprivate", "nocopy", "private", "z", "Z"];
/// Ways of spreading mounts that a node's own mount namespace does not have.
const SHARED: [&str; 4] = ["shared", "rshared", "slave", "rslave"];

/// Checks both lists.
pub fn check(node: &Node, found: &mut Diagnostics) {
    for text in &node.binds {
        let mut bad = |what: String, hint: &str| {
            let d = Diagnostic::error("bad-bind", what).at(node.span_of("binds"));
            found.push(d.hint(hint));
        };
        let parts: Vec<&str> = text.split(':').collect();
        let options = match parts[..] {
            [source, target] if !source.is_empty() && !target.is_empty() => "",
            [source, target, options] if !source.is_empty() && !target.is_empty() => options,
            _ => {
                bad(
                    format!("`{text}` is not a bind"),
                    "write SOURCE:TARGET[:ro]; a volume without a source stands under `volumes`",
                );
                continue;
            }
        };
        for option in options.split(',').filter(|o| !o.is_empty() && !OPTIONS.contains(o)) {
            if SHARED.contains(&option) {
                found.push(
                    Diagnostic::warning(
                        "unhonoured",
                        format!("`{option}` of `{text}`: later mounts are not passed on"),
                    )
                    .at(node.span_of("binds")),
                );
                continue;
            }
            let hint = match did_you_mean(option, OPTIONS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("one of {}", OPTIONS.join(", ")),
            };
            let d = Diagnostic::error("bad-bind", format!("`{option}` is no option of a bind"));
            found.push(d.at(node.span_of("binds")).hint(hint));
        }
    }
    for text in &node.volumes {
        if let Some(what) = volume(text) {
            found.push(
                Diagnostic::error("bad-volume", format!("`{text}`: {what}"))
                    .at(node.span_of("volumes"))
                    .hint("write NAME:/TARGET[:ro], or /TARGET for one of this node alone"),
            );
        }
    }
}

/// What is wrong with a volume.
fn volume(text: &str) -> Option<&'static str> {
    let parts: Vec<&str> = text.split(':').collect();
    let (name, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [name, target] => (Some(name), target, ""),
        [name, target, options] => (Some(name), target, options),
        _ => return Some("it has too many parts"),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let first = |n: &str| n.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.is_some_and(|n| !first(n) || !n.chars().all(plain)) {
        return Some("a volume's name has letters, digits, `_`, `.` and `-` only");
    }
    if !target.starts_with('/') {
        return Some("the target is an absolute path");
    }
    let known = |o: &str| o.is_empty() || OPTIONS.contains(&o);
    (!options.split(',').all(known)).then_some("the option is not known")
}

#[cfg(test)]
mod tests {
    use super::volume;

    #[test]
    fn volumes_stay_in_their_folder() {
        for fine in ["data:/x", "/data", "a.b-c:/x:ro,nocopy"] {
            assert_eq!(volume(fine), None, "{fine}");
        }
        for bad in ["../../etc:/x", "/etc:/x", "data", "data:x", "a:/b:frob", "a:/b:ro:c", ""] {
            assert!(volume(bad).is_some(), "{bad}");
        }
    }
}
