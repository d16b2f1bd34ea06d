/* What the code under test may allocate: the sanitizer counts, a target sets the limit from the size of its input.
 * One target a process; libFuzzer calls it from one thread. */
#ifndef TESTS_FUZZ_HEAP_H
#define TESTS_FUZZ_HEAP_H

#include <sanitizer/allocator_interface.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Holds in every build: a failed promise must stop the fuzzer. */
static inline void must(bool promise)
{
    if (!promise)
        abort();
}

static int64_t heap_used, heap_most; /* bytes since heap_begin */
static bool heap_watched;

static void heap_added(const volatile void *at, size_t size)
{
    (void)at;
    if (!heap_watched)
        return;
    heap_used += (int64_t)size;
    heap_most = heap_used > heap_most ? heap_used : heap_most;
}

static void heap_removed(const volatile void *at)
{
    if (heap_watched && at)
        heap_used -= (int64_t)__sanitizer_get_allocated_size(at);
}

static inline void heap_begin(void)
{
    static bool installed;
    if (!installed)
        must(__sanitizer_install_malloc_and_free_hooks(heap_added, heap_removed));
    installed = true;
    heap_used = heap_most = 0;
    heap_watched = true;
}

/* More than `base` and `factor` times the input: a crash that says both. */
static inline void heap_end(size_t input, size_t factor, size_t base)
{
    heap_watched = false;
    if (heap_most > (int64_t)(base + factor * input)) {
        fprintf(stderr, "heap: %lld bytes for an input of %zu, the limit is %zu\n", (long long)heap_most,
                input, base + factor * input);
        abort();
    }
}

#endif
