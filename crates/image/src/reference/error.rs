//! What can be wrong with a reference, and what to write instead.

/// A text that is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum ReferenceError {
    #[error("the image reference is empty")]
    Empty,
    #[error("image reference `{text}`: the variable `{variable}` is not set")]
    VariableNotSet { text: String, variable: String },
    #[error("image reference `{text}` contains white space")]
    WhiteSpace { text: String },
    #[error("image reference `{text}` starts with `{scheme}://`")]
    Scheme { text: String, scheme: String },
    #[error("image reference `{text}`: the repository `{part}` contains upper-case letters")]
    UpperCase { text: String, part: String },
    #[error("image reference `{text}` has a colon but no tag behind it")]
    EmptyTag { text: String },
    #[error("image reference `{text}`: `{tag}` is not a tag")]
    Tag { text: String, tag: String },
    #[error("image reference `{text}`: `{digest}` is not a digest")]
    Digest { text: String, digest: String },
    #[error("image reference `{text}` has an empty part in its name")]
    EmptyPart { text: String },
    #[error("image reference `{text}` contains `{character}`, which no image name may")]
    Character { text: String, character: char },
    #[error("image reference `{text}`: `{part}` begins or ends with a separator, or doubles one")]
    Separator { text: String, part: String },
    #[error("image reference `{text}`: `{registry}` is not a host name with optional port")]
    Registry { text: String, registry: String },
    #[error("image reference `{text}` is an image id, not a name")]
    BareId { text: String },
    #[error("image reference `{text}` is longer than 255 characters")]
    TooLong { text: String },
}

impl ReferenceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Empty => "write a name such as `alpine` or `quay.io/frr/frr:8.5.3`".into(),
            Self::VariableNotSet { variable, .. } => {
                format!("export {variable}, or give a default: `${{{variable}:=value}}`")
            }
            Self::WhiteSpace { .. } => "remove the white space".into(),
            Self::Scheme { text, scheme } => {
                let name = text.get(scheme.len() + 3..).unwrap_or_default();
                format!("write it without the scheme: `{name}`")
            }
            Self::UpperCase { part, .. } => {
                format!("repository names are lower case: `{}`", part.to_lowercase())
            }
            Self::EmptyTag { text } => {
                format!("add the tag, or write `{}` for `latest`", text.trim_end_matches(':'))
            }
            Self::Tag { .. } => {
                "a tag is up to 128 letters, digits, `_`, `.` and `-`, and starts with none of \
                 the last two"
                    .into()
            }
            Self::Digest { .. } => "a digest is `sha256:` and 64 lower-case hex digits".into(),
            Self::EmptyPart { .. } => "remove the extra slash, or fill in the name".into(),
            Self::Character { .. } | Self::Separator { .. } => {
                "a name is lower-case letters and digits, joined by `.`, `_`, `__` or `-`".into()
            }
            Self::Registry { .. } => "write it like `quay.io/` or `localhost:5000/`".into(),
            Self::BareId { .. } => "use the name the image was imported under".into(),
            Self::TooLong { .. } => "use a shorter name".into(),
        }
    }
}

/// Faults of the text as a whole, before it is taken apart.
pub(super) fn check_whole(text: &str) -> Result<(), ReferenceError> {
    if text.is_empty() {
        return Err(ReferenceError::Empty);
    }
    if let Some(variable) = unexpanded(text) {
        return Err(ReferenceError::VariableNotSet { text: text.into(), variable });
    }
    if text.contains(char::is_whitespace) {
        return Err(ReferenceError::WhiteSpace { text: text.into() });
    }
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(ReferenceError::Scheme { text: text.into(), scheme: scheme.into() });
    }
    Ok(())
}

/// The name of the first `$VAR` or `${VAR...}` left in the text.
fn unexpanded(text: &str) -> Option<String> {
    let (_, after) = text.split_once('$')?;
    let name = after.strip_prefix('{').unwrap_or(after);
    let name: String =
        name.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
