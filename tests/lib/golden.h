/* Answers of PyTorch (tests/golden), and the values that both sides make of an index. Each function fails the running
 * cmocka test when something is missing or differs. Run from the repository's root. */
#ifndef TESTS_LIB_GOLDEN_H
#define TESTS_LIB_GOLDEN_H

#include <stdint.h>

#include "engine/files/safetensors.h"
#include "engine/net.h"

struct golden {
    struct safetensors *file;
    char *bytes;
};

void golden_open(struct golden *g, const char *path);
void golden_close(struct golden *g);
/* goldens.py's values(): n floats in [-0.5, 0.5) times scale. */
void golden_values(uint32_t tensor, int64_t n, float scale, float *out);
/* goldens.py's weight_values(): every parameter of the net by its place, scaled by its fan-in; states stay. */
void golden_weights(struct net *net);
/* Is there an answer of that name? */
bool golden_has(const struct golden *g, const char *name);
/* max |a - b| <= tolerance max |b| over n numbers; NaN fails. */
void golden_compare(const struct golden *g, const char *name, const float *a, int64_t n, double tolerance);
/* The backend under test: the usual one, or in the cpu's place what TEST_BACKEND names (make check-gpu). */
const char *golden_backend(const char *usual);
/* fail_msg with the text of `why` unless rc is 0. */
void golden_check(int rc, const struct fail *why, const char *name);

#endif
