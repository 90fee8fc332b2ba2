//! What is written as a call and is more: macros, and calls that are settled before the expression runs.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr, operators,
};
use cel::common::types::{CelBool, CelInt};

use super::CompileError;
use super::cost::Budget;
use super::map::whole;
use super::plan::{Call, Node};
use super::value::{Fatal, Fault, Value};

/// The name of what a loop collects; the parser gives it, and no expression can write it.
const COLLECTED: &str = "@result";

fn node(expr: Expr) -> IdedExpr {
    IdedExpr { id: 0, expr }
}

fn name(of: &str) -> IdedExpr {
    node(Expr::Ident(of.to_owned()))
}

fn called(function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    node(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
}

fn boolean(value: bool) -> IdedExpr {
    node(Expr::Literal(LiteralValue::Boolean(CelBool::from(value))))
}

fn integer(value: i64) -> IdedExpr {
    node(Expr::Literal(LiteralValue::Int(CelInt::from(value))))
}

fn list(elements: Vec<IdedExpr>) -> IdedExpr {
    node(Expr::List(ListExpr::new(elements)))
}

/// What a call to a macro stands for; `None` where it is no such call.
pub(super) fn expanded(call: &CallExpr) -> Result<Option<IdedExpr>, CompileError> {
    let args = call.args.as_slice();
    let Some(target) = &call.target else {
        return match (call.func_name.as_str(), args) {
            (operators::HAS, [of]) => presence(of).map(Some),
            _ => Ok(None),
        };
    };
    Ok(match (call.func_name.as_str(), args) {
        ("bind", [variable, value, body]) if matches!(&target.expr, Expr::Ident(name) if name == "cel") => {
            Some(binding(
                variable_name(variable, "cel.bind() variable names must be simple identifiers")?,
                value,
                body.clone(),
            ))
        }
        ("sortBy", [variable, key]) => Some(sort_by(target, variable, key)?),
        ("all", [variables @ .., condition]) if matches!(variables.len(), 1 | 2) => {
            let going = called(operators::NOT_STRICTLY_FALSE, vec![name(COLLECTED)]);
            let step = called(operators::LOGICAL_AND, vec![name(COLLECTED), condition.clone()]);
            Some(looped(target, variables, boolean(true), going, step, name(COLLECTED))?)
        }
        ("exists", [variables @ .., condition]) if matches!(variables.len(), 1 | 2) => {
            let not_yet = called(operators::LOGICAL_NOT, vec![name(COLLECTED)]);
            let going = called(operators::NOT_STRICTLY_FALSE, vec![not_yet]);
            let step = called(operators::LOGICAL_OR, vec![name(COLLECTED), condition.clone()]);
            Some(looped(target, variables, boolean(false), going, step, name(COLLECTED))?)
        }
        // Kubernetes knows the first name with two variables only.
        ("existsOne" | "exists_one", [variables @ .., condition])
            if variables.len() == 2 || (variables.len() == 1 && call.func_name == "exists_one") =>
        {
            let more = called(operators::ADD, vec![name(COLLECTED), integer(1)]);
            let step = called(operators::CONDITIONAL, vec![condition.clone(), more, name(COLLECTED)]);
            let one = called(operators::EQUALS, vec![name(COLLECTED), integer(1)]);
            Some(looped(target, variables, integer(0), boolean(true), step, one)?)
        }
        ("filter", [variable, condition]) => {
            let more = |value: IdedExpr| called(operators::ADD, vec![name(COLLECTED), list(vec![value])]);
            let rest = [condition.clone(), variable.clone()];
            Some(transformed(target, &args[..1], &rest, list(Vec::new()), more)?)
        }
        ("map", [_, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let more = |value: IdedExpr| called(operators::ADD, vec![name(COLLECTED), list(vec![value])]);
            Some(transformed(target, &args[..1], rest, list(Vec::new()), more)?)
        }
        ("transformList", [_, _, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let more = |value: IdedExpr| called(operators::ADD, vec![name(COLLECTED), list(vec![value])]);
            Some(transformed(target, &args[..2], rest, list(Vec::new()), more)?)
        }
        ("transformMap", [key, _, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let more = |value: IdedExpr| called("cel.@mapInsert", vec![name(COLLECTED), key.clone(), value]);
            Some(transformed(target, &args[..2], rest, node(Expr::Map(MapExpr::default())), more)?)
        }
        ("transformMapEntry", [_, _, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
            let more = |value: IdedExpr| called("cel.@mapInsert", vec![name(COLLECTED), value]);
            Some(transformed(target, &args[..2], rest, node(Expr::Map(MapExpr::default())), more)?)
        }
        _ => None,
    })
}

fn variable_name<'e>(of: &'e IdedExpr, otherwise: &str) -> Result<&'e str, CompileError> {
    match &of.expr {
        Expr::Ident(name) => Ok(name),
        _ => Err(CompileError::new(otherwise)),
    }
}

/// A loop that collects what comes out of the last of `rest`, where the first of two holds.
fn transformed(
    target: &IdedExpr,
    variables: &[IdedExpr],
    rest: &[IdedExpr],
    start: IdedExpr,
    more: impl Fn(IdedExpr) -> IdedExpr,
) -> Result<IdedExpr, CompileError> {
    let step = match rest {
        [filter, value] => {
            called(operators::CONDITIONAL, vec![filter.clone(), more(value.clone()), name(COLLECTED)])
        }
        [value] => more(value.clone()),
        _ => return Err(CompileError::new("one or two expressions are needed")),
    };
    looped(target, variables, start, boolean(true), step, name(COLLECTED))
}

/// A loop with a variable for the element or key; or with one for the index or key, and one for the element or value.
fn looped(
    target: &IdedExpr,
    variables: &[IdedExpr],
    start: IdedExpr,
    going: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
) -> Result<IdedExpr, CompileError> {
    let mut names = Vec::new();
    for variable in variables {
        let name = variable_name(variable, "argument must be a simple name")?;
        if name == "__result__" {
            return Err(CompileError::new("iteration variable overwrites accumulator variable"));
        }
        if names.contains(&name) {
            return Err(CompileError::new(format!("duplicate variable name: {name}")));
        }
        names.push(name);
    }
    let mut names = names.into_iter().map(str::to_owned);
    Ok(node(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: target.clone(),
        iter_var: names.next().unwrap_or_default(),
        iter_var2: names.next(),
        accu_var: COLLECTED.to_owned(),
        accu_init: start,
        loop_cond: going,
        loop_step: step,
        result,
    }))))
}

