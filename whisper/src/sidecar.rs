//! What go-carbon keeps beside a metric's file, from autumn 2026 on.
//!
//! `NAME.wsp.ooo` holds points that came too late for a compressed file, as a standard Whisper file: it is part of the
//! metric. `NAME.wsp.lock` is a lock and holds nothing. Neither is a metric, and neither ends in `.wsp`. Where the name of a
//! file and the suffix together are longer than a name may be, the sidecar is called `.`, the SHA-256 of the file's name in
//! hexadecimal digits, and the suffix. Source: `ooo.go` in go-whisper.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

/// What the name of a file with late points ends in.
const LATE_POINTS: &str = ".ooo";
/// How many bytes a file's name may have on the file systems of Linux.
const NAME_BYTES_MAX: usize = 255;

/// The name, in the same folder, of the file that holds the late points of the file `name`, if it has any.
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
