//! Branch and commit of the checkout a file stands in, read from its git folder.

use netloom_topology::Git;
use std::fs;
use std::path::{Path, PathBuf};

/// Facts of the innermost checkout around `dir`.
pub fn git(dir: &Path) -> Option<Git> {
    let folder = dir.ancestors().find_map(|d| git_folder(&d.join(".git")))?;
    let head = fs::read_to_string(folder.join("HEAD")).ok()?;
    let head = head.trim();
    let Some(name) = head.strip_prefix("ref: ") else {
        return Some(Git { branch: "HEAD".into(), hash: head.to_string() });
    };
    let common = fs::read_to_string(folder.join("commondir"))
        .map(|c| folder.join(c.trim()))
        .unwrap_or_else(|_| folder.clone());
    let loose = fs::read_to_string(common.join(name)).ok().map(|t| t.trim().to_string());
    let hash = loose.or_else(|| {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        packed
            .lines()
            .find_map(|l| l.strip_suffix(name)?.split_whitespace().next().map(str::to_string))
    })?;
    Some(Git { branch: name.strip_prefix("refs/heads/").unwrap_or(name).to_string(), hash })
}

/// A `.git` folder, or the one a `.git` file of a work tree points to.
fn git_folder(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_path_buf());
    }
    let text = fs::read_to_string(path).ok()?;
    let target = text.trim().strip_prefix("gitdir: ")?;
    Some(path.parent()?.join(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_branch_and_hash() {
        let dir = tempfile::tempdir().unwrap();
        let git_dir = dir.path().join(".git");
        fs::create_dir_all(git_dir.join("refs/heads/feature")).unwrap();
        fs::write(git_dir.join("HEAD"), "ref: refs/heads/feature/x\n").unwrap();
        fs::write(git_dir.join("refs/heads/feature/x"), "0123456789abcdef\n").unwrap();
        let sub = dir.path().join("sub");
        fs::create_dir(&sub).unwrap();
        let g = git(&sub).unwrap();
        assert_eq!((g.branch.as_str(), g.hash.as_str()), ("feature/x", "0123456789abcdef"));
    }
}
