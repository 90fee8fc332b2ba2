//! The page about a program's flags, made from the flags.

use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command};

/// Compares the page with what the flags make of it; with `UPDATE_DOCS=1` in the environment, writes it. `title`
/// names the program, `source` is where the flags are written.
///
/// # Panics
///
/// If they differ, a flag has no variable or no help text, or the page cannot be written.
#[expect(clippy::panic, clippy::expect_used, reason = "a test that finds a difference has failed")]
pub fn assert_page(path: &Path, title: &str, source: &str, program: Command) {
    let page = page(title, source, program);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(path, page).expect("write the page");
        return;
    }
    let written = fs_err::read_to_string(path).unwrap_or_default();
    if written != page {
        panic!("{} is not what the flags make of it: run this test with UPDATE_DOCS=1", path.display());
    }
}

fn page(title: &str, source: &str, mut program: Command) -> String {
    program.build();
    let mut page = format!(
        "# {title}\n\n<!-- Generated from {source}; a test keeps it up to date. -->\n\n\
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

#[expect(clippy::expect_used, reason = "a flag without a variable or help text fails the test")]
fn table(page: &mut String, command: &Command, wanted: impl Fn(&Arg) -> bool) {
    page.push_str("| flag | variable | default | |\n| --- | --- | --- | --- |\n");
    for flag in command.get_arguments().filter(|flag| wanted(flag)) {
        let Some(long) = flag.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
        let variable = flag.get_env().expect("every flag has a variable").to_string_lossy();
        let defaults = flag.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| format!("`{}`", value.to_string_lossy())).collect();
        let needed = if flag.is_required_set() { "required" } else { "" };
        let default = if defaults.is_empty() { needed.to_owned() } else { defaults.join(", ") };
        let help = flag.get_help().expect("every flag has a help text").to_string();
        let _ = writeln!(page, "| `--{long}` | `{variable}` | {default} | {} |", help.replace('\n', " "));
    }
}
