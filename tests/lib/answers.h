/* Answers of networks, and rows in safetensors files, for tests that compare with other programs. Failing ends the
 * running cmocka test. */
#ifndef TESTS_LIB_ANSWERS_H
#define TESTS_LIB_ANSWERS_H

#include "engine/files/safetensors.h"
#include "engine/graph.h"

/* What the network answers to `rows` rows on a backend; free it. max_rows 0: as many as rows. */
float *answers(const struct graph *g, const char *backend, const float *x, int rows, int max_rows);
/* max|a-b| <= tolerance max|b|, printed; NaN and an all-zero b fail. */
void answers_agree(const char *what, const float *a, const float *b, int64_t n, double tolerance);
/* The FP32 tensor of this name; free it. */
float *answers_tensor(const struct safetensors *st, const char *name, struct shape *shape);
/* Exported as ONNX and read again. */
struct graph *answers_through_onnx(const struct graph *g);

#endif
