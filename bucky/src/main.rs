//! The program `bucky`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    bucky::run_program(std::env::args_os())
}
