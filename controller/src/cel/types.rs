//! Types of expressions, and when one may stand for another.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// The type of an expression, as far as it is known before the expression runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// Known only when the expression runs.
    Dyn,
    /// As `Dyn`; attributes have it where lists are off. (`google.protobuf.Any`)
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Timestamp,
    /// The type of a type.
    Meta(Arc<Type>),
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    /// A type of Kubernetes, by its name.
    Object(&'static str),
    /// Any type, the same wherever the number is the same.
    Parameter(u32),
}

/// The type of `device`.
pub(super) const DEVICE: &str = "kubernetes.DRADevice";

impl Type {
    pub(super) fn list(element: Type) -> Self {
        Self::List(Arc::new(element))
    }

    pub(super) fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    pub(super) fn optional(value: Type) -> Self {
        Self::Optional(Arc::new(value))
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    /// The type inside an optional, or the type itself.
    pub(super) fn unwrapped(&self) -> (&Self, bool) {
        match self {
            Self::Optional(inner) => (inner, true),
            other => (other, false),
        }
    }

    fn nullable(&self) -> bool {
        matches!(
            self,
            Self::Optional(_) | Self::Object(_) | Self::Any | Self::Duration | Self::Timestamp | Self::Null
        )
    }

    /// Whether it is the other type, or the other with something left open.
    fn same_or_less_specific(&self, other: &Self) -> bool {
        if self.is_dyn() || matches!(self, Self::Parameter(_)) {
            return true;
        }
        if other.is_dyn() || matches!(other, Self::Parameter(_)) {
            return false;
        }
        match (self, other) {
            (Self::List(mine), Self::List(theirs)) | (Self::Optional(mine), Self::Optional(theirs)) => {
                mine.same_or_less_specific(theirs)
            }
            (Self::Map(mine), Self::Map(theirs)) => {
                mine.0.same_or_less_specific(&theirs.0) && mine.1.same_or_less_specific(&theirs.1)
            }
            (Self::Meta(_), Self::Meta(_)) => true,
            _ => self == other,
        }
    }

    /// The more general of two types that agree.
    pub(super) fn most_general(self, other: Self) -> Self {
        if self.same_or_less_specific(&other) { self } else { other }
    }
}

impl Display for Type {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => formatter.write_str("dyn"),
            Self::Any => formatter.write_str("any"),
            Self::Null => formatter.write_str("null"),
            Self::Bool => formatter.write_str("bool"),
            Self::Int => formatter.write_str("int"),
            Self::Uint => formatter.write_str("uint"),
            Self::Double => formatter.write_str("double"),
            Self::String => formatter.write_str("string"),
            Self::Bytes => formatter.write_str("bytes"),
            Self::Duration => formatter.write_str("duration"),
            Self::Timestamp => formatter.write_str("timestamp"),
            Self::Meta(inner) => write!(formatter, "type({inner})"),
            Self::List(element) => write!(formatter, "list({element})"),
            Self::Map(entry) => write!(formatter, "map({}, {})", entry.0, entry.1),
            Self::Optional(inner) => write!(formatter, "optional_type({inner})"),
            Self::Object(name) => formatter.write_str(name),
            Self::Parameter(number) => write!(formatter, "_var{number}"),
        }
    }
}

/// How many parts a type may have. Types that share parts double with each map that has one as key and value.
const LARGEST: usize = 2_000;
/// How many parts of types are looked at for one expression.
const WORK: u64 = 20_000_000;

/// What the type parameters met so far stand for.
#[derive(Debug, Default)]
pub(super) struct Substitution {
    /// How many parts of types were looked at.
    work: Cell<u64>,
    bound: Vec<Option<Type>>,
    /// The parameters bound, and what they were before, so that a failed attempt can be taken back.
    changes: Vec<(u32, Option<Type>)>,
}

