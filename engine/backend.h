/* Operations and what a backend provides: a table of functions and a context. */
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include "engine/tensor.h"

struct backend;

/* name: "ref", "cpu", "cuda", "auto" (cuda when a device and its libraries are there, else cpu).
 * "ref64" (ref in double) and "cpu1" (cpu at one lane) are for tests and comparisons.
 * threads 0: all cores this process may use. cuda that is asked for and absent is an error. */
int backend_open(struct backend **out, const char *name, int threads, struct fail *why);

/* What only some backends look at. */
struct backend_options {
    int threads;               /* cpu */
    int64_t cuda_workspace_mb; /* cuda: memory that its libraries may compute in; no convolution takes more */
    bool cuda_tf32; /* cuda: products of numbers cut to 10 bits of mantissa, several times as fast */
};
enum { CUDA_WORKSPACE_MB = 256 }; /* what backend_open takes */

/* The same with all options. */
int backend_open_with(struct backend **out, const char *name, const struct backend_options *o,
                      struct fail *why);
void backend_close(struct backend **be);
const char *backend_name(const struct backend *be); /* "cpu" */
/* "cpu: 2 threads, OpenBLAS 0.3.21 Cooperlake, AVX-512", for logs and reports. */
const char *backend_describe(const struct backend *be);

/* How much a device is in use, by all its users. */
struct backend_use {
    double busy; /* share of the last moment in which something ran, 0 .. 1 */
    uint64_t memory_used, memory_total;
};
/* false: it has no device, or nobody tells. Any thread, while the backend is open. */
bool backend_use(const struct backend *be, struct backend_use *use);

#endif
