//! File descriptors: how many connections the operating system lets us have. Knows no connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// As many connections as are `wanted`, or half of what the process may have open if that is less. The other half is for
/// the admin door, for AWS, and for telling those who come in over the limit.
///
/// The soft limit is raised to the hard one first: it is low for the sake of old programs that cannot count beyond it.
pub(super) fn affordable(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        debug!(%error, "the limit of open files stays as it is");
    }
    let open = getrlimit(Resource::Nofile).current.and_then(|open| usize::try_from(open).ok());
    let fits = open.map_or(wanted, |open| fitting(wanted, open));
    if fits < wanted {
        warn!(
            wanted,
            fits, "limits.connections is more than half of the files that may be open: raise `ulimit -n` or lower it"
        );
    }
    fits
}

fn fitting(wanted: usize, open: usize) -> usize {
    wanted.min(open / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_kept() {
        assert_eq!(fitting(10_000, 256), 128);
        assert_eq!(fitting(10_000, 20_000), 10_000);
        assert_eq!(fitting(2, 1_024), 2);
        assert_eq!(fitting(5, 1), 1);
    }
}