/// Whether a field is there.
fn presence(of: &IdedExpr) -> Result<IdedExpr, CompileError> {
    match &of.expr {
        Expr::Select(select) => Ok(node(Expr::Select(SelectExpr { test: true, ..select.clone() }))),
        _ => Err(CompileError::new("invalid argument to has() macro")),
    }
}

/// A name for a value within one expression, in the form of a loop over nothing.
fn binding(variable: &str, value: &IdedExpr, body: IdedExpr) -> IdedExpr {
    node(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: list(Vec::new()),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: variable.to_owned(),
        accu_init: value.clone(),
        loop_cond: boolean(false),
        loop_step: name(variable),
        result: body,
    })))
}

/// Whether a loop is but a name for a value.
pub(super) fn is_binding(comprehension: &ComprehensionExpr) -> bool {
    comprehension.iter_var == "#unused"
}

/// Sorts a list by what an expression says of each element.
fn sort_by(target: &IdedExpr, variable: &IdedExpr, key: &IdedExpr) -> Result<IdedExpr, CompileError> {
    const INPUT: &str = "@__sortBy_input__";
    if matches!(target.expr, Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_)) {
        let message =
            "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err(CompileError::new(message));
    }
    let variable = variable_name(variable, "argument is not an identifier")?;
    let keys = node(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: name(INPUT),
        iter_var: variable.to_owned(),
        iter_var2: None,
        accu_var: COLLECTED.to_owned(),
        accu_init: list(Vec::new()),
        loop_cond: boolean(true),
        loop_step: called(operators::ADD, vec![name(COLLECTED), list(vec![key.clone()])]),
        result: name(COLLECTED),
    })));
    let sorted = node(Expr::Call(CallExpr {
        func_name: "@sortByAssociatedKeys".to_owned(),
        target: Some(Box::new(name(INPUT))),
        args: vec![keys],
    }));
    Ok(binding(INPUT, target, sorted))
}

/// The elements of a constant list as a set that is looked up without cost; `None` where they make none.
pub(super) fn constant_set(elements: &[Value<'static>]) -> Option<Vec<Value<'static>>> {
    elements
        .iter()
        .all(|element| {
            matches!(
                element,
                Value::Bool(_)
                    | Value::Int(_)
                    | Value::Uint(_)
                    | Value::Double(_)
                    | Value::String(_)
                    | Value::Null
            )
        })
        .then(|| elements.to_vec())
}

/// Whether a set of constants has a value: equal and of the same kind, or the same number.
pub(super) fn in_set(value: &Value<'_>, set: &[Value<'static>]) -> Result<bool, Fault> {
    if value.is_unhashable() {
        return Err(Fault::Fatal(Fatal::Internal));
    }
    Ok(set.iter().any(|element| match (value, element) {
        (Value::String(mine), Value::String(theirs)) => mine == theirs,
        (Value::Bool(mine), Value::Bool(theirs)) => mine == theirs,
        (Value::Null, Value::Null) => true,
        (Value::Double(mine), Value::Double(theirs)) => mine == theirs,
        (Value::Double(mine), Value::Int(_) | Value::Uint(_)) => whole(*mine) == number(element),
        (Value::Int(_) | Value::Uint(_), Value::Double(theirs)) => whole(*theirs) == number(value),
        (Value::Int(_) | Value::Uint(_), Value::Int(_) | Value::Uint(_)) => number(value) == number(element),
        _ => false,
    }))
}

fn number(of: &Value<'_>) -> Option<i128> {
    match of {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    }
}

/// The call, or its value where that is certain; an error where the call can only fail.
pub(super) fn settled(call: Call, budget: &mut Budget) -> Result<Node, CompileError> {
    let wrong = |fault: Fault| match fault {
        Fault::Error(message) => CompileError::new(message),
        Fault::Fatal(_) => {
            CompileError::new("its constants are too large, or too many of its regular expressions are")
        }
    };
    match (call.name, call.arguments.as_slice()) {
        (
            "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "type"
            | "uint",
            [Node::Constant(argument)],
        ) => {
            let value = (call.function)(std::slice::from_ref(argument), budget).map_err(wrong)?;
            return Ok(Node::Constant(value));
        }
        ("matches" | "find" | "findAll", [text, Node::Constant(Value::String(pattern)), ..]) => {
            budget.pattern(pattern).map_err(wrong)?.valid().map_err(wrong)?;
            if let ("matches", Node::Constant(Value::String(text))) = (call.name, text)
                && call.cost == super::cost::Cost::Fixed(1)
            {
                // Called as a function, upstream takes the first argument for the pattern when it checks literals.
                budget.pattern(text).map_err(wrong)?.valid().map_err(wrong)?;
            }
        }
        _ => {}
    }
    Ok(Node::Call(Box::new(call)))
}
