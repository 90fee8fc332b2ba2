//! What a PromQL expression asks for.

use std::collections::BTreeSet;

use promql_parser::parser::{Expr, LabelModifier, VectorSelector, parse};

use crate::dashboards::fill_in;

/// Values for Grafana's variables that make an expression PromQL, and that no dashboard writes itself.
pub const ANY: [(&str, &str); 7] = [
    ("__rate_interval", RATE_INTERVAL),
    ("__range", "1h17m"),
    ("cluster", ".*"),
    ("node", ".*"),
    ("namespace", ".*"),
    ("price", "0.1099"),
    ("datasource", "prometheus"),
];

/// What stands for `$__rate_interval` in [`ANY`].
pub const RATE_INTERVAL: &str = "4m23s";

/// A selector of series in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The metric.
    pub metric: String,
    /// Labels that it looks at, with the operator and the value.
    pub matchers: Vec<(String, String, String)>,
    /// The range, if it asks for one, as it is written.
    pub range: Option<std::time::Duration>,
    /// The functions around it, the innermost first.
    pub functions: Vec<String>,
}

/// Everything that an expression names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The selectors.
    pub selectors: Vec<Selector>,
    /// The labels that it groups or joins by.
    pub labels: BTreeSet<String>,
}

/// Reads an expression, with or without Grafana's variables.
///
/// # Errors
/// It is no PromQL.
pub fn named(expression: &str) -> Result<Named, String> {
    let filled = fill_in(expression, &ANY);
    if let Some((_, rest)) = filled.split_once('$') {
        return Err(format!("the variable ${} is not known here", rest.chars().take(20).collect::<String>()));
    }
    let mut named = Named::default();
    walk(&parse(&filled)?, &[], &mut named);
    Ok(named)
}

fn walk(expression: &Expr, functions: &[&str], named: &mut Named) {
    match expression {
        Expr::Aggregate(aggregate) => {
            note(aggregate.modifier.as_ref(), named);
            walk(&aggregate.expr, functions, named);
            if let Some(parameter) = &aggregate.param {
                walk(parameter, functions, named);
            }
        }
        Expr::Unary(unary) => walk(&unary.expr, functions, named),
        Expr::Binary(binary) => {
            if let Some(modifier) = &binary.modifier {
                note(modifier.matching.as_ref(), named);
                named
                    .labels
                    .extend(modifier.card.labels().into_iter().flat_map(|carried| carried.labels.clone()));
            }
            walk(&binary.lhs, functions, named);
            walk(&binary.rhs, functions, named);
        }
        Expr::Paren(paren) => walk(&paren.expr, functions, named),
        Expr::Subquery(subquery) => walk(&subquery.expr, functions, named),
        Expr::VectorSelector(selector) => named.selectors.push(select(selector, None, functions)),
        Expr::MatrixSelector(matrix) => {
            named.selectors.push(select(&matrix.vs, Some(matrix.range), functions));
        }
        Expr::Call(call) => {
            let functions: Vec<&str> =
                [call.func.name].into_iter().chain(functions.iter().copied()).collect();
            for argument in &call.args.args {
                walk(argument, &functions, named);
            }
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

fn note(modifier: Option<&LabelModifier>, named: &mut Named) {
    named.labels.extend(modifier.into_iter().flat_map(|modifier| modifier.labels().labels.clone()));
}

fn select(selector: &VectorSelector, range: Option<std::time::Duration>, functions: &[&str]) -> Selector {
    let matcher = |matcher: &promql_parser::label::Matcher| {
        (matcher.name.clone(), matcher.op.to_string(), matcher.value.clone())
    };
    Selector {
        metric: selector.name.clone().unwrap_or_default(),
        matchers: selector.matchers.matchers.iter().map(matcher).collect(),
        range,
        functions: functions.iter().map(|&name| name.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_an_expression_names_is_found() {
        let named = named(
            "sum by (node) (rate(a_total{x=\"1\"}[$__rate_interval])) / on (node) group_left (y) \
             max_over_time((b > 2)[1h:5m]) or vector(0)",
        )
        .unwrap();
        let metrics: Vec<_> = named.selectors.iter().map(|selector| selector.metric.as_str()).collect();
        assert_eq!(metrics, ["a_total", "b"]);
        assert_eq!(named.selectors[0].functions, ["rate"]);
        assert_eq!(named.selectors[0].range.unwrap().as_secs(), 4 * 60 + 23);
        assert_eq!(named.selectors[0].matchers, [("x".to_owned(), "=".to_owned(), "1".to_owned())]);
        assert_eq!(named.selectors[1].functions, ["max_over_time"]);
        assert_eq!(named.labels.iter().map(String::as_str).collect::<Vec<_>>(), ["node", "y"]);
    }

    #[test]
    fn what_is_no_promql_is_said_so() {
        for expression in ["sum by (node", "up{", "rate(up)", "up + $mystery"] {
            assert!(named(expression).is_err(), "{expression}");
        }
    }
}
