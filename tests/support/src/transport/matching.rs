//! Which requests a rule is about.

use http::{Method, Uri};

/// A verb of the Kubernetes API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads a collection.
    List,
    /// Follows a collection or an object.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH, which includes server-side apply.
    Patch,
    /// Deletes one object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
}

/// Which requests a rule is about; by default all.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    verb: Option<Verb>,
    resource: Option<String>,
    path: Option<String>,
    pub(super) turns: Turns,
}

/// Which of the requests that match are meant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Turns {
    #[default]
    Always,
    Nth(usize),
    First(usize),
}

impl Matching {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// The requests of this verb.
    #[must_use]
    pub fn verb(verb: Verb) -> Self {
        Self { verb: Some(verb), ..Self::default() }
    }

    /// Of those, the ones on this resource: its plural name, with the subresource if there is one, as in RBAC
    /// (`resourceclaims/status`).
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        Self { resource: Some(resource.to_owned()), ..self }
    }

    /// Of those, the ones on this path (without query), in which `*` stands for any characters.
    #[must_use]
    pub fn path(self, pattern: &str) -> Self {
        Self { path: Some(pattern.to_owned()), ..self }
    }

    /// Of those, only the nth that comes after the rule was made, counted from 1.
    #[must_use]
    pub fn nth(self, nth: usize) -> Self {
        Self { turns: Turns::Nth(nth), ..self }
    }

    /// Of those, only the first `count` that come after the rule was made.
    #[must_use]
    pub fn first(self, count: usize) -> Self {
        Self { turns: Turns::First(count), ..self }
    }

    /// Whether a request is one of these, apart from its turn.
    pub(super) fn covers(&self, target: &Target) -> bool {
        self.verb.is_none_or(|verb| target.verb == Some(verb))
            && self.resource.as_ref().is_none_or(|resource| target.resource.as_ref() == Some(resource))
            && self.path.as_ref().is_none_or(|pattern| fits(pattern, &target.path))
    }
}

impl Turns {
    /// Whether the request that matches as the `count`th one, from 1, is meant.
    pub(super) fn include(self, count: usize) -> bool {
        match self {
            Self::Always => true,
            Self::Nth(nth) => count == nth,
            Self::First(first) => count <= first,
        }
    }
}

/// What a request is about.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) verb: Option<Verb>,
    pub(super) resource: Option<String>,
    pub(super) path: String,
}

impl Target {
    /// Reads it off the request as the API server does.
    pub(super) fn of(method: &Method, uri: &Uri) -> Self {
        let path = uri.path().to_owned();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let rest: &[&str] = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        // The namespaces themselves and their subresources have no resource behind their name.
        let rest = match rest {
            ["namespaces", _, "status" | "finalize"] => rest,
            ["namespaces", _, inner @ ..] if !inner.is_empty() => inner,
            _ => rest,
        };
        let resource = match rest {
            [] => None,
            [resource] | [resource, _] => Some((*resource).to_owned()),
            [resource, _, sub @ ..] => Some(format!("{resource}/{}", sub.join("/"))),
        };
        let named = rest.len() > 1;
        let watch = uri.query().is_some_and(|query| {
            query.split('&').any(|pair| ["watch=true", "watch=1", "watch"].contains(&pair))
        });
        let verb = match *method {
            Method::GET if resource.is_none() => Some(Verb::Get),
            Method::GET if watch => Some(Verb::Watch),
            Method::GET if named => Some(Verb::Get),
            Method::GET => Some(Verb::List),
            Method::POST => Some(Verb::Create),
            Method::PUT => Some(Verb::Update),
            Method::PATCH => Some(Verb::Patch),
            Method::DELETE if named => Some(Verb::Delete),
            Method::DELETE => Some(Verb::DeleteCollection),
            _ => None,
        };
        Self { verb, resource, path }
    }
}

/// Whether `text` is `pattern` with something for each `*`.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    text.strip_prefix(head)
        .is_some_and(|rest| (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|rest| fits(tail, rest)))
}
