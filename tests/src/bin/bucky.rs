//! `bucky` as the tests run it.

fn main() -> std::process::ExitCode {
    bucky::run(std::env::args_os().skip(1))
}
