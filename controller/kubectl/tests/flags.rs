//! The page about the command line is made from the command line.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;

use clap::CommandFactory;
use kubectl_dra::arguments::Arguments;

/// `UPDATE_DOCS=1 cargo test -p kubectl-dra --test flags` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/kubectl-dra.md");
    let source = "controller/kubectl/src/arguments.rs";
    let page = support::flags::page("kubectl-dra", source, Arguments::command());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(&path, page).unwrap();
        return;
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}
