//! Checks the types of an expression and plans how it runs.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};
use cel::common::types::CelBytes;

use self::calls::{qualified_name, text};
use self::planned::{collecting, path_of, planned_list, planned_map};
use super::cost::Budget;
use super::plan::{Bind, Element, Entry, Fold, Node, Path, Root, Step, StepKey};
use super::signatures::type_named;
use super::types::{DEVICE, Substitution, Type};
use super::value::Value;
use super::{CompileError, Environment, special};

mod calls;
mod planned;

/// How deep expressions may be nested.
const DEPTH: usize = 300;

/// A checked expression.
pub(super) struct Checked {
    pub(super) node: Node,
    pub(super) output: Type,
    /// How many variables it has.
    pub(super) variables: usize,
}

/// Checks an expression.
pub(super) fn check(environment: Environment, expression: &IdedExpr) -> Result<Checked, CompileError> {
    let mut checker = Checker {
        environment,
        types: Substitution::default(),
        scopes: Vec::new(),
        variables: 0,
        literals: Vec::new(),
        constants: Budget::default(),
        formats: 0,
        formatted: HashMap::new(),
        depth: 0,
    };
    let (node, output) = checker.expression(expression)?;
    checker.literals_are_of_one_type()?;
    let output = checker.types.apply(&output, true);
    Ok(Checked { node, output, variables: checker.variables })
}

type Typed = (Node, Type);

struct Checker {
    environment: Environment,
    types: Substitution,
    /// The variables that can be seen, the innermost last.
    scopes: Vec<Variable>,
    variables: usize,
    /// The types of the elements of every literal list and map, all of which must be the same in the end.
    literals: Vec<Vec<Type>>,
    /// What was done with constants.
    constants: Budget,
    /// How many calls of `format` stand around.
    formats: usize,
    /// The types of what stands in calls of `format`, by the parser's numbers.
    formatted: HashMap<u64, Type>,
    depth: usize,
}

#[derive(Clone)]
struct Variable {
    name: String,
    of: Type,
    number: usize,
}

