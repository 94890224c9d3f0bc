//! `If-Match` and `If-None-Match` (RFC 9110, section 13), whose entity tags are versions.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use birbnest_core::Version;

use crate::problem::Problem;

/// The header that says which version an answer must have at least.
pub(crate) const MIN_VERSION: HeaderName = HeaderName::from_static("birb-min-version");
/// Most tags in one header.
const MAX_TAGS: usize = 16;

/// What must hold for a request to be carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    must_match: Option<Tags>,
    must_not_match: Option<Tags>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever is there.
    Any,
    /// One of these.
    OneOf(Vec<Tag>),
}

/// An entity tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Version(Version),
    /// Of somebody else's making: it matches nothing.
    Foreign,
}

impl Conditions {
    /// # Errors
    /// When a header cannot be read, or holds a condition on time: versions say more, and exactly.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        if headers.contains_key(header::IF_UNMODIFIED_SINCE) {
            let detail = "If-Unmodified-Since is not supported: send the version of the ETag in If-Match";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "INVALID_REQUEST").detail(detail));
        }
        Ok(Self {
            must_match: tags(headers, &header::IF_MATCH)?,
            must_not_match: tags(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether there is none, so that nothing has to be looked up.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For a write: 412 unless they hold for the live entry that is there now.
    pub(crate) fn admit(&self, current: Option<Version>) -> Result<(), Problem> {
        let matches = self.must_match.as_ref().is_none_or(|tags| tags.include(current));
        let differs = self
            .must_not_match
            .as_ref()
            .is_none_or(|tags| !tags.include(current));
        if matches && differs {
            return Ok(());
        }
        Err(mismatch(current, "; nothing was written"))
    }

    /// For a read: 412 when it must be another version.
    pub(crate) fn admit_read(&self, current: Option<Version>) -> Result<(), Problem> {
        if self.must_match.as_ref().is_none_or(|tags| tags.include(current)) {
            return Ok(());
        }
        Err(mismatch(current, ""))
    }

    /// For a read: whether the client has this version already.
    pub(crate) fn is_known(&self, version: Version) -> bool {
        self.must_not_match
            .as_ref()
            .is_some_and(|tags| tags.include(Some(version)))
    }
}

impl Tags {
    fn include(&self, current: Option<Version>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.contains(&Tag::Version(current)),
        }
    }
}

fn mismatch(current: Option<Version>, consequence: &str) -> Problem {
    let now = current.map_or_else(
        || "there is no entry".to_owned(),
        |version| format!("the entry's version is {version}"),
    );
    Problem::new(StatusCode::PRECONDITION_FAILED, "VERSION_MISMATCH")
        .detail(format!("the condition does not hold: {now}{consequence}"))
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| invalid(name))?;
        if text.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',') {
            found.push(parse_tag(tag.trim()).ok_or_else(|| invalid(name))?);
        }
    }
    if found.len() > MAX_TAGS {
        return Err(Problem::invalid(format!("{name} has more than {MAX_TAGS} tags")));
    }
    Ok(headers.contains_key(name).then_some(Tags::OneOf(found)))
}

/// A cache on the way may have weakened a tag (`W/"17"`); versions name bytes, so it is as good.
fn parse_tag(text: &str) -> Option<Tag> {
    let opaque = text.strip_prefix("W/").unwrap_or(text);
    let inner = opaque.strip_prefix('"')?.strip_suffix('"')?;
    let version = inner.parse().ok().and_then(|number| Version::new(number).ok());
    Some(version.map_or(Tag::Foreign, Tag::Version))
}

fn invalid(name: &HeaderName) -> Problem {
    Problem::invalid(format!(
        "{name} must be * or entity tags in quotes, such as \"17\""
    ))
}

/// The version that an entry must have at least, from `Birb-Min-Version`.
///
/// # Errors
/// When the header is no version.
pub(crate) fn min_version(headers: &HeaderMap) -> Result<Version, Problem> {
    let Some(header) = headers.get(MIN_VERSION) else {
        return Ok(Version::ZERO);
    };
    let parsed = |header: &HeaderValue| {
        let number = header.to_str().ok()?.trim_matches('"').parse().ok()?;
        Version::new(number).ok()
    };
    parsed(header).ok_or_else(|| {
        Problem::invalid("Birb-Min-Version must be the version of an earlier answer, such as 17")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(pairs: &[(HeaderName, &'static str)]) -> Result<Conditions, Problem> {
        let headers = pairs
            .iter()
            .cloned()
            .map(|(name, value)| (name, HeaderValue::from_static(value)));
        Conditions::of(&headers.collect())
    }

    fn admits(name: HeaderName, value: &'static str, current: Option<u64>) -> bool {
        let current = current.map(|version| Version::new(version).unwrap());
        conditions(&[(name, value)]).unwrap().admit(current).is_ok()
    }

    #[test]
    fn a_version_must_be_the_one_that_is_there() {
        assert!(admits(header::IF_MATCH, "\"7\"", Some(7)));
        assert!(admits(header::IF_MATCH, "\"5\", W/\"7\"", Some(7)));
        assert!(!admits(header::IF_MATCH, "\"7\"", Some(8)));
        assert!(!admits(header::IF_MATCH, "\"7\"", None));
        assert!(!admits(header::IF_MATCH, "\"somebody else's\"", Some(7)));
    }

    #[test]
    fn a_star_means_whatever_is_there() {
        assert!(admits(header::IF_MATCH, "*", Some(7)));
        assert!(!admits(header::IF_MATCH, "*", None));
        assert!(admits(header::IF_NONE_MATCH, "*", None));
        assert!(!admits(header::IF_NONE_MATCH, "*", Some(7)));
    }

    #[test]
    fn a_version_that_the_client_has_is_known() {
        let known = conditions(&[(header::IF_NONE_MATCH, "\"7\"")]).unwrap();
        assert!(known.is_known(Version::new(7).unwrap()));
        assert!(!known.is_known(Version::new(8).unwrap()));
        assert!(!Conditions::default().is_known(Version::new(8).unwrap()));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert!(conditions(&[(header::IF_MATCH, "7")]).is_err());
        assert!(conditions(&[(header::IF_MATCH, "")]).is_err());
        assert!(conditions(&[(header::IF_UNMODIFIED_SINCE, "Sat, 21 Nov 2026 10:00:00 GMT")]).is_err());
    }
}
