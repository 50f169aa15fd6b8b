//! Files that are looked at once a second: what a mounted secret does when it is exchanged, a
//! change of links above the file, no notification of the file itself would show.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What tells one content of a file from the next. `None`: it cannot be looked at.
type Stamp = Option<(u64, u64, u64, Option<SystemTime>)>;

/// Files that settings came from, as they were when each was about to be read: a change after that
/// is seen, however soon it comes.
#[derive(Clone, Debug, Default)]
pub struct Files(Vec<(PathBuf, Stamp)>);

fn stamp(path: &Path) -> Stamp {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.modified().ok()))
}

impl Files {
    /// One more, which is to be read next.
    pub(crate) fn follow(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }

    /// Ends when one of them is another than before.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            let mut changed = false;
            for (path, seen) in &mut self.0 {
                let now = stamp(path);
                changed |= *seen != now;
                *seen = now;
            }
            if changed {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_exchanged_behind_a_link_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["one", "two"] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("key"), "same length").unwrap();
        }
        std::os::unix::fs::symlink(at("one"), at("now")).unwrap();
        let mut files = Files::default();
        files.follow(&at("now/key"));
        files.follow(&at("missing"));
        let quiet = tokio::time::timeout(Duration::from_secs(10), files.changed()).await;
        assert!(quiet.is_err(), "nothing had changed");
        std::os::unix::fs::symlink(at("two"), at("next")).unwrap();
        std::fs::rename(at("next"), at("now")).unwrap();
        files.changed().await;
        std::fs::write(at("missing"), "it came").unwrap();
        files.changed().await;
    }
}
