//! Runs programs, and measures their cost.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// How often a program's memory is sampled.
const LOOK: Duration = Duration::from_millis(5);

/// The cost of a program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Wall time.
    pub(crate) wall: Duration,
    /// Processor time, in the program and in the kernel on its behalf.
    pub(crate) cpu: Duration,
    /// The peak of its memory, in MiB.
    pub(crate) peak_mib: f64,
}

/// Runs `command` to its end; it must succeed.
pub(crate) fn run(mut command: Command) -> Cost {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let pid = child.id();
    let sampler = std::thread::spawn(move || {
        let mut peak = 0.0;
        while let Some(now) = memory_mib(pid, "VmHWM:") {
            peak = now;
            std::thread::sleep(LOOK);
        }
        peak
    });
    wait_unreaped(&child);
    let wall = begun.elapsed();
    // The statistics of a child that has ended are available until it is waited for.
    let cpu = cpu(pid).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    Cost { wall, cpu, peak_mib: sampler.join().unwrap() }
}

/// Runs `script` in a shell.
pub(crate) fn shell(script: &str) -> Cost {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]);
    run(command)
}

fn wait_unreaped(child: &Child) {
    let pid = Pid::from_child(child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
}

/// The processor time of a process and of its children that have ended.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11..15)?.iter().map_while(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// A line of a process's `status`, such as `VmHWM:`, in MiB; `None` if the process has ended.
pub(crate) fn memory_mib(pid: u32, line: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|found| found.strip_prefix(line))?;
    let kib: f64 = kib.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib / 1024.0)
}
