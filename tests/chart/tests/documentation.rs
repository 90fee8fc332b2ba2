//! The pages about the values are made from values.yaml.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::collections::BTreeSet;
use std::path::Path;

use chart::values::{described, tables};
use serde_json::Value;

/// `UPDATE_DOCS=1 cargo test -p chart --test documentation` writes the pages.
#[test]
fn the_pages_are_up_to_date() {
    let values = described().unwrap();
    let reference = format!(
        "# Values of the chart\n\n\
         <!-- Generated from deploy/helm/dra-driver/values.yaml; a test keeps it up to date. -->\n\n\
         A value that is not listed here is refused, so that a typing error does not go unnoticed.\n{}",
        tables(&values, "##")
    );
    let readme = format!(
        "<!-- Generated from values.yaml and tests/chart/tests/readme.md; a test keeps it up to date. -->\n\n{}{}",
        include_str!("readme.md"),
        tables(&values, "###")
    );
    page(&chart::repository().join("docs/reference/values.md"), &reference);
    page(&chart::folder().join("README.md"), &readme);
}

fn page(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(path, text).unwrap();
        return;
    }
    let written = fs_err::read_to_string(path).unwrap_or_default();
    assert_eq!(written, text, "{}: run this test with UPDATE_DOCS=1", path.display());
}

#[test]
fn every_value_has_a_comment_and_a_place_in_the_schema() {
    let defaults = fs_err::read_to_string(chart::folder().join("values.yaml")).unwrap();
    let defaults: Value = serde_saphyr::from_str(&defaults).unwrap();
    let schema = fs_err::read_to_string(chart::folder().join("values.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let commented: BTreeSet<String> = described().unwrap().into_iter().map(|value| value.path).collect();

    let mut in_file = BTreeSet::new();
    keys(&defaults, "", &commented, &mut in_file);
    assert_eq!(in_file, commented, "every value needs a comment in values.yaml");

    let mut in_schema = BTreeSet::new();
    properties(&schema, "", &commented, &mut in_schema);
    assert_eq!(in_schema, commented, "values.schema.json has the same values as values.yaml");
}

/// The keys below one that are values of their own: those of which one has a comment.
fn keys(value: &Value, path: &str, commented: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    let Some(map) = value.as_object() else { return };
    let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
    if !map.keys().any(|key| commented.contains(&below(key))) {
        return;
    }
    for (key, value) in map {
        found.insert(below(key));
        keys(value, &below(key), commented, found);
    }
}

fn properties(schema: &Value, path: &str, commented: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    let Some(map) = schema["properties"].as_object() else { return };
    let below = |key: &String| if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
    // What Kubernetes has in it is not ours to describe.
    if !map.keys().any(|key| commented.contains(&below(key))) {
        return;
    }
    if path != "global" {
        assert_eq!(schema["additionalProperties"], false, "{path} should refuse unknown keys");
    }
    for (key, value) in map {
        found.insert(below(key));
        properties(value, &below(key), commented, found);
    }
}
