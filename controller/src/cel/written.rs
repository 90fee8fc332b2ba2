//! Expressions, written as text again.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

/// How tightly the parts of an expression hold together, the loosest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    Choice,
    Or,
    And,
    Relation,
    Sum,
    Product,
    Unary,
    Member,
}

/// An expression as text; nothing where it holds what no selector can hold.
pub(super) fn written(of: &IdedExpr) -> Option<String> {
    at(of, Binding::Choice)
}

/// An expression as text that can stand in a row of `&&`.
pub(super) fn term(of: &IdedExpr) -> Option<String> {
    at(of, Binding::Relation)
}

/// An expression as text where something of this kind has to stand.
pub(super) fn at(of: &IdedExpr, within: Binding) -> Option<String> {
    let mut out = String::new();
    write(of, within, &mut out)?;
    Some(out)
}

/// A text as an expression has it, in quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for character in text.chars() {
        match character {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => out.push_str(&format!("\\U{:08x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('\'');
    out
}

/// What stands between two operands, and how tightly.
pub(super) fn infix(function: &str) -> Option<(&'static str, Binding)> {
    Some(match function {
        operators::LOGICAL_OR => ("||", Binding::Or),
        operators::LOGICAL_AND => ("&&", Binding::And),
        operators::EQUALS => ("==", Binding::Relation),
        operators::NOT_EQUALS => ("!=", Binding::Relation),
        operators::LESS => ("<", Binding::Relation),
        operators::LESS_EQUALS => ("<=", Binding::Relation),
        operators::GREATER => (">", Binding::Relation),
        operators::GREATER_EQUALS => (">=", Binding::Relation),
        operators::IN => ("in", Binding::Relation),
        operators::ADD => ("+", Binding::Sum),
        operators::SUBSTRACT => ("-", Binding::Sum),
        operators::MULTIPLY => ("*", Binding::Product),
        operators::DIVIDE => ("/", Binding::Product),
        operators::MODULO => ("%", Binding::Product),
        _ => return None,
    })
}

fn write(of: &IdedExpr, within: Binding, out: &mut String) -> Option<()> {
    match &of.expr {
        Expr::Literal(literal) => out.push_str(&constant(literal, within)),
        Expr::Ident(name) => out.push_str(name),
        Expr::Select(select) => {
            write(&select.operand, Binding::Member, out)?;
            out.push('.');
            out.push_str(&field(&select.field));
        }
        Expr::Call(call) => return write_call(call, within, out),
        Expr::List(list) => {
            out.push('[');
            for (index, element) in list.elements.iter().enumerate() {
                comma(index, out);
                if list.optional_indices.contains(&index) {
                    out.push('?');
                }
                write(element, Binding::Choice, out)?;
            }
            out.push(']');
        }
        Expr::Map(map) => {
            out.push('{');
            for (index, entry) in map.entries.iter().enumerate() {
                comma(index, out);
                let EntryExpr::MapEntry(entry) = &entry.expr else { return None };
                if entry.optional {
                    out.push('?');
                }
                write(&entry.key, Binding::Choice, out)?;
                out.push_str(": ");
                write(&entry.value, Binding::Choice, out)?;
            }
            out.push('}');
        }
        Expr::Comprehension(_) | Expr::Struct(_) | Expr::Unspecified => return None,
    }
    Some(())
}

fn write_call(call: &CallExpr, within: Binding, out: &mut String) -> Option<()> {
    let args = call.args.as_slice();
    match (&call.target, call.func_name.as_str(), args) {
        (None, operators::CONDITIONAL, [condition, then, other]) => {
            bracketed(within > Binding::Choice, out, |out| {
                write(condition, Binding::Or, out)?;
                out.push_str(" ? ");
                write(then, Binding::Or, out)?;
                out.push_str(" : ");
                write(other, Binding::Choice, out)
            })
        }
        (None, operators::LOGICAL_NOT | operators::NEGATE, [operand]) => {
            bracketed(within > Binding::Unary, out, |out| {
                out.push_str(if call.func_name == operators::LOGICAL_NOT { "!" } else { "-" });
                write(operand, Binding::Member, out)
            })
        }
        (None, operators::INDEX | operators::OPT_INDEX, [operand, index]) => {
            write(operand, Binding::Member, out)?;
            out.push_str(if call.func_name == operators::INDEX { "[" } else { "[?" });
            write(index, Binding::Choice, out)?;
            out.push(']');
            Some(())
        }
        (None, operators::OPT_SELECT, [operand, name]) => {
            let Expr::Literal(LiteralValue::String(name)) = &name.expr else { return None };
            write(operand, Binding::Member, out)?;
            out.push_str(".?");
            out.push_str(&field(name.inner()));
            Some(())
        }
        (None, function, [one, other]) if infix(function).is_some() => {
            let (sign, binding) = infix(function)?;
            bracketed(within > binding, out, |out| {
                write(one, binding, out)?;
                out.push(' ');
                out.push_str(sign);
                out.push(' ');
                // What is alike goes from left to right, unless it may be in any order.
                write(
                    other,
                    if matches!(binding, Binding::And | Binding::Or) { binding } else { next(binding) },
                    out,
                )
            })
        }
        (target, function, args) => {
            if let Some(target) = target {
                write(target, Binding::Member, out)?;
                out.push('.');
            }
            out.push_str(function);
            out.push('(');
            for (index, arg) in args.iter().enumerate() {
                comma(index, out);
                write(arg, Binding::Choice, out)?;
            }
            out.push(')');
            Some(())
        }
    }
}

fn next(binding: Binding) -> Binding {
    match binding {
        Binding::Choice => Binding::Or,
        Binding::Or => Binding::And,
        Binding::And => Binding::Relation,
        Binding::Relation => Binding::Sum,
        Binding::Sum => Binding::Product,
        Binding::Product => Binding::Unary,
        Binding::Unary | Binding::Member => Binding::Member,
    }
}

fn bracketed(brackets: bool, out: &mut String, inner: impl FnOnce(&mut String) -> Option<()>) -> Option<()> {
    if brackets {
        out.push('(');
    }
    inner(out)?;
    if brackets {
        out.push(')');
    }
    Some(())
}

fn comma(index: usize, out: &mut String) {
    if index > 0 {
        out.push_str(", ");
    }
}

/// A field's name: in backticks where it is no plain name.
fn field(name: &str) -> String {
    let is_plain = name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
        && !name.starts_with(|one: char| one.is_ascii_digit())
        && name != "in";
    if is_plain || name.starts_with('`') { name.to_owned() } else { format!("`{name}`") }
}

fn constant(literal: &LiteralValue, within: Binding) -> String {
    let text = match literal {
        LiteralValue::Boolean(value) => value.inner().to_string(),
        LiteralValue::Bytes(value) => {
            let bytes: String = value.inner().iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("b'{bytes}'")
        }
        // With a point or an exponent, always.
        LiteralValue::Double(value) => format!("{:?}", value.inner()),
        LiteralValue::Int(value) => value.inner().to_string(),
        LiteralValue::Null => "null".to_owned(),
        LiteralValue::String(value) => quoted(value.inner()),
        LiteralValue::UInt(value) => format!("{}u", value.inner()),
    };
    // A sign before a number, and a point behind it, would be a part of it.
    let is_number = matches!(literal, LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_));
    if is_number && within == Binding::Member { format!("({text})") } else { text }
}
