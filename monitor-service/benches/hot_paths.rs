//! The monitor's hot paths: timed, or counted where `cargo xtask instructions` asks.

use divan::Bencher;
use yardstick::Case;

/// As in the service: an allocation's cost is part of an audit's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    if !yardstick::counts(&monitor_service::hot_paths()) {
        divan::main();
    }
}

#[divan::bench(args = yardstick::cases(&monitor_service::hot_paths()), sample_count = 20)]
fn path(bencher: Bencher<'_, '_>, case: Case) {
    let work = bencher.with_inputs(|| case.prepare());
    work.bench_refs(yardstick::measured);
}