impl Checker {
    fn expression(&mut self, expression: &IdedExpr) -> Result<Typed, CompileError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(CompileError::new(format!("the expression is nested more than {DEPTH} times")));
        }
        let typed = self.expression_within(expression)?;
        self.depth -= 1;
        if self.types.too_large(&typed.1) {
            return Err(CompileError::new("the types of the expression are too large"));
        }
        if self.formats > 0 {
            self.formatted.insert(expression.id, typed.1.clone());
        }
        Ok(typed)
    }

    fn expression_within(&mut self, expression: &IdedExpr) -> Result<Typed, CompileError> {
        match &expression.expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(expression, select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let mut elements = Vec::with_capacity(list.elements.len());
                let mut types = Vec::with_capacity(list.elements.len());
                for (index, element) in list.elements.iter().enumerate() {
                    let optional = list.optional_indices.contains(&index);
                    let (value, of) = self.expression(element)?;
                    types.push(self.inside_optional(of, optional)?);
                    elements.push(Element { value, optional });
                }
                let of = self.joined(&types);
                self.literal(types);
                Ok((planned_list(elements), Type::list(of)))
            }
            Expr::Map(map) => {
                let (mut entries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(CompileError::new("a field stands in a map"));
                    };
                    let (key, key_type) = self.expression(&entry.key)?;
                    let (value, value_type) = self.expression(&entry.value)?;
                    keys.push(key_type);
                    values.push(self.inside_optional(value_type, entry.optional)?);
                    entries.push(Entry { key, value, optional: entry.optional });
                }
                let of = Type::map(self.joined(&keys), self.joined(&values));
                self.literal(keys);
                self.literal(values);
                Ok((planned_map(entries)?, of))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(message) => Err(CompileError::new(format!(
                "objects such as {} cannot be made in a device selector",
                message.type_name
            ))),
            Expr::Unspecified => Err(CompileError::new("the expression is incomplete")),
        }
    }

    /// The type of an element: what an optional element holds.
    fn inside_optional(&self, of: Type, optional: bool) -> Result<Type, CompileError> {
        if !optional {
            return Ok(of);
        }
        match self.types.apply(&of, false) {
            Type::Optional(inner) => Ok((*inner).clone()),
            of if of.is_dyn() => Ok(of),
            of => Err(CompileError::new(format!("expected type 'optional_type({of})' but found '{of}'"))),
        }
    }

    /// The one type of several elements, `dyn` where they have none.
    fn joined(&mut self, types: &[Type]) -> Type {
        let mut joined: Option<Type> = None;
        for of in types {
            joined = Some(match joined {
                None => of.clone(),
                Some(before) if self.types.assign(&before, of) => before.most_general(of.clone()),
                Some(_) => Type::Dyn,
            });
        }
        joined.unwrap_or_else(|| self.types.fresh())
    }

    /// Notes the types of a literal's elements, which must be one; those that a text is formatted with may differ.
    fn literal(&mut self, types: Vec<Type>) {
        if self.formats == 0 {
            self.literals.push(types);
        }
    }

    fn literals_are_of_one_type(&self) -> Result<(), CompileError> {
        for types in &self.literals {
            let mut types = types.iter().map(|of| self.types.apply(of, true));
            let Some(first) = types.next() else { continue };
            if let Some(other) = types.find(|of| *of != first) {
                return Err(mismatch(&first, &other));
            }
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<Typed, CompileError> {
        let bare = name.strip_prefix('.');
        let local = if bare.is_none() {
            self.scopes.iter().rev().find(|variable| variable.name == name)
        } else {
            None
        };
        if let Some(variable) = local {
            let path = Path { root: Root::Variable(variable.number), steps: Vec::new() };
            return Ok((Node::Path(Box::new(path)), variable.of.clone()));
        }
        let name = bare.unwrap_or(name);
        if name == "device" {
            return Ok((
                Node::Path(Box::new(Path { root: Root::Device, steps: Vec::new() })),
                Type::Object(DEVICE),
            ));
        }
        let of = type_named(name).ok_or_else(|| undeclared(name))?;
        Ok((Node::Constant(Value::Type(name.into())), Type::Meta(Arc::new(of))))
    }

    fn select(&mut self, expression: &IdedExpr, select: &SelectExpr) -> Result<Typed, CompileError> {
        if let Some(name) = qualified_name(&expression.expr)
            && let Some(of) = type_named(&name)
        {
            return Ok((Node::Constant(Value::Type(name.as_str().into())), Type::Meta(Arc::new(of))));
        }
        let (operand, of) = self.expression(&select.operand)?;
        let result = self.field(&of, &select.field, false)?;
        let mut path = path_of(operand);
        path.steps.push(Step { key: StepKey::Constant(Value::string(&select.field)), optional: false });
        let path = Box::new(path);
        if select.test { Ok((Node::Has(path), Type::Bool)) } else { Ok((Node::Path(path), result)) }
    }

    /// The type of a field.
    fn field(&mut self, of: &Type, field: &str, optional: bool) -> Result<Type, CompileError> {
        let of = self.types.apply(of, false);
        let (target, was_optional) = of.unwrapped();
        let result = match target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(DEVICE) => self.device_field(field)?,
            Type::Object(_) => return Err(CompileError::new(format!("undefined field '{field}'"))),
            Type::Parameter(_) => {
                self.types.assign(&Type::Dyn, target);
                Type::Dyn
            }
            dynamic if dynamic.is_dyn() => Type::Dyn,
            other => {
                return Err(CompileError::new(format!("type '{other}' does not support field selection")));
            }
        };
        Ok(if was_optional || optional { Type::optional(result) } else { result })
    }

    fn device_field(&self, field: &str) -> Result<Type, CompileError> {
        let by_domain = |value| Type::map(Type::String, Type::map(Type::String, value));
        match field {
            "driver" => Ok(Type::String),
            "attributes" => {
                Ok(by_domain(if self.environment.list_attributes { Type::Dyn } else { Type::Any }))
            }
            "capacity" => Ok(by_domain(Type::Object("kubernetes.Quantity"))),
            "allowMultipleAllocations" => Ok(Type::Bool),
            _ => Err(CompileError::new(format!("undefined field '{field}'"))),
        }
    }

    fn declare(&mut self, name: &str, of: Type) -> usize {
        let number = self.variables;
        self.variables += 1;
        self.scopes.push(Variable { name: name.to_owned(), of, number });
        number
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Result<Typed, CompileError> {
        if special::is_binding(comprehension) {
            let (value, of) = self.expression(&comprehension.accu_init)?;
            let variable = self.declare(&comprehension.accu_var, of);
            let body = self.expression(&comprehension.result);
            self.scopes.pop();
            let (body, of) = body?;
            return Ok((Node::Bind(Box::new(Bind { variable, value, body })), of));
        }
        let (range, range_type) = self.expression(&comprehension.iter_range)?;
        let (start, collected_type) = self.expression(&comprehension.accu_init)?;
        let (first_type, second_type) = self.iterated(&range_type, comprehension.iter_var2.is_some())?;
        let scope = self.scopes.len();
        let collected = self.declare(&comprehension.accu_var, collected_type.clone());
        let first = self.declare(&comprehension.iter_var, first_type);
        let second = comprehension.iter_var2.as_ref().map(|name| self.declare(name, second_type));
        let (condition, condition_type) = self.expression(&comprehension.loop_cond)?;
        self.must_be(&condition_type, &Type::Bool)?;
        let (step, step_type) = self.expression(&comprehension.loop_step)?;
        self.must_be(&step_type, &collected_type)?;
        self.scopes.truncate(scope + 1);
        let (result, of) = self.expression(&comprehension.result)?;
        self.scopes.truncate(scope);
        let step = collecting(step, collected);
        let of = self.types.apply(&of, false);
        Ok((
            Node::Fold(Box::new(Fold { range, first, second, collected, start, condition, step, result })),
            of,
        ))
    }

    /// What the variables of a loop are.
    fn iterated(&mut self, range: &Type, two: bool) -> Result<(Type, Type), CompileError> {
        let range = self.types.apply(range, false);
        Ok(match &range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Parameter(_) => {
                self.types.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            Type::Dyn => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                return Err(CompileError::new(message));
            }
        })
    }

    fn must_be(&mut self, of: &Type, wanted: &Type) -> Result<(), CompileError> {
        if self.types.assign(wanted, of) {
            return Ok(());
        }
        Err(mismatch(&self.types.apply(wanted, true), &self.types.apply(of, true)))
    }
}

fn mismatch(expected: &Type, found: &Type) -> CompileError {
    CompileError::new(format!("expected type '{expected}' but found '{found}'"))
}

fn undeclared(name: &str) -> CompileError {
    CompileError::new(format!("undeclared reference to '{name}'"))
}

fn constant(literal: &LiteralValue) -> Result<Typed, CompileError> {
    let bytes = |of: &CelBytes<'static>| Value::Bytes(of.inner().into());
    let (value, of) = match literal {
        LiteralValue::Boolean(value) => (Value::Bool(*value.inner()), Type::Bool),
        LiteralValue::Bytes(value) => (bytes(value), Type::Bytes),
        LiteralValue::Double(value) => (Value::Double(*value.inner()), Type::Double),
        LiteralValue::Int(value) => (Value::Int(*value.inner()), Type::Int),
        LiteralValue::Null => (Value::Null, Type::Null),
        LiteralValue::String(value) => (Value::string(text(value)), Type::String),
        LiteralValue::UInt(value) => (Value::Uint(*value.inner()), Type::Uint),
    };
    Ok((Node::Constant(value), of))
}
