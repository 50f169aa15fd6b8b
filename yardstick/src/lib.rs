//! What is measured of the hot paths, so that the same work is timed (`cargo bench`) and counted in
//! instructions (`cargo xtask instructions`).
//!
//! Each service lists its hot paths behind its feature `hot-paths`, which nothing that ships has.

use std::time::Duration;

use service_kit::clock::{Clock, Now};

/// The argument of a benchmark that counts instead of timing.
pub const COUNT: &str = "--count";
/// Sizes that show how the cost of one unit grows.
pub const TENFOLD: &[usize] = &[100, 1_000, 10_000];
/// Of a path on which nothing grows: as many units, so that noise evens out.
pub const SAME: &[usize] = &[1_000];
/// The cost of one unit does not grow: what it may seem to is the noise of caches and hash tables
/// that fill.
pub const FLAT: f64 = 1.25;

/// Prepared work. It is done once, and says how many units it did.
pub type Work = Box<dyn FnMut() -> u64>;

/// Something that is done for each event, reader, audit …, and whose cost counts.
#[derive(Clone, Copy, Debug)]
pub struct HotPath {
    /// Such as `hub/publish`.
    pub name: &'static str,
    /// What one unit is, such as `event`.
    pub unit: &'static str,
    /// What there are more of at each size, such as `readers`.
    pub grows: &'static str,
    /// The sizes to measure at, the smallest first.
    pub sizes: &'static [usize],
    /// How many times what one unit costs at the smallest size it may cost at the largest.
    pub growth: f64,
    /// Prepares the work for a size, beginning at a moment.
    pub prepare: fn(usize, Now) -> Work,
}

impl HotPath {
    /// With its fields in their order.
    #[must_use]
    pub const fn new(
        name: &'static str,
        unit: &'static str,
        grows: &'static str,
        sizes: &'static [usize],
        growth: f64,
        prepare: fn(usize, Now) -> Work,
    ) -> Self {
        Self {
            name,
            unit,
            grows,
            sizes,
            growth,
            prepare,
        }
    }
}

/// One hot path at one size.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    path: HotPath,
    size: usize,
}

impl Case {
    /// Everything that does not count.
    #[must_use]
    pub fn prepare(self) -> Work {
        // Far from the start of the machine's clock, so that there is a past.
        let start = Clock::system().now().later(Duration::from_secs(100_000));
        (self.path.prepare)(self.size, start)
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.path.name, self.size)
    }
}

/// Each path at each of its sizes.
#[must_use]
pub fn cases(paths: &[HotPath]) -> Vec<Case> {
    let cases = paths.iter().flat_map(|path| {
        let sizes = path.sizes.iter();
        sizes.map(|&size| Case { path: *path, size })
    });
    cases.collect()
}

/// Where the process was asked to count, does every path once at each size and prints a line of
/// tab-separated fields for each: name, size, units done, unit, what grows, the growth allowed.
/// False: it was not asked.
///
/// Callgrind is told to count inside [`measured`] alone, and writes a file at each return from it,
/// so that the n-th file belongs to the n-th line.
///
/// # Panics
/// Where a path did nothing: there is no cost of one unit.
#[must_use]
pub fn counts(paths: &[HotPath]) -> bool {
    if !std::env::args().any(|argument| argument == COUNT) {
        return false;
    }
    for case in cases(paths) {
        let units = measured(&mut case.prepare());
        let Case { path, size } = case;
        assert!(units > 0, "{case} did nothing");
        let HotPath {
            name,
            unit,
            grows,
            growth,
            ..
        } = path;
        println!("{name}\t{size}\t{units}\t{unit}\t{grows}\t{growth}");
    }
    true
}

/// Does the work, and nothing else.
#[inline(never)]
pub fn measured(work: &mut Work) -> u64 {
    work()
}
