//! "Did you mean": the nearest of a list of words.

/// The candidate nearest to `word`, if it is near enough to be a slip of the fingers.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let fold = |s: &str| s.to_ascii_lowercase().replace('_', "-");
    let wanted = fold(word);
    let limit = (wanted.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|c| (strsim::osa_distance(&wanted, &fold(c)), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, c)| (*d, c.len(), *c))
        .map(|(_, c)| c)
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn finds_slips_only() {
        let keys = ["startup-config", "image", "kind"];
        assert_eq!(did_you_mean("startup_config", keys), Some("startup-config"));
        assert_eq!(did_you_mean("imagee", keys), Some("image"));
        assert_eq!(did_you_mean("knid", keys), Some("kind"));
        assert_eq!(did_you_mean("colour", keys), None);
    }
}
