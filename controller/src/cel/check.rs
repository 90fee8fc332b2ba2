//! Checks the types of an expression and plans how it runs.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};
use cel::common::types::{CelBytes, CelString};

use super::cost::{self, Budget, Cost};
use super::library;
use super::plan::{
    Append, Bind, Call, Element, Entry, Fold, Insert, Node, OptionalMap, Path, Root, Step, StepKey,
};
use super::signatures::{overloads, type_named};
use super::types::{DEVICE, Substitution, Type};
use super::value::Value;
use super::{CompileError, Environment, special};

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
        Ok((Node::Constant(Value::Type(name.into())), Type::Type(Arc::new(of))))
    }

    fn select(&mut self, expression: &IdedExpr, select: &SelectExpr) -> Result<Typed, CompileError> {
        if let Some(name) = qualified_name(&expression.expr)
            && let Some(of) = type_named(&name)
        {
            return Ok((Node::Constant(Value::Type(name.as_str().into())), Type::Type(Arc::new(of))));
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

    fn call(&mut self, call: &CallExpr) -> Result<Typed, CompileError> {
        if let Some(expanded) = special::expanded(call)? {
            return self.expression(&expanded);
        }
        if call.func_name == "format" {
            self.formats += 1;
            let typed = self.ordinary_call(call)?;
            self.template_fits(call)?;
            self.formats -= 1;
            return Ok(typed);
        }
        self.ordinary_call(call)
    }

    /// Whether the values that a literal template is filled with are of the types that it asks for.
    fn template_fits(&self, call: &CallExpr) -> Result<(), CompileError> {
        let (Some(target), [IdedExpr { expr: Expr::List(values), .. }]) =
            (&call.target, call.args.as_slice())
        else {
            return Ok(());
        };
        let Expr::Literal(LiteralValue::String(template)) = &target.expr else { return Ok(()) };
        let clauses = library::clauses_of(text(template)).map_err(CompileError::new)?;
        if clauses.len() != values.elements.len() {
            let message = format!(
                "string.format expects {} arguments and has {}",
                clauses.len(),
                values.elements.len()
            );
            return Err(CompileError::new(message));
        }
        for (clause, value) in clauses.into_iter().zip(&values.elements) {
            self.clause_fits(clause, value)?;
        }
        Ok(())
    }

    fn clause_fits(&self, clause: char, value: &IdedExpr) -> Result<(), CompileError> {
        let of = self.formatted.get(&value.id).map_or(Type::Dyn, |of| self.types.apply(of, true));
        let fits = match clause {
            's' => !matches!(of, Type::Any | Type::Optional(_) | Type::Object(_) | Type::Parameter(_)),
            'd' | 'o' => matches!(of, Type::Dyn | Type::Int | Type::Uint),
            'f' | 'e' => matches!(of, Type::Dyn | Type::Double | Type::String),
            'b' => matches!(of, Type::Dyn | Type::Int | Type::Uint | Type::Bool),
            _ => matches!(of, Type::Dyn | Type::Int | Type::Uint | Type::String | Type::Bytes),
        };
        if !fits {
            return Err(CompileError::new(format!(
                "error during formatting: %{clause} cannot be used on {of}"
            )));
        }
        match &value.expr {
            Expr::List(list) if clause == 's' => {
                list.elements.iter().try_for_each(|element| self.clause_fits('s', element))
            }
            Expr::Map(map) if clause == 's' => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.clause_fits('s', &entry.key).and_then(|()| self.clause_fits('s', &entry.value))
                }
                EntryExpr::StructField(_) => Ok(()),
            }),
            _ => Ok(()),
        }
    }

    fn ordinary_call(&mut self, call: &CallExpr) -> Result<Typed, CompileError> {
        match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            ("_?._", None, [operand, field]) => return self.optional_select(operand, field),
            ("optMap", Some(target), [variable, body]) => {
                return self.optional_map(target, variable, body, false);
            }
            ("optFlatMap", Some(target), [variable, body]) => {
                return self.optional_map(target, variable, body, true);
            }
            _ => {}
        }
        let arguments =
            call.args.iter().map(|argument| self.expression(argument)).collect::<Result<Vec<_>, _>>()?;
        let Some(target) = &call.target else {
            let name = call.func_name.strip_prefix('.').unwrap_or(&call.func_name);
            return self.called(name, false, arguments);
        };
        if let Some(prefix) = qualified_name(&target.expr) {
            let prefix = prefix.strip_prefix('.').unwrap_or(&prefix);
            let name = format!("{prefix}.{}", call.func_name);
            if overloads(&name).is_some() {
                return self.called(&name, false, arguments);
            }
        }
        let mut all = vec![self.expression(target)?];
        all.extend(arguments);
        self.called(&call.func_name, true, all)
    }

    /// A call: which overloads the arguments fit, and what comes out.
    fn called(&mut self, name: &str, on_value: bool, arguments: Vec<Typed>) -> Result<Typed, CompileError> {
        if overloads(name).is_none() {
            return Err(undeclared(name));
        }
        let (nodes, types): (Vec<Node>, Vec<Type>) = arguments.into_iter().unzip();
        if matches!(name, "_&&_" | "_||_") {
            for of in &types {
                if !self.types.assign(of, &Type::Bool) {
                    return Err(mismatch(&Type::Bool, &self.types.apply(of, true)));
                }
            }
            return Ok((if name == "_&&_" { Node::And(nodes) } else { Node::Or(nodes) }, Type::Bool));
        }
        let mut fitting: Vec<&'static str> = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads(name).unwrap_or_default() {
            if overload.on_value != on_value || overload.parameters.len() != types.len() {
                continue;
            }
            let first = self.types.fresh_block(overload.open);
            let parameters: Vec<Type> = overload.parameters.iter().map(|of| shifted(of, first)).collect();
            if !self.types.assign_all(types.iter().zip(&parameters)) {
                continue;
            }
            fitting.push(overload.id);
            let comes_out = self.types.apply(&shifted(&overload.result, first), false);
            result = Some(match result {
                None => comes_out,
                Some(before) if before == Type::Dyn || before == Type::Any || before == comes_out => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let types: Vec<String> = types.iter().map(|of| self.types.apply(of, true).to_string()).collect();
            return Err(CompileError::new(format!(
                "found no matching overload for '{name}' applied to '({})'",
                types.join(", ")
            )));
        };
        let overload = if let [only] = fitting.as_slice() { Some(*only) } else { None };
        Ok((planned_call(name, overload, nodes, &mut self.constants)?, result))
    }

    fn optional_select(&mut self, operand: &IdedExpr, field: &IdedExpr) -> Result<Typed, CompileError> {
        let Expr::Literal(LiteralValue::String(field)) = &field.expr else {
            return Err(CompileError::new("unsupported optional field selection"));
        };
        let field = text(field);
        let (operand, of) = self.expression(operand)?;
        let result = self.field(&of, field, true)?;
        let mut path = path_of(operand);
        path.steps.push(Step { key: StepKey::Constant(Value::string(field)), optional: true });
        Ok((Node::Path(Box::new(path)), result))
    }

    fn optional_map(
        &mut self,
        target: &IdedExpr,
        variable: &IdedExpr,
        body: &IdedExpr,
        flat: bool,
    ) -> Result<Typed, CompileError> {
        let Expr::Ident(name) = &variable.expr else {
            return Err(CompileError::new("optMap() variable name must be a simple identifier"));
        };
        let (target, of) = self.expression(target)?;
        let value = self.types.fresh();
        if !self.types.assign(&of, &Type::optional(value.clone())) {
            let of = self.types.apply(&of, true);
            return Err(CompileError::new(format!(
                "found no matching overload for 'hasValue' applied to '{of}.()'"
            )));
        }
        let variable = self.declare(name, self.types.apply(&value, false));
        let body = self.expression(body);
        self.scopes.pop();
        let (body, inner) = body?;
        let result = if flat {
            // As the other branch of a condition, the body must be an optional.
            let open = self.types.fresh();
            if !self.types.assign(&inner, &Type::optional(open)) {
                let of = self.types.apply(&inner, true);
                return Err(CompileError::new(format!(
                    "found no matching overload for '_?_:_' applied to '(bool, {of}, optional)'"
                )));
            }
            inner
        } else {
            Type::optional(inner)
        };
        Ok((Node::OptionalMap(Box::new(OptionalMap { target, variable, body, flat })), result))
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

/// The type with its parameters counted from `first`.
fn shifted(of: &Type, first: u32) -> Type {
    match of {
        Type::Parameter(number) => Type::Parameter(number + first),
        Type::List(inner) => Type::list(shifted(inner, first)),
        Type::Optional(inner) => Type::optional(shifted(inner, first)),
        Type::Type(inner) => Type::Type(Arc::new(shifted(inner, first))),
        Type::Map(entry) => Type::map(shifted(&entry.0, first), shifted(&entry.1, first)),
        other => other.clone(),
    }
}

/// A name with points in it, such as `sets.contains` without its last part.
fn qualified_name(of: &Expr) -> Option<String> {
    match of {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified_name(&select.operand.expr)?, select.field))
        }
        _ => None,
    }
}

fn text<'s>(of: &'s CelString<'static>) -> &'s str {
    of.inner()
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

/// What stands before a point or a bracket, as the start of a path.
fn path_of(operand: Node) -> Path {
    match operand {
        Node::Path(path) => *path,
        other => Path { root: Root::Value(other), steps: Vec::new() },
    }
}

fn planned_list(elements: Vec<Element>) -> Node {
    let constants: Option<Vec<Value<'static>>> = elements
        .iter()
        .map(|element| match &element.value {
            Node::Constant(value) if !element.optional => Some(value.clone()),
            _ => None,
        })
        .collect();
    constants.map_or(Node::List(elements), |constants| Node::Constant(Value::list(constants)))
}

fn planned_map(entries: Vec<Entry>) -> Result<Node, CompileError> {
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
    let mut map = super::map::Map::default();
    for (key, value) in constants {
        map.set(key, value).ok_or_else(|| CompileError::new("unsupported key type in a map"))?;
    }
    Ok(Node::Constant(Value::Map(Arc::new(map))))
}

fn planned_call(
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
fn collecting(step: Node, collected: usize) -> Node {
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
