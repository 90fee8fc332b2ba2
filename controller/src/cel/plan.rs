//! What is run: an expression after its types were checked.

use super::cost::Cost;
use super::library::Function;
use super::value::Value;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Constant(Value<'static>),
    /// A variable, or something else, and what is picked from it.
    Path(Box<Path>),
    /// Whether the last step of a path is there.
    Has(Box<Path>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Equal(Box<[Node; 2]>),
    Unequal(Box<[Node; 2]>),
    /// An optional's value, or else another optional, or a plain value.
    OptionalOr(Box<[Node; 2]>),
    OptionalOrValue(Box<[Node; 2]>),
    /// Anything but `false`, failures too.
    NotStrictlyFalse(Box<Node>),
    /// Whether a list of constants has a value.
    Member(Box<(Node, Vec<Value<'static>>)>),
    Call(Box<Call>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Fold(Box<Fold>),
    /// A variable for one expression, evaluated when it is first read.
    Bind(Box<Bind>),
    /// `optMap` and `optFlatMap`.
    OptionalMap(Box<OptionalMap>),
    /// Adds an element to the list that a fold collects.
    Append(Box<Append>),
    /// Adds entries to the map that a fold collects.
    Insert(Box<Insert>),
}

/// A variable, or something else, and what is picked from it.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) root: Root,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) enum Root {
    Device,
    Variable(usize),
    Value(Node),
    /// One of two, by a condition.
    Choice(Node, Node, Node),
}

/// One step of a path: a field, a key or an index.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) key: StepKey,
    pub(super) optional: bool,
}

#[derive(Debug)]
pub(super) enum StepKey {
    Constant(Value<'static>),
    Computed(Node),
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) cost: Cost,
    pub(super) arguments: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Element {
    pub(super) value: Node,
    pub(super) optional: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Node,
    pub(super) value: Node,
    pub(super) optional: bool,
}

/// A loop over a list or a map.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) range: Node,
    /// The variable of the element or key, or, where there are two, of the index or key.
    pub(super) first: usize,
    /// The variable of the element or value, where there are two.
    pub(super) second: Option<usize>,
    pub(super) collected: usize,
    pub(super) start: Node,
    pub(super) condition: Node,
    pub(super) step: Node,
    pub(super) result: Node,
}

#[derive(Debug)]
pub(super) struct Bind {
    pub(super) variable: usize,
    pub(super) value: Node,
    pub(super) body: Node,
}

#[derive(Debug)]
pub(super) struct OptionalMap {
    pub(super) target: Node,
    pub(super) variable: usize,
    pub(super) body: Node,
    /// Whether the body is an optional already.
    pub(super) flat: bool,
}

#[derive(Debug)]
pub(super) struct Append {
    pub(super) collected: usize,
    pub(super) element: Node,
    /// What making the list of the one element costs.
    pub(super) cost: u64,
}

#[derive(Debug)]
pub(super) struct Insert {
    pub(super) collected: usize,
    /// Absent where the value is a map, all of whose entries are added.
    pub(super) key: Option<Node>,
    pub(super) value: Node,
}
