//! The files that go-carbon keeps beside a metric's file, since autumn 2026.
//!
//! `NAME.wsp.ooo` holds points that came too late for a compressed file, as a standard Whisper file; it is
//! part of the metric. `NAME.wsp.lock` is a lock and has no content. Neither is a metric, and neither ends in
//! `.wsp`. If a file's name with the suffix would be too long, the sidecar's name is `.`, the SHA-256 of the
//! file's name in hexadecimal digits, and the suffix. Source: `ooo.go` in go-whisper.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

/// The suffix of a file with late points.
const LATE_POINTS: &str = ".ooo";
/// How many bytes a file's name may have on Linux file systems.
const NAME_BYTES_MAX: usize = 255;

/// The name, in the same folder, of the file that would hold the late points of the file `name`.
pub fn late_points_of(name: &OsStr) -> OsString {
    let mut sidecar = OsString::new();
    if name.len() + LATE_POINTS.len() <= NAME_BYTES_MAX {
        sidecar.push(name);
    } else {
        let mut digits = String::from(".");
        for byte in Sha256::digest(name.as_bytes()) {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        sidecar.push(digits);
    }
    sidecar.push(LATE_POINTS);
    sidecar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_points_lie_beside_the_file_under_its_name() {
        assert_eq!(late_points_of(OsStr::new("hits.wsp")), "hits.wsp.ooo");
        let longest = "n".repeat(NAME_BYTES_MAX - 4);
        assert_eq!(late_points_of(OsStr::new(&longest)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn a_name_too_long_for_the_suffix_is_hashed() {
        let name = "n".repeat(NAME_BYTES_MAX - 3);
        let sidecar = late_points_of(OsStr::new(&name)).into_string().unwrap();
        assert!(sidecar.starts_with('.') && sidecar.ends_with(".ooo"), "{sidecar}");
        assert_eq!(sidecar.len(), 1 + 64 + 4);
    }
}
