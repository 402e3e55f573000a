//! `bucky` as the tests run it.

fn main() -> std::process::ExitCode {
    bucky::run_program(std::env::args_os())
}
