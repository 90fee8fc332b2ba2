//! The page about flags is made from the flags.

use std::path::Path;

use clap::CommandFactory;
use dra_kubelet_plugin::arguments::Arguments;

/// `UPDATE_DOCS=1 cargo test -p dra-kubelet-plugin --test flags` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    support::flags::assert_page(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/flags.md"),
        "Flags of the kubelet plugin",
        "kubelet-plugin/src/arguments.rs",
        Arguments::command(),
    );
}
