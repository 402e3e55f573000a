//! The program `bucky`: see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    bucky::run(std::env::args_os().skip(1))
}
