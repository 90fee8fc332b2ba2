//! Calls: which overloads of a function fit, and what comes out.

use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::CelString;

use super::super::plan::{Node, OptionalMap, Step, StepKey};
use super::super::signatures::overloads;
use super::super::types::Type;
use super::super::value::Value;
use super::super::{CompileError, library, special};
use super::planned::{path_of, planned_call};
use super::{Checker, Typed, mismatch, undeclared};

impl Checker {
    pub(super) fn call(&mut self, call: &CallExpr) -> Result<Typed, CompileError> {
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
}

/// The type with its parameters counted from `first`.
fn shifted(of: &Type, first: u32) -> Type {
    match of {
        Type::Parameter(number) => Type::Parameter(number + first),
        Type::List(inner) => Type::list(shifted(inner, first)),
        Type::Optional(inner) => Type::optional(shifted(inner, first)),
        Type::Meta(inner) => Type::Meta(Arc::new(shifted(inner, first))),
        Type::Map(entry) => Type::map(shifted(&entry.0, first), shifted(&entry.1, first)),
        other => other.clone(),
    }
}

/// A name with points in it, such as `sets.contains` without its last part.
pub(super) fn qualified_name(of: &Expr) -> Option<String> {
    match of {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified_name(&select.operand.expr)?, select.field))
        }
        _ => None,
    }
}

pub(super) fn text<'s>(of: &'s CelString<'static>) -> &'s str {
    of.inner()
}
