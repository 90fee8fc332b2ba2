//! What of a device an expression may read, found without running it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::plan::{Bind, Node, Path, Root, Step, StepKey};
use super::value::Value;
use super::{Read, Reads};

/// What an expression may read.
pub(super) fn of(node: &Node) -> Reads {
    let mut found = Found::default();
    found.node(node);
    if found.everything { Reads::Everything } else { Reads::Only(found.reads) }
}

#[derive(Default)]
struct Found<'p> {
    reads: BTreeSet<Read>,
    everything: bool,
    /// Variables that are names for a part of the device, such as one domain: the steps that lead there.
    names: HashMap<usize, Vec<&'p Step>>,
}

impl<'p> Found<'p> {
    fn node(&mut self, node: &'p Node) {
        match node {
            Node::Constant(_) => {}
            Node::Path(path) | Node::Has(path) => self.path(path),
            Node::And(terms) | Node::Or(terms) => terms.iter().for_each(|term| self.node(term)),
            Node::Equal(sides)
            | Node::Unequal(sides)
            | Node::OptionalOr(sides)
            | Node::OptionalOrValue(sides) => {
                sides.iter().for_each(|side| self.node(side));
            }
            Node::NotStrictlyFalse(of) => self.node(of),
            Node::Member(member) => self.node(&member.0),
            Node::Call(call) => call.arguments.iter().for_each(|argument| self.node(argument)),
            Node::List(elements) => elements.iter().for_each(|element| self.node(&element.value)),
            Node::Map(entries) => entries.iter().for_each(|entry| {
                self.node(&entry.key);
                self.node(&entry.value);
            }),
            Node::Fold(fold) => {
                for part in [&fold.range, &fold.start, &fold.condition, &fold.step, &fold.result] {
                    self.node(part);
                }
            }
            Node::Bind(bind) => self.bind(bind),
            Node::OptionalMap(map) => {
                self.node(&map.target);
                self.node(&map.body);
            }
            Node::Append(append) => self.node(&append.element),
            Node::Insert(insert) => {
                if let Some(key) = &insert.key {
                    self.node(key);
                }
                self.node(&insert.value);
            }
        }
    }

    fn bind(&mut self, bind: &'p Bind) {
        match &bind.value {
            Node::Path(path) if is_constant(path) && path.steps.len() < 3 => match self.steps_on_device(path)
            {
                Some(steps) => {
                    self.names.insert(bind.variable, steps);
                }
                None => self.path(path),
            },
            value => self.node(value),
        }
        self.node(&bind.body);
    }

    /// The steps from the device to where a path leads, where it starts there.
    fn steps_on_device(&self, path: &'p Path) -> Option<Vec<&'p Step>> {
        let before = match &path.root {
            Root::Device => Vec::new(),
            Root::Variable(number) => self.names.get(number)?.clone(),
            _ => return None,
        };
        Some(before.into_iter().chain(&path.steps).collect())
    }

    fn path(&mut self, path: &'p Path) {
        if let Some(steps) = self.steps_on_device(path) {
            self.device(&steps);
        }
        match &path.root {
            Root::Device | Root::Variable(_) => {}
            Root::Value(node) => self.node(node),
            Root::Choice(condition, then, other) => {
                for part in [condition, then, other] {
                    self.node(part);
                }
            }
        }
        for step in &path.steps {
            if let StepKey::Computed(node) = &step.key {
                self.node(node);
            }
        }
    }

    /// A path that starts at the device: one thing where it names it whole, and else everything.
    fn device(&mut self, steps: &[&Step]) {
        let mut names = steps.iter().map(|step| match &step.key {
            StepKey::Constant(Value::String(name)) => Some(Arc::clone(name)),
            _ => None,
        });
        let read = match names.next().flatten().as_deref() {
            Some("driver") => Some(Read::Driver),
            Some("allowMultipleAllocations") => Some(Read::AllowMultipleAllocations),
            Some(kind @ ("attributes" | "capacity")) => {
                match (names.next().flatten(), names.next().flatten()) {
                    (Some(domain), Some(name)) if kind == "attributes" => {
                        Some(Read::Attribute { domain, name })
                    }
                    (Some(domain), Some(name)) => Some(Read::Capacity { domain, name }),
                    _ => None,
                }
            }
            _ => None,
        };
        match read {
            Some(read) => {
                self.reads.insert(read);
            }
            None => self.everything = true,
        }
    }
}

/// Whether every step is known before the expression runs.
fn is_constant(path: &Path) -> bool {
    path.steps.iter().all(|step| matches!(step.key, StepKey::Constant(_)))
}
