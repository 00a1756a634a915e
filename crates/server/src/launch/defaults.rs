//! The environment that the libraries of the runtimes, and the C library, want. Read by the build script of
//! `crates/serve` too, which has them set before any library is started.

/// The variables, and what is set where the user set nothing. They are read before `main` begins or when a
/// library is opened, so they have to be there when the program starts.
pub(super) const DEFAULTS: [(&str, &str); 4] = [
    ("OMP_WAIT_POLICY", "PASSIVE"),
    // ONNX Runtime's public builds for Linux write an identifier to disk and send events from 1.29 on. The one
    // that `scripts/setup` fetches does not; another may be given.
    ("ORT_DISABLE_TELEMETRY", "1"),
    (TUNABLES, MEMORY),
    // What the server itself allocates comes from mimalloc, which gives back what is free when more is asked of it,
    // a second later at the earliest: a server that has just loaded a network and waits would keep it. At once
    // would be too soon: an image's memory would go and come again page by page.
    ("MIMALLOC_PURGE_DELAY", "20"),
];

/// What glibc, from 2.33 on, reads of its own settings.
pub(super) const TUNABLES: &str = "GLIBC_TUNABLES";

/// libtorch asks for each layer's memory anew. By default, blocks of that size go back to the system after every
/// pass and come again page by page. So blocks of up to 32 MiB, which is the most that glibc takes, come from the
/// heap, and up to 128 MiB may lie free at its end. One heap for all threads: what one worker leaves another takes,
/// and all of it can be given back, which the ends of threads' own heaps cannot. In large pages, where the system has them.
const MEMORY: &str = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=134217728\
                      :glibc.malloc.top_pad=16777216:glibc.malloc.arena_max=1:glibc.malloc.hugetlb=1";

/// How glibc's settings of memory begin that have variables of their own. Whoever sets one means it.
pub(super) const OF_MEMORY: &str = "MALLOC_";
