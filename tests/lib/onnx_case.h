/* A case of ONNX's own test data: a model, inputs and the outputs they must give. Made ready for an engine whose
 * networks have one input with rows: see enum onnx_form. Next to read: tests/engine/conformance_test.c. */
#ifndef TESTS_LIB_ONNX_CASE_H
#define TESTS_LIB_ONNX_CASE_H

#include "engine/files/onnx.h"

enum { CASE_TENSORS = 16 };

struct onnx_case {
    char folder[512];
    Onnx__ModelProto *model;
    Onnx__TensorProto *inputs[CASE_TENSORS], *outputs[CASE_TENSORS];
    int input_count, output_count;
};

/* The model and data set `set` of a folder; false when there is no such data set. */
bool onnx_case_open(struct onnx_case *c, const char *folder, int set);
void onnx_case_close(struct onnx_case *c);

/* How a case with several inputs becomes a network with one: the first input of values are the rows and all others
 * constants; or all inputs of values are packed into one, and the network cuts them apart. */
struct onnx_form {
    bool whole;  /* all of the input is one row; else its first dimension counts rows */
    bool packed; /* else the others are constants */
};

/* The model's bytes in a form, and its input: `rows` rows; false when the case cannot be put so. Free both. */
bool onnx_case_form(const struct onnx_case *c, struct onnx_form form, void **bytes, size_t *size, float **x,
                    int *rows);

/* All numbers of a tensor as doubles; NULL: of a type that is no number. Free it. */
double *onnx_case_numbers(const Onnx__TensorProto *t, int64_t *count);
const Onnx__TensorProto *onnx_case_initializer(const struct onnx_case *c, const char *name);

#endif
