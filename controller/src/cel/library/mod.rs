//! The functions that may be called.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::cost::Budget;
use super::value::{Fault, Outcome, Value};

mod convert;
pub(super) mod format;
mod lists;
pub(super) mod network;
mod operators;
mod optional;
pub(super) mod pattern;
mod print;
mod quantity;
mod regex;
mod strings;
mod time;
mod translate;
pub(super) mod url;

/// A function. It checks the types of its arguments: they may have been unknown before.
pub(super) type Function = for<'a> fn(&[Value<'a>], &mut Budget) -> Outcome<'a>;

/// The clauses of a template of `format`, or why it is none.
pub(super) fn clauses_of(template: &str) -> Result<Vec<char>, String> {
    print::clauses(template).map_err(|fault| match fault {
        Fault::Error(message) => message.into_owned(),
        Fault::Fatal(_) => "the template is too long".to_owned(),
    })
}

/// The function of a name.
pub(super) fn function(name: &str) -> Option<(&'static str, Function)> {
    static ALL: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(|| {
        [
            operators::FUNCTIONS,
            convert::FUNCTIONS,
            time::FUNCTIONS,
            strings::FUNCTIONS,
            lists::FUNCTIONS,
            regex::FUNCTIONS,
            url::FUNCTIONS,
            network::FUNCTIONS,
            quantity::FUNCTIONS,
            format::FUNCTIONS,
            optional::FUNCTIONS,
            // Nothing that a device has can be asked for a right.
            &AUTHORIZATION.map(|name| (name, unanswered as Function)),
        ]
        .concat()
        .into_iter()
        .collect()
    });
    ALL.get_key_value(name).map(|(name, function)| (*name, *function))
}

const AUTHORIZATION: [&str; 13] = [
    "path",
    "group",
    "serviceAccount",
    "resource",
    "subresource",
    "namespace",
    "name",
    "check",
    "errored",
    "error",
    "allowed",
    "reason",
    "fieldSelector",
];

fn unanswered<'a>(_: &[Value<'a>], _: &mut Budget) -> Outcome<'a> {
    Err(Fault::no_such_overload())
}
