//! The page about flags is made from the flags.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use dra_kubelet_plugin::arguments::Arguments;

/// `UPDATE_DOCS=1 cargo test -p dra-kubelet-plugin --test flags` writes the page.
#[test]
fn the_page_in_the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/flags.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(&path, page).unwrap();
        return;
    }
    let written = fs_err::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}

fn page() -> String {
    let mut program = Arguments::command();
    program.build();
    let mut page = "# Flags of the kubelet plugin\n\n\
        <!-- Generated from kubelet-plugin/src/arguments.rs; a test keeps it up to date. -->\n\n\
        Every flag has a variable; a flag that is given counts more.\n"
        .to_owned();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        writeln!(page, "\n## `dra-kubelet-plugin {}`\n\n{about}.\n", command.get_name()).unwrap();
        table(&mut page, command, |flag| !flag.is_global_set());
    }
    page.push_str("\n## All commands\n\n");
    table(&mut page, &program, |_| true);
    page
}

fn table(page: &mut String, command: &Command, wanted: impl Fn(&Arg) -> bool) {
    page.push_str("| flag | variable | default | |\n| --- | --- | --- | --- |\n");
    for flag in command.get_arguments().filter(|flag| wanted(flag)) {
        let Some(long) = flag.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
        let variable = flag.get_env().expect("every flag has a variable").to_str().unwrap();
        let default: Vec<_> =
            flag.get_default_values().iter().map(|value| format!("`{}`", value.to_str().unwrap())).collect();
        let needed = if flag.is_required_set() { "required" } else { "" };
        let default = if default.is_empty() { needed.to_owned() } else { default.join(", ") };
        let help = flag.get_help().expect("every flag has a help text").to_string();
        writeln!(page, "| `--{long}` | `{variable}` | {default} | {} |", help.replace('\n', " ")).unwrap();
    }
}
