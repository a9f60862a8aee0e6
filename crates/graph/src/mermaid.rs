//! Mermaid flowcharts.

use std::fmt;
use std::fmt::Write;
use std::str::FromStr;

use crate::Picture;

/// Which way a flowchart runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Top to bottom (`TB`).
    TopBottom,
    /// The same by its older name (`TD`).
    TopDown,
    /// Bottom to top (`BT`).
    BottomTop,
    /// Right to left (`RL`).
    RightLeft,
    /// Left to right (`LR`).
    LeftRight,
}

const NAMES: [(&str, Direction); 5] = [
    ("TB", Direction::TopBottom),
    ("TD", Direction::TopDown),
    ("BT", Direction::BottomTop),
    ("RL", Direction::RightLeft),
    ("LR", Direction::LeftRight),
];

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, d)| *d).ok_or_else(|| "it is one of TB, TD, BT, RL and LR".into())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, d)| d == self).map_or("TD", |(name, _)| name))
    }
}

/// The picture as a flowchart.
#[must_use]
pub fn mermaid(picture: &Picture, direction: Direction) -> String {
    let mut out = format!("---\ntitle: {}\n---\ngraph {direction}\n", picture.name);
    for (at, point) in picture.points.iter().enumerate() {
        let joined = picture.lines.iter().any(|l| l.a.point == at || l.b.point == at);
        if !plain(&point.name) {
            let _ = writeln!(out, "  {}[\"{}\"]", id(at, &point.name), escaped(&point.name));
        } else if !joined {
            let _ = writeln!(out, "  {}", point.name);
        }
    }
    for line in &picture.lines {
        let (a, b) = (id(line.a.point, &line.a.node), id(line.b.point, &line.b.node));
        let _ = writeln!(out, "  {a}---{b}");
    }
    out
}

/// Whether a name can stand for itself; `end` alone ends a chart.
fn plain(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let safe = !name.contains("--") && !name.ends_with('-') && !name.eq_ignore_ascii_case("end");
    name.chars().all(word) && safe
}

fn id(at: usize, name: &str) -> String {
    if plain(name) { name.to_string() } else { format!("node{at}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "#amp;").replace('"', "#quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_get_an_id() {
        let wanted = "---\ntitle: net\n---\ngraph LR\n  node2[\"br|x#amp;y\"]\n  leaf1---spine\n  spine---node2\n  spine---host\n";
        assert_eq!(mermaid(&crate::picture::tests::picture(), Direction::LeftRight), wanted);
    }

    #[test]
    fn directions() {
        for (name, direction) in NAMES {
            assert_eq!(name.parse(), Ok(direction));
            assert_eq!(direction.to_string(), name);
        }
        assert!("XX".parse::<Direction>().is_err());
    }
}
