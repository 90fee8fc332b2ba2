//! How the parts of a checked expression run.

use std::sync::Arc;

use super::super::cost::{self, Budget, Cost};
use super::super::map::Map;
use super::super::plan::{Append, Call, Element, Entry, Insert, Node, Path, Root, Step, StepKey};
use super::super::value::Value;
use super::super::{CompileError, library, special};
use super::undeclared;

/// What stands before a point or a bracket, as the start of a path.
pub(super) fn path_of(operand: Node) -> Path {
    match operand {
        Node::Path(path) => *path,
        other => Path { root: Root::Value(other), steps: Vec::new() },
    }
}

pub(super) fn planned_list(elements: Vec<Element>) -> Node {
    let constants: Option<Vec<Value<'static>>> = elements
        .iter()
        .map(|element| match &element.value {
            Node::Constant(value) if !element.optional => Some(value.clone()),
            _ => None,
        })
        .collect();
    constants.map_or(Node::List(elements), |constants| Node::Constant(Value::list(constants)))
}

pub(super) fn planned_map(entries: Vec<Entry>) -> Result<Node, CompileError> {
    let constants: Option<Vec<_>> = entries
        .iter()
        .map(|entry| match (&entry.key, &entry.value) {
            (Node::Constant(key), Node::Constant(value)) if !entry.optional => {
                Some((key.clone(), value.clone()))
            }
            _ => None,
        })
        .collect();
    let Some(constants) = constants else { return Ok(Node::Map(entries)) };
    let mut map = Map::default();
    for (key, value) in constants {
        map.set(key, value).ok_or_else(|| CompileError::new("unsupported key type in a map"))?;
    }
    Ok(Node::Constant(Value::Map(Arc::new(map))))
}

pub(super) fn planned_call(
    name: &str,
    overload: Option<&'static str>,
    mut nodes: Vec<Node>,
    constants: &mut Budget,
) -> Result<Node, CompileError> {
    let pair = |nodes: Vec<Node>| {
        nodes.try_into().map(Box::new).map_err(|_| CompileError::new("two operands are needed"))
    };
    match name {
        "_==_" => return Ok(Node::Equal(pair(nodes)?)),
        "_!=_" => return Ok(Node::Unequal(pair(nodes)?)),
        "@not_strictly_false" => {
            if let Some(only) = nodes.pop() {
                return Ok(Node::NotStrictlyFalse(Box::new(only)));
            }
        }
        "or" => return Ok(Node::OptionalOr(pair(nodes)?)),
        "orValue" => return Ok(Node::OptionalOrValue(pair(nodes)?)),
        "_?_:_" => {
            if let (Some(other), Some(then), Some(condition)) = (nodes.pop(), nodes.pop(), nodes.pop()) {
                let root = Root::Choice(condition, then, other);
                return Ok(Node::Path(Box::new(Path { root, steps: Vec::new() })));
            }
        }
        "_[_]" | "_[?_]" => {
            if let (Some(index), Some(operand)) = (nodes.pop(), nodes.pop()) {
                let key = match index {
                    Node::Constant(value) => StepKey::Constant(value),
                    other => StepKey::Computed(other),
                };
                let mut path = path_of(operand);
                path.steps.push(Step { key, optional: name == "_[?_]" });
                return Ok(Node::Path(Box::new(path)));
            }
        }
        "@in" if overload == Some("in_list") => {
            if let [_, Node::Constant(Value::List(elements))] = nodes.as_slice()
                && let Some(set) = special::constant_set(elements)
            {
                if elements.is_empty() {
                    return Ok(Node::Constant(Value::Bool(false)));
                }
                nodes.truncate(1);
                if let Some(needle) = nodes.pop() {
                    return Ok(Node::Member(Box::new((needle, set))));
                }
            }
        }
        _ => {}
    }
    let (name, function) = library::function(name).ok_or_else(|| undeclared(name))?;
    let constant_pattern = matches!(nodes.get(1), Some(Node::Constant(Value::String(_))));
    let ends_at_failure = match name {
        "findAll" => true,
        "matches" | "find" => constant_pattern,
        "@in" | "sort" | "@sortByAssociatedKeys" => false,
        operator if operator.contains('_') => false,
        _ => nodes.len() > 2 || overload.is_none(),
    };
    let call =
        Call { name, function, cost: cost::of_call(name, overload), arguments: nodes, ends_at_failure };
    special::settled(call, constants)
}

/// The step of a loop that adds to what it collects, planned so that the collection is not copied.
pub(super) fn collecting(step: Node, collected: usize) -> Node {
    let is_collected = |node: &Node| matches!(node, Node::Path(path) if path.steps.is_empty() && matches!(path.root, Root::Variable(number) if number == collected));
    match step {
        Node::Path(mut path) if path.steps.is_empty() => {
            if let Root::Choice(condition, then, other) = path.root {
                path.root = Root::Choice(condition, collecting(then, collected), other);
            }
            Node::Path(path)
        }
        Node::Call(mut call) if call.name == "_+_" && call.arguments.first().is_some_and(is_collected) => {
            let single = match call.arguments.get(1) {
                Some(Node::List(elements)) if elements.len() == 1 && !elements[0].optional => true,
                Some(Node::Constant(Value::List(elements))) => elements.len() == 1,
                _ => false,
            };
            if !single || call.cost != Cost::Fixed(1) {
                return Node::Call(call);
            }
            match call.arguments.pop() {
                Some(Node::List(mut elements)) => match elements.pop() {
                    Some(element) => {
                        Node::Append(Box::new(Append { collected, element: element.value, cost: cost::LIST }))
                    }
                    None => Node::Call(call),
                },
                Some(Node::Constant(Value::List(elements))) => match elements.first() {
                    Some(element) => Node::Append(Box::new(Append {
                        collected,
                        element: Node::Constant(element.clone()),
                        cost: 0,
                    })),
                    None => Node::Call(call),
                },
                _ => Node::Call(call),
            }
        }
        Node::Call(mut call)
            if call.name == "cel.@mapInsert" && call.arguments.first().is_some_and(is_collected) =>
        {
            match (call.arguments.pop(), call.arguments.pop()) {
                (Some(value), Some(key)) if call.arguments.len() == 1 => {
                    Node::Insert(Box::new(Insert { collected, key: Some(key), value }))
                }
                (Some(value), _) => Node::Insert(Box::new(Insert { collected, key: None, value })),
                _ => Node::Call(call),
            }
        }
        other => other,
    }
}
