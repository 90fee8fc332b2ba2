//! Our allocator, as the suite asks it.

use crate::program::{Program, ProgramError};

/// Where our answers come from.
#[derive(Debug)]
pub enum Ours {
    /// A program that reads cases as `dra-controller allocate --stream` does.
    Program(Program),
}

impl Ours {
    /// Answers cases, in their order.
    ///
    /// # Errors
    ///
    /// If the program ends.
    pub fn ask(&mut self, lines: &[String]) -> Result<Vec<String>, ProgramError> {
        match self {
            Self::Program(program) => program.ask(lines),
        }
    }
}
