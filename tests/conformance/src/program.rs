//! A program that answers cases: one a line on its standard input, one answer a line on its standard output.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Why a program gave no answers.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("cannot start {program}: {source}; `cargo xtask conformance` builds what it needs")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended or closed its output.
    #[error("{program} ended after {answered} of {asked} answers; what it said stands above")]
    Ended {
        /// Its name.
        program: String,
        /// How many answers came.
        answered: usize,
        /// How many were asked for.
        asked: usize,
    },
    /// Its output could not be read.
    #[error("cannot read what {program} answers: {source}")]
    Read {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A program that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// If there is no such program.
    pub fn start(command: &mut Command) -> Result<Self, ProgramError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |source| ProgramError::Start { program: name.clone(), source };
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let output = output.ok_or_else(|| failed(std::io::Error::other("it has no standard output")))?;
        Ok(Self { name, child, input, output: BufReader::new(output) })
    }

    /// Asks about cases, and returns the answers in their order.
    ///
    /// # Errors
    ///
    /// If the program ends before it has answered all of them.
    pub fn ask(&mut self, lines: &[String]) -> Result<Vec<String>, ProgramError> {
        let Self { name, input, output, .. } = self;
        let mut answers = Vec::with_capacity(lines.len());
        std::thread::scope(|scope| {
            // Beside the reading: neither side waits for the other's full pipe.
            scope.spawn(move || {
                let input = input.as_mut()?;
                // An end of the program shows where its answers are read.
                lines.iter().try_for_each(|line| writeln!(input, "{line}")).ok()?;
                input.flush().ok()
            });
            while answers.len() < lines.len() {
                let mut line = String::new();
                let read = output.read_line(&mut line);
                match read {
                    Ok(0) => {
                        let (answered, asked) = (answers.len(), lines.len());
                        return Err(ProgramError::Ended { program: name.clone(), answered, asked });
                    }
                    Ok(_) => answers.push(line.trim_end().to_owned()),
                    Err(source) => return Err(ProgramError::Read { program: name.clone(), source }),
                }
            }
            Ok(())
        })?;
        Ok(answers)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its input ends it, unless it hangs in a case.
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_the_questions() {
        let mut program = Program::start(&mut Command::new("cat")).unwrap();
        let lines: Vec<String> = (0..20_000).map(|number| format!("line {number}")).collect();
        assert_eq!(program.ask(&lines).unwrap(), lines);
        assert_eq!(program.ask(&lines[..1]).unwrap(), lines[..1]);
    }

    #[test]
    fn a_program_that_ends_says_how_far_it_came() {
        let mut program = Program::start(Command::new("head").arg("-n1")).unwrap();
        let asked = ["one".to_owned(), "two".to_owned()];
        assert_eq!(
            program.ask(&asked).unwrap_err().to_string(),
            "head ended after 1 of 2 answers; what it said stands above"
        );
    }
}
