//! The page about flags is made from the flags.

use std::path::Path;

use clap::CommandFactory;
use dra_controller::arguments::Arguments;

/// `UPDATE_DOCS=1 cargo test -p dra-controller --test flags` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    support::flags::assert_page(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/controller-flags.md"),
        "Flags of the controller",
        "controller/src/arguments.rs",
        Arguments::command(),
    );
}
