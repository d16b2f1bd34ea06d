/* Operations and what a backend provides: a table of functions and a context. */
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include "engine/tensor.h"

struct backend;

/* name: "ref", "cpu", "cuda", "auto" (cuda when a device and its libraries are there, else cpu).
 * "ref64" (ref in double) and "cpu1" (cpu at one lane) are for tests and comparisons.
 * threads 0: all cores this process may use. cuda that is asked for and absent is an error. */
int backend_open(struct backend **out, const char *name, int threads, struct fail *why);
void backend_close(struct backend **be);
const char *backend_name(const struct backend *be); /* "cpu" */
/* "cpu: 2 threads, OpenBLAS 0.3.21 Cooperlake, AVX-512", for logs and reports. */
const char *backend_describe(const struct backend *be);

#endif
