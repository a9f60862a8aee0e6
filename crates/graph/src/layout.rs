//! Where nodes stand: where the file says, or in rows by their distance from the best connected.

use std::collections::{BTreeMap, VecDeque};

use crate::Picture;

/// Between two nodes of a row, and between two rows.
const STEP: (i64, i64) = (180, 140);

/// A place for every node, in file order.
pub(crate) fn layout(picture: &Picture) -> Vec<(i64, i64)> {
    let rows = rows(picture);
    let mut widths: BTreeMap<i64, i64> = BTreeMap::new();
    rows.iter().for_each(|row| *widths.entry(*row).or_default() += 1);
    let widest = widths.values().copied().max().unwrap_or(0);
    let heights: BTreeMap<i64, i64> = widths.keys().copied().zip(0..).collect();
    let mut filled: BTreeMap<i64, i64> = BTreeMap::new();
    let mut out = Vec::with_capacity(rows.len());
    for (point, row) in picture.points.iter().zip(rows) {
        let at = filled.entry(row).or_default();
        // Rows are centred over each other.
        let x = (widest - widths[&row]) * STEP.0 / 2 + *at * STEP.0;
        *at += 1;
        out.push(point.place.unwrap_or((x, heights[&row] * STEP.1)));
    }
    out
}

fn rows(picture: &Picture) -> Vec<i64> {
    let count = picture.points.len();
    let mut near: Vec<Vec<usize>> = vec![Vec::new(); count];
    for line in &picture.lines {
        near[line.a.point].push(line.b.point);
        near[line.b.point].push(line.a.point);
    }
    let mut rows: Vec<Option<i64>> = picture.points.iter().map(|p| p.level).collect();
    let mut order: Vec<usize> = (0..count).collect();
    // The first of the best connected; ties keep the order of the file.
    order.sort_by_key(|at| std::cmp::Reverse(near[*at].len()));
    for start in order {
        if rows[start].is_some() {
            continue;
        }
        rows[start] = Some(0);
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            let next = rows[at].unwrap_or(0) + 1;
            for &other in &near[at] {
                if rows[other].is_none() {
                    rows[other] = Some(next);
                    queue.push_back(other);
                }
            }
        }
    }
    rows.into_iter().map(|row| row.unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::picture;

    #[test]
    fn the_best_connected_stands_on_top() {
        assert_eq!(layout(&picture()), [(0, 140), (180, 0), (180, 140), (360, 140)]);
    }

    #[test]
    fn what_the_file_says_holds() {
        let mut p = picture();
        p.points[0].level = Some(7);
        p.points[3].place = Some((5, 6));
        let places = layout(&p);
        assert_eq!(places[3], (5, 6));
        assert!(places[0].1 > places[2].1, "{places:?}");
    }
}
