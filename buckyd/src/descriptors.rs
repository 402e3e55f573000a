//! How many files and connections the process may have open, and how they are divided.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections. Further ones wait until one ends.
const CONNECTIONS_MOST: usize = 4096;
/// Connections may take one in this many descriptors.
const CONNECTIONS_SHARE: usize = 2;
/// The most new files that are open at once before they get a name. `bucky` has fewer metrics under way.
const NEW_FILES_MOST: usize = 16_384;
/// The most descriptors that are reserved for reading files. At most half of those that connections leave are
/// reserved.
const READING_MOST: usize = 2048;

/// The descriptors that the process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors(usize);

impl Descriptors {
    /// Raises the limit to the most that the operator allows, as Go programs do, and returns it.
    pub(crate) fn raised() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => maximum,
            Err(error) => {
                tracing::warn!(%error, "cannot raise the limit of open files");
                current
            }
        };
        Self(allowed.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)))
    }

    /// The most connections.
    pub(crate) fn connections(self) -> usize {
        (self.0 / CONNECTIONS_SHARE).clamp(1, CONNECTIONS_MOST)
    }

    /// The most new files that may be open without a name.
    pub(crate) fn new_files(self) -> usize {
        let left = self.0.saturating_sub(self.connections());
        (left - (left / 2).min(READING_MOST)).min(NEW_FILES_MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_read_always_have_some() {
        for (allowed, connections, new_files) in [
            (0, 1, 0),
            (256, 128, 64),
            (1024, 512, 256),
            (20_000, 4096, 13_856),
            (524_288, 4096, 16_384),
        ] {
            let descriptors = Descriptors(allowed);
            assert_eq!(descriptors.connections(), connections, "{allowed}");
            assert_eq!(descriptors.new_files(), new_files, "{allowed}");
        }
    }
}
