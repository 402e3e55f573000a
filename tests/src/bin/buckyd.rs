//! `buckyd` as the tests run it.

fn main() -> std::process::ExitCode {
    buckyd::run(std::env::args_os().skip(1))
}
