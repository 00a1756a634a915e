//! What every program of benchmarks has besides its own: the allocator that counts, and a fixed piece of work.
//!
//! A time alone says how fast the machine is. Divided by the time that this work took in the same process, it says
//! how much is done, which is what `scripts/micro` keeps and compares. Each program takes this file in as a module.

use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Bytes that are copied: more than the nearest cache holds, less than the last one.
const COPIED: usize = 1 << 20;
/// Rounds of arithmetic, which take about as long as the copy.
const ROUNDS: u64 = 20_000;

/// The work of one unit: arithmetic in which each step waits for the one before it, and a copy of memory. It is of
/// this file alone, so that no change of ours makes it faster or slower.
#[divan::bench]
fn unit(bencher: Bencher<'_, '_>) {
    let from = vec![7_u8; COPIED];
    let mut to = vec![0_u8; COPIED];
    bencher.bench_local(|| {
        let mut state = black_box(1_u64);
        for _ in 0..ROUNDS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        to.copy_from_slice(black_box(&from));
        (black_box(&mut to)[0], state)
    });
}
