//! The documentation's pages about flags, made from the flags.
#![allow(clippy::panic, reason = "only tests make these pages")]

use std::fmt::Write;

use clap::{Arg, Command};

/// The page about a program's flags.
///
/// # Panics
/// Where a flag has no variable or no help text.
#[must_use]
pub fn page(of: &str, source: &str, mut program: Command) -> String {
    program.build();
    let mut page = format!(
        "# Flags of {of}\n\n<!-- Generated from {source}; a test keeps it up to date. -->\n\n\
         Every flag has a variable; a flag that is given counts more.\n"
    );
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "\n## `{} {}`\n\n{about}.\n", program.get_name(), command.get_name());
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
        let variable = flag.get_env().unwrap_or_else(|| panic!("--{long} has no variable")).display();
        let default: Vec<_> =
            flag.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
        let needed = if flag.is_required_set() { "required" } else { "" };
        let default = if default.is_empty() { needed.to_owned() } else { default.join(", ") };
        let help = flag.get_help().unwrap_or_else(|| panic!("--{long} has no help text")).to_string();
        let _ = writeln!(page, "| `--{long}` | `{variable}` | {default} | {} |", help.replace('\n', " "));
    }
}
