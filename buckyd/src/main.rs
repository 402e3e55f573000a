//! The daemon's program; all of it is in the library.

fn main() -> std::process::ExitCode {
    buckyd::run(std::env::args_os().skip(1))
}
