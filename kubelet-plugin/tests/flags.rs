//! The page about flags is made from the flags.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;

use clap::CommandFactory;
use dra_kubelet_plugin::arguments::Arguments;

/// `UPDATE_DOCS=1 cargo test -p dra-kubelet-plugin --test flags` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/flags.md");
    let page =
        support::flags::page("the kubelet plugin", "kubelet-plugin/src/arguments.rs", Arguments::command());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(&path, page).unwrap();
        return;
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}
