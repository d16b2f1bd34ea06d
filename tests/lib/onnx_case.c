/* Reads a case of ONNX's test data and rewrites its model. What is done with it is the test's. */
#include "tests/lib/onnx_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/folder.h"

static Onnx__TensorProto *read_tensor(const char *path)
{
    size_t size;
    unsigned char *bytes = folder_read(path, &size);
    Onnx__TensorProto *t = onnx__tensor_proto__unpack(NULL, size, bytes);
    free(bytes);
    return t;
}

static int read_tensors(const char *folder, int set, const char *what, Onnx__TensorProto **out)
{
    char path[600];
    int n = 0;
    for (; n < CASE_TENSORS; n++) {
        snprintf(path, sizeof path, "%s/test_data_set_%d/%s_%d.pb", folder, set, what, n);
        if (access(path, R_OK) || !(out[n] = read_tensor(path)))
            break;
    }
    return n;
}

bool onnx_case_open(struct onnx_case *c, const char *folder, int set)
{
    char path[600];
    size_t size;
    *c = (struct onnx_case){0};
    snprintf(c->folder, sizeof c->folder, "%s", folder);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    unsigned char *bytes = folder_read(path, &size);
    c->model = onnx__model_proto__unpack(NULL, size, bytes);
    free(bytes);
    c->input_count = read_tensors(folder, set, "input", c->inputs);
    c->output_count = read_tensors(folder, set, "output", c->outputs);
    if (c->model && c->output_count)
        return true;
    onnx_case_close(c);
    return false;
}

void onnx_case_close(struct onnx_case *c)
{
    if (c->model)
        onnx__model_proto__free_unpacked(c->model, NULL);
    for (int i = 0; i < c->input_count; i++)
        onnx__tensor_proto__free_unpacked(c->inputs[i], NULL);
    for (int i = 0; i < c->output_count; i++)
        onnx__tensor_proto__free_unpacked(c->outputs[i], NULL);
    *c = (struct onnx_case){0};
}

const Onnx__TensorProto *onnx_case_initializer(const struct onnx_case *c, const char *name)
{
    for (size_t i = 0; i < c->model->graph->n_initializer; i++)
        if (!strcmp(c->model->graph->initializer[i]->name, name))
            return c->model->graph->initializer[i];
    return NULL;
}

/* ---- numbers ---- */

static int64_t element_count(const Onnx__TensorProto *t)
{
    int64_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++)
        n *= t->dims[i];
    return n;
}

static enum dtype dtype_of(const Onnx__TensorProto *t)
{
    static const enum dtype dtypes[] = {[ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT] = DTYPE_FP32,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__UINT8] = DTYPE_UINT8,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__INT8] = DTYPE_INT8,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__INT16] = DTYPE_INT16,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__INT32] = DTYPE_INT32,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__INT64] = DTYPE_INT64,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__BOOL] = DTYPE_BOOL,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16] = DTYPE_FP16,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE] = DTYPE_FP64,
                                        [ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16] = DTYPE_BF16};
    int n = (int)(sizeof dtypes / sizeof dtypes[0]);
    return t->data_type > 0 && t->data_type < n ? dtypes[t->data_type] : DTYPE_UNKNOWN;
}

/* Most files have raw bytes; lists by type are there too. */
static double element(const Onnx__TensorProto *t, enum dtype dtype, int64_t i)
{
    float f = 0;
    double d;
    uint16_t half;
    if (t->has_raw_data && dtype == DTYPE_FP64) {
        memcpy(&d, t->raw_data.data + i * 8, 8);
        return d;
    }
    if (t->has_raw_data)
        dtype_to_float(dtype, t->raw_data.data + i * (int64_t)dtype_size(dtype), 1, &f);
    else if (dtype == DTYPE_FP32)
        f = t->float_data[i];
    else if (dtype == DTYPE_FP64)
        return t->double_data[i];
    else if (dtype == DTYPE_INT64)
        return (double)t->int64_data[i];
    else if (dtype == DTYPE_FP16 || dtype == DTYPE_BF16) {
        half = (uint16_t)t->int32_data[i];
        dtype_to_float(dtype, &half, 1, &f);
    } else
        return (double)t->int32_data[i];
    return (double)f;
}

double *onnx_case_numbers(const Onnx__TensorProto *t, int64_t *count)
{
    enum dtype dtype = dtype_of(t);
    if (dtype == DTYPE_UNKNOWN)
        return NULL;
    *count = element_count(t);
    double *out = malloc((size_t)(*count ? *count : 1) * sizeof *out);
    for (int64_t k = 0; k < *count; k++)
        out[k] = element(t, dtype, k);
    return out;
}

/* ---- the model in a form ---- */

static Onnx__TensorProto *copy_tensor(const Onnx__TensorProto *t, const char *name)
{
    size_t size = onnx__tensor_proto__get_packed_size(t);
    uint8_t *bytes = malloc(size + 1);
    onnx__tensor_proto__pack(t, bytes);
    Onnx__TensorProto *copy = onnx__tensor_proto__unpack(NULL, size, bytes);
    free(bytes);
    free(copy->name);
    copy->name = strdup(name);
    return copy;
}