impl Substitution {
    /// A parameter that no other is.
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Parameter(u32::try_from(self.bound.len() - 1).unwrap_or(u32::MAX))
    }

    /// As many parameters that no others are; the first of them.
    pub(super) fn fresh_block(&mut self, count: usize) -> u32 {
        let first = self.bound.len();
        self.bound.resize(first + count, None);
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    /// Whether a type, or all that was done with types, is larger than any sensible expression's.
    pub(super) fn too_large(&self, of: &Type) -> bool {
        self.parts(of, LARGEST).is_none() || self.is_exhausted()
    }

    /// How many more parts a type may have, after these; `None` where it has more.
    fn parts(&self, of: &Type, room: usize) -> Option<usize> {
        self.is_exhausted();
        let room = room.checked_sub(1)?;
        match of {
            Type::Parameter(number) => self.find(*number).map_or(Some(room), |bound| self.parts(bound, room)),
            Type::List(inner) | Type::Optional(inner) | Type::Meta(inner) => self.parts(inner, room),
            Type::Map(entry) => self.parts(&entry.1, self.parts(&entry.0, room)?),
            _ => Some(room),
        }
    }

    /// Counts a part that is looked at. Where there were too many, the expression does not compile, and what is said of
    /// its types till then does not matter.
    fn is_exhausted(&self) -> bool {
        self.work.set(self.work.get() + 1);
        self.work.get() > WORK
    }

    fn find(&self, parameter: u32) -> Option<&Type> {
        self.bound.get(parameter as usize).and_then(Option::as_ref)
    }

    fn bind(&mut self, parameter: u32, to: Type) {
        let before = self.bound[parameter as usize].replace(to);
        self.changes.push((parameter, before));
    }

    /// The type with every bound parameter replaced; the others become `dyn` where `open_is_dyn`.
    pub(super) fn apply(&self, of: &Type, open_is_dyn: bool) -> Type {
        match of {
            _ if self.is_exhausted() => Type::Dyn,
            Type::Parameter(number) => match self.find(*number) {
                Some(bound) => self.apply(bound, open_is_dyn),
                None if open_is_dyn => Type::Dyn,
                None => of.clone(),
            },
            Type::List(element) => Type::list(self.apply(element, open_is_dyn)),
            Type::Optional(inner) => Type::optional(self.apply(inner, open_is_dyn)),
            Type::Meta(inner) => Type::Meta(Arc::new(self.apply(inner, open_is_dyn))),
            Type::Map(entry) => {
                Type::map(self.apply(&entry.0, open_is_dyn), self.apply(&entry.1, open_is_dyn))
            }
            other => other.clone(),
        }
    }

    /// Whether each of the types may stand for its counterpart; parameters are bound only if all may.
    pub(super) fn assign_all<'t>(&mut self, pairs: impl IntoIterator<Item = (&'t Type, &'t Type)>) -> bool {
        let start = self.changes.len();
        for (from, to) in pairs {
            if !self.agree(from, to) {
                for (parameter, before) in self.changes.drain(start..).rev() {
                    self.bound[parameter as usize] = before;
                }
                return false;
            }
        }
        if start == 0 {
            self.changes.clear();
        }
        true
    }

    /// Whether one type may stand for another; parameters are bound only if so.
    pub(super) fn assign(&mut self, from: &Type, to: &Type) -> bool {
        self.assign_all([(from, to)])
    }

    fn agree(&mut self, one: &Type, other: &Type) -> bool {
        if self.is_exhausted() {
            return false;
        }
        if let Type::Parameter(number) = other {
            let (valid, was_bound) = self.substitutes(one, *number);
            if valid || was_bound {
                return valid;
            }
        }
        if let Type::Parameter(number) = one {
            return self.substitutes(other, *number).0;
        }
        if one.is_dyn() || other.is_dyn() {
            return true;
        }
        match (one, other) {
            (Type::Null, _) => other.nullable(),
            (_, Type::Null) => one.nullable(),
            (Type::Meta(_), Type::Meta(_)) => true,
            (Type::List(mine), Type::List(theirs)) | (Type::Optional(mine), Type::Optional(theirs)) => {
                self.agree(mine, theirs)
            }
            (Type::Map(mine), Type::Map(theirs)) => {
                self.agree(&mine.0, &theirs.0) && self.agree(&mine.1, &theirs.1)
            }
            _ => one == other,
        }
    }

    /// Whether the parameter may stand for the type, and whether it already stood for one.
    fn substitutes(&mut self, of: &Type, parameter: u32) -> (bool, bool) {
        if *of == Type::Parameter(parameter) {
            return (true, true);
        }
        if let Some(bound) = self.find(parameter).cloned() {
            if *of == bound {
                return (true, true);
            }
            if !self.agree(of, &bound) {
                return (false, true);
            }
            let general = of.clone().most_general(bound);
            if !self.occurs(parameter, &general) {
                self.bind(parameter, general);
            }
            return (true, true);
        }
        if self.occurs(parameter, of) {
            return (false, false);
        }
        self.bind(parameter, of.clone());
        (true, false)
    }

    fn occurs(&self, parameter: u32, within: &Type) -> bool {
        match within {
            _ if self.is_exhausted() => true,
            Type::Parameter(number) if *number == parameter => true,
            Type::Parameter(number) => self.find(*number).is_some_and(|bound| self.occurs(parameter, bound)),
            Type::List(inner) | Type::Optional(inner) | Type::Meta(inner) => self.occurs(parameter, inner),
            Type::Map(entry) => self.occurs(parameter, &entry.0) || self.occurs(parameter, &entry.1),
            _ => false,
        }
    }
}
