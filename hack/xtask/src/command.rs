//! Runs other programs, and says so: every command line is printed before it runs.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    let manifest =
        output(Command::new("cargo").args(["locate-project", "--workspace", "--message-format", "plain"]))?;
    let root = Path::new(manifest.trim()).parent();
    root.map(Path::to_path_buf).context("`cargo locate-project` named no folder")
}

/// The path of this program, as it is now: the step `build` may have put a new one in the place of the one that runs.
pub(crate) fn own_path() -> Result<PathBuf> {
    /// What Linux appends to the path of a program whose file is another one by now.
    const REPLACED: &str = " (deleted)";
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let path = program.to_str().map(|path| path.strip_suffix(REPLACED).unwrap_or(path));
    path.map(PathBuf::from).with_context(|| format!("the path {} is not UTF-8", program.display()))
}

/// The command line as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Runs a command with its output shown; a status other than zero is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command.stdin(Stdio::null()).status().with_context(|| not_started(command))?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// As [`run`], for set-up: all goes to stderr, so that stdout holds nothing but what was asked for.
pub(crate) fn run_aside(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| not_started(command))?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// Runs a command with its output shown and also handed, line by line, to `each`.
pub(crate) fn run_watched(command: &mut Command, mut each: impl FnMut(&str)) -> Result<()> {
    println!("$ {}", line(command));
    let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = started.with_context(|| not_started(command))?;
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = BufReader::new(stdout);
        let mut bytes = Vec::new();
        // A test may print anything: bytes go through as they are, and only the copy is made text.
        while stdout.read_until(b'\n', &mut bytes)? > 0 {
            std::io::stdout().write_all(&bytes)?;
            each(String::from_utf8_lossy(&bytes).trim_end());
            bytes.clear();
        }
    }
    let status = child.wait()?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// Runs a command silently and returns what it printed; a status other than zero is an error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", line(command), output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no UTF-8", line(command)))
}

/// Whether a command can be started and ends with status zero; shows nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn not_started(command: &Command) -> String {
    format!("cannot start `{}`: is {} installed?", line(command), command.get_program().display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_line_can_be_pasted_into_a_shell() {
        let mut command = Command::new("echo");
        command.args(["plain", "two words", "it's", "", "$HOME"]);
        let pasted = Command::new("sh").arg("-c").arg(line(&command)).output().unwrap();
        assert_eq!(String::from_utf8(pasted.stdout).unwrap(), "plain two words it's  $HOME\n");
    }

    #[test]
    fn a_watched_command_shows_each_line_and_keeps_its_failure() {
        let mut seen = Vec::new();
        let error = run_watched(Command::new("sh").args(["-c", "echo one; echo two; exit 3"]), |line| {
            seen.push(line.to_owned());
        });
        assert_eq!(seen, ["one", "two"]);
        assert!(error.unwrap_err().to_string().ends_with("failed (exit status: 3)"));
    }
}