static void add_initializer(Onnx__GraphProto *g, Onnx__TensorProto *t)
{
    g->initializer = realloc(g->initializer, (g->n_initializer + 1) * sizeof *g->initializer);
    g->initializer[g->n_initializer++] = t;
}

static Onnx__TensorProto *integers(const char *name, const int64_t *v, size_t n)
{
    Onnx__TensorProto *t = malloc(sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = strdup(name);
    t->has_data_type = true;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    t->n_dims = 1;
    t->dims = malloc(sizeof *t->dims);
    t->dims[0] = (int64_t)n;
    t->n_int64_data = n;
    t->int64_data = malloc(n * sizeof *t->int64_data);
    memcpy(t->int64_data, v, n * sizeof *v);
    return t;
}

/* Before all others: output = operator(inputs). */
static void prepend_node(Onnx__GraphProto *g, const char *operator, int inputs, char **input,
                         const char *output)
{
    Onnx__NodeProto *n = malloc(sizeof *n);
    onnx__node_proto__init(n);
    n->op_type = strdup(operator);
    n->n_input = (size_t)inputs;
    n->input = malloc(n->n_input * sizeof *n->input);
    for (int i = 0; i < inputs; i++)
        n->input[i] = strdup(input[i]);
    n->n_output = 1;
    n->output = malloc(sizeof *n->output);
    n->output[0] = strdup(output);
    g->node = realloc(g->node, (g->n_node + 1) * sizeof *g->node);
    memmove(g->node + 1, g->node, g->n_node * sizeof *g->node);
    g->node[0] = n;
    g->n_node++;
}

/* name = Reshape(Slice(packed, begin .. end)) */
static void cut(Onnx__GraphProto *g, const char *name, int64_t begin, int64_t end, const Onnx__TensorProto *t,
                int lead)
{
    char part[4][160], piece[160], shape[160];
    int64_t bounds[4] = {begin, end, lead, 1}, dims[CASE_TENSORS] = {0};
    char *slice[] = {"packed", part[0], part[1], part[2], part[3]}, *reshape[] = {piece, shape};
    for (int i = 0; i < 4; i++) {
        snprintf(part[i], sizeof part[i], "%.100s cut %d", name, i);
        add_initializer(g, integers(part[i], &bounds[i], 1));
    }
    for (size_t i = (size_t)lead; i < t->n_dims; i++)
        dims[i] = t->dims[i];
    snprintf(piece, sizeof piece, "%.100s piece", name);
    snprintf(shape, sizeof shape, "%.100s shape", name);
    add_initializer(g, integers(shape, dims, t->n_dims));
    prepend_node(g, "Reshape", 2, reshape, name);
    prepend_node(g, "Slice", 5, slice, piece);
}

static Onnx__TensorShapeProto *shape_of(Onnx__ValueInfoProto *in)
{
    bool tensor = in->type && in->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    return tensor ? in->type->tensor_type->shape : NULL;
}

/* Values to compute with: all but INT64, which are shapes and indices, unless there are no others. */
static bool is_data(const struct onnx_case *c, int k)
{
    bool others = false;
    for (int i = 0; i < c->input_count; i++)
        others = others || c->inputs[i]->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    return !others || c->inputs[k]->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
}

/* As float32, which is what our networks compute with: other types are converted at the door. */
static Onnx__TensorProto *as_floats(const Onnx__TensorProto *from, const char *name)
{
    int64_t count;
    double *v = onnx_case_numbers(from, &count);
    Onnx__TensorProto *t = malloc(sizeof *t);
    onnx__tensor_proto__init(t);
    t->name = strdup(name);
    t->has_data_type = true;
    t->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    t->n_dims = from->n_dims;
    t->dims = malloc((t->n_dims + 1) * sizeof *t->dims);
    if (t->n_dims)
        memcpy(t->dims, from->dims, t->n_dims * sizeof *t->dims);
    t->n_float_data = (size_t)count;
    t->float_data = malloc((t->n_float_data + 1) * sizeof *t->float_data);
    for (int64_t i = 0; i < count; i++)
        t->float_data[i] = (float)v[i];
    free(v);
    return t;
}

/* Graph input k of those that are no initialiser belongs to data input k. */
static int data_index(const struct onnx_case *c, size_t input)
{
    int k = 0;
    for (size_t i = 0; i < input; i++)
        k += !onnx_case_initializer(c, c->model->graph->input[i]->name);
    return onnx_case_initializer(c, c->model->graph->input[input]->name) || k >= c->input_count ? -1 : k;
}

/* Keeps one graph input, renamed, with this shape. */
static void one_input(Onnx__GraphProto *g, size_t kept, const char *name, const int64_t *dims, size_t n)
{
    Onnx__ValueInfoProto *in = g->input[kept];
    free(in->name);
    in->name = strdup(name);
    Onnx__TensorShapeProto *s = shape_of(in);
    in->type->tensor_type->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    for (size_t i = 0; i < s->n_dim; i++)
        protobuf_c_message_free_unpacked(&s->dim[i]->base, NULL);
    free(s->dim);
    s->n_dim = n;
    s->dim = malloc((n ? n : 1) * sizeof *s->dim);
    for (size_t i = 0; i < n; i++) {
        s->dim[i] = malloc(sizeof *s->dim[i]);
        onnx__tensor_shape_proto__dimension__init(s->dim[i]);
        s->dim[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        s->dim[i]->dim_value = dims[i];
    }
    for (size_t i = 0; i < g->n_input; i++)
        if (i != kept)
            onnx__value_info_proto__free_unpacked(g->input[i], NULL);
    g->input[0] = in;
    g->n_input = 1;
}

/* Numbers of inputs side by side: row 0 of the first, row 0 of the second ... */
static float *pack(const struct onnx_case *c, int rows, int64_t row, const bool *data)
{
    float *x = malloc((size_t)(rows * row + 1) * sizeof *x);
    int64_t at = 0;
    for (int k = 0; k < c->input_count; k++) {
        int64_t count, part;
        double *v = data[k] ? onnx_case_numbers(c->inputs[k], &count) : NULL;
        if (!v)
            continue;
        part = count / rows;
        for (int64_t i = 0; i < count; i++)
            x[i / part * row + at + i % part] = (float)v[i];
        at += part;
        free(v);
    }
    return x;
}

/* A model without inputs gets one that nothing reads. */
static bool dummy_form(const struct onnx_case *c, void **bytes, size_t *size, float **x, int *rows)
{
    Onnx__GraphProto *g = c->model->graph;
    Onnx__ValueInfoProto in = *g->output[0], *list = &in;
    in.name = (char *)"unused";
    g->input = &list;
    g->n_input = 1;
    *size = onnx__model_proto__get_packed_size(c->model);
    *bytes = malloc(*size);
    onnx__model_proto__pack(c->model, *bytes);
    g->input = NULL;
    g->n_input = 0;
    *x = calloc(1, sizeof **x);
    *rows = 1;
    return true;
}

bool onnx_case_form(const struct onnx_case *c, struct onnx_form form, void **bytes, size_t *size, float **x,
                    int *rows)
{
    bool data[CASE_TENSORS] = {0};
    int first = -1, count = 0;
    int64_t row = 0;
    Onnx__GraphProto *g = c->model->graph;
    size_t kept = 0, packed_size = onnx__model_proto__get_packed_size(c->model);
    for (size_t i = 0; i < g->n_input; i++) {
        int k = data_index(c, i);
        if (k < 0 || !is_data(c, k) || !shape_of(g->input[i]) || (count && !form.packed))
            continue;
        kept = count++ ? kept : i;
        first = first < 0 ? k : first;
        data[k] = true;
        const Onnx__TensorProto *t = c->inputs[k], *f = c->inputs[first];
        if (!form.whole && (!t->n_dims || !f->n_dims || t->dims[0] != f->dims[0] || t->dims[0] < 1))
            return false;
        row += element_count(t) / (form.whole ? 1 : t->dims[0]);
    }
    if (!g->n_input)
        return form.whole && !form.packed && dummy_form(c, bytes, size, x, rows);
    if (!count || row < 1 || (form.packed && count < 2))
        return false;
    *rows = form.whole ? 1 : (int)c->inputs[first]->dims[0];
    *x = pack(c, *rows, row, data);
    uint8_t *copy = malloc(packed_size);
    onnx__model_proto__pack(c->model, copy);
    Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, packed_size, copy);
    g = m->graph;
    int64_t begin = 0, packed_dims[2] = {*rows, row};
    for (size_t i = 0; i < g->n_input; i++) {
        int k = data_index(c, i);
        if (k < 0)
            continue;
        int64_t part = element_count(c->inputs[k]) / *rows;
        if (!data[k])
            add_initializer(g, is_data(c, k) ? as_floats(c->inputs[k], g->input[i]->name)
                                             : copy_tensor(c->inputs[k], g->input[i]->name));
        else if (form.packed)
            cut(g, g->input[i]->name, begin, begin + part, c->inputs[k], !form.whole);
        begin += data[k] ? part : 0;
    }
    const Onnx__TensorProto *t = c->inputs[first];
    if (form.packed)
        one_input(g, kept, "packed", packed_dims + form.whole, form.whole ? 1 : 2);
    else
        one_input(g, kept, c->model->graph->input[kept]->name, t->dims, t->n_dims);
    for (size_t i = 1; i < g->n_output; i++)
        onnx__value_info_proto__free_unpacked(g->output[i], NULL);
    g->n_output = 1;
    free(copy);
    *size = onnx__model_proto__get_packed_size(m);
    *bytes = malloc(*size);
    onnx__model_proto__pack(m, *bytes);
    onnx__model_proto__free_unpacked(m, NULL);
    return true;
}
