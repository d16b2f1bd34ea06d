/* What the files onnx_*.c share; others call onnx_parse and onnx_print (graph.h).
 *   onnx_wire.c          bytes -> protobuf messages, checked and bounded
 *   onnx_tensor.c        tensors and attributes of a node
 *   onnx_read.c          the model around the operators: input, output, order
 *   onnx_values.c        what names stand for, the layers that are added
 *   onnx_operators.c     one row an operator: ONNX node -> layer
 *   onnx_activations.c, onnx_linear.c, onnx_arith.c, onnx_conv.c, onnx_pools.c (onnx_windows.h),
 *   onnx_pad.c, onnx_norm.c,
 *   onnx_shapes.c, onnx_axes.c   families of operators
 *   onnx_patterns.c      functions that are several nodes, both ways
 *   onnx_fold.c, onnx_fold_float.c   nodes that are computed while the file is read
 *   onnx_meta.c          labels, preprocessing and metadata, both ways
 *   onnx_write.c         the model around the layers
 *   onnx_layers.c, onnx_layers_axes.c   one row a layer: layer -> ONNX nodes */
#ifndef ENGINE_FILES_ONNX_H
#define ENGINE_FILES_ONNX_H

#include "engine/files/onnx.pb-c.h"
#include "engine/graph.h"
#include "engine/layer.h"

/* What is written, and what may be read: each operator's row says from which operator set on. The newest sets change
 * only types that we do not compute with. Tested with files of 6 to 17. */
enum { ONNX_IR = 8, ONNX_OPSET = 17, ONNX_OPSET_OLDEST = 1, ONNX_OPSET_NEWEST = 24 };

#define ONNX_PRODUCER "millrace"
/* Nodes that one layer needs beside its own are called after it: "dense1/flatten", "conv1/activation". In
 * files of our own the reader takes them for a part of that layer and keeps all others apart. */
#define ONNX_PART_FLATTEN    "/flatten"
#define ONNX_PART_ACTIVATION "/activation"

/* ---- onnx_wire.c ---- */

struct onnx_file; /* the messages of a model and the memory they take */

/* Memory is at most 16 MiB and four times the size of the file. */
int onnx_file_open(struct onnx_file **out, const char *name, const void *bytes, size_t size,
                   struct fail *why);
void onnx_file_close(struct onnx_file **file);
const Onnx__ModelProto *onnx_file_model(const struct onnx_file *file);

/* ---- onnx_tensor.c. Messages of failures begin after the node's name. ---- */

const char *onnx_text(const char *text); /* NULL (absent) as "" */
/* Shape and number of elements, checked against the data that is there. */
int onnx_tensor_shape(const Onnx__TensorProto *t, struct shape *shape, struct fail *why);
/* FLOAT, DOUBLE, FLOAT16, BFLOAT16: what becomes float32. */
bool onnx_type_is_float(int32_t type);
/* Tensors of those; *out is malloc'd and holds shape_size floats. */
int onnx_tensor_floats(const Onnx__TensorProto *t, float **out, struct shape *shape, struct fail *why);
/* INT64 and INT32 tensors of at most `max` elements; *count is how many. */
int onnx_tensor_ints(const Onnx__TensorProto *t, int64_t *out, int max, int *count, struct fail *why);

/* Attributes: absent leaves *out as it is (the default). */
const Onnx__AttributeProto *onnx_attribute(const Onnx__NodeProto *node, const char *name);
int onnx_attribute_int(const Onnx__NodeProto *node, const char *name, int64_t *out, struct fail *why);
int onnx_attribute_float(const Onnx__NodeProto *node, const char *name, float *out, struct fail *why);
/* Exactly `count` numbers, each min .. max. */
int onnx_attribute_ints(const Onnx__NodeProto *node, const char *name, int count, int64_t min, int64_t max,
                        int64_t *out, struct fail *why);
/* The string is copied, cut to size. */
int onnx_attribute_text(const Onnx__NodeProto *node, const char *name, char *out, size_t size,
                        struct fail *why);
/* The float as the shortest decimal that means it: 0.2f is 0.2. */
double onnx_decimal(float f);

/* ---- onnx_values.c ---- */

enum { ONNX_INTS = 64 };

/* An integer of shape arithmetic: n, or n times the number of rows. */
struct onnx_int {
    int64_t n;
    bool rows;
};

struct onnx_ints {
    int rank; /* 0: one number, 1: a list */
    int count;
    struct onnx_int v[ONNX_INTS];
};

/* What a name in the file stands for: a constant, or the output of a layer. */
struct onnx_value {
    const char *name;                /* borrowed from the file */
    const Onnx__TensorProto *tensor; /* of a constant */
    const struct onnx_ints *ints;    /* of integers computed while reading */
    int node;                        /* of an activation: a layer of the graph, or GRAPH_INPUT */
    int producer;                    /* the node of the file that gives it; -1: none */
    int uses;                        /* nodes and graph outputs that read it, through aliases too */
    bool ready;                      /* defined by now, in the order of the file */
    bool viewed;                     /* read in the shape `view`, and no layer was made for that yet */
    struct shape view;               /* of one row */
    bool trained;                    /* of a constant: an initialiser, not computed in the file */
    bool named;                      /* a parameter is called after it */
    bool padded;     /* by zeros, which the window that reads it may take over; not viewed then */
    int64_t pads[4]; /* top, left, bottom, right */
};

/* A constant computed while reading. */
struct onnx_made {
    Onnx__TensorProto tensor;
    int64_t dims[SHAPE_DIMS];
    float *floats; /* owned; NULL when the tensor borrows its numbers or there is none */
    struct onnx_ints ints;
    struct onnx_made *next;
};

/* A function that the file writes as several nodes, onnx_patterns.c. */
struct onnx_pattern {
    const char *type; /* of the layer */
    enum map_fn fn;
    const char *text;
};

struct onnx_match {
    const struct onnx_pattern *pattern; /* NULL: the node is what it is */
    struct onnx_value *x;
};

struct onnx_reader {
    const char *file;
    const Onnx__ModelProto *model;
    struct graph *graph;
    struct onnx_value *values; /* by name */
    size_t value_count;
    bool *needed;                /* by node of the file: the output depends on it */
    struct onnx_match *patterns; /* by node of the file */
    int opset;
    int lead;               /* dimensions before those of a row: 1, or 0 when the whole input is one row */
    int64_t fixed_batch;    /* the input's N when it is a number, else 0 */
    bool ours;              /* written by onnx_print */
    struct onnx_made *made; /* owned */
    size_t room;            /* bytes that constants may still take */
};

struct onnx_value *onnx_find(const struct onnx_reader *r, const char *name); /* NULL: none */
int onnx_collect_values(struct onnx_reader *r, const Onnx__GraphProto *g, struct fail *why);
void onnx_mark_needed(struct onnx_reader *r, const Onnx__GraphProto *g, struct onnx_value *output);
/* NULL: the file names no such input (left out, or too few). */
struct onnx_value *onnx_input(const struct onnx_reader *r, const Onnx__NodeProto *node, size_t i);
bool onnx_is_constant(const struct onnx_value *v); /* false for NULL */
/* Makes output 0 of the node stand for a layer, or for what `from` stands for. */
void onnx_define(struct onnx_reader *r, const Onnx__NodeProto *node, int layer);
void onnx_define_alias(struct onnx_reader *r, const Onnx__NodeProto *node, const struct onnx_value *from);
/* The shape of one row of an activation. */
struct shape onnx_row(const struct onnx_reader *r, const struct onnx_value *v);
void onnx_set_view(const struct onnx_reader *r, struct onnx_value *v, struct shape row);
/* Adds the layer that makes a row of this shape; node may be NULL. */
int onnx_add_view(struct onnx_reader *r, const Onnx__NodeProto *node, int input, struct shape row,
                  struct fail *why);
/* The layer an activation comes from, after a layer was added for its padding or its view where one is due. */
int onnx_layer_of(struct onnx_reader *r, struct onnx_value *v, int *layer, struct fail *why);
/* Adds a layer named after the node, or after its weights ("conv1" of "conv1.weight"). */
int onnx_add(struct onnx_reader *r, const Onnx__NodeProto *node, const struct onnx_value *weights,
             const char *type, int input, struct graph_node **out, struct fail *why);
/* Settings against their table and the shape rule, of the last layer. */
int onnx_shape_last(struct onnx_reader *r, struct fail *why);
/* Checks the settings against their table, runs the shape rule and defines output 0. */
int onnx_added(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
/* Sets a parameter of the last layer, called after the value when that is possible. */
int onnx_set_param(struct onnx_reader *r, int layer, int index, struct onnx_value *from, struct shape shape,
                   const float *data, struct fail *why);

/* ---- onnx_read.c ---- */

/* For conformance tests. */
struct onnx_whole {
    bool wanted;        /* the whole input is one row: operators may work across its first dimension */
    float *constant;    /* malloc'd, when the output depends on nothing; the graph is NULL then */
    struct shape shape; /* of the constant */
};
int onnx_parse_whole(struct graph **out, const char *name, const void *bytes, size_t size,
                     struct onnx_whole *whole, struct fail *why);

/* ---- onnx_fold.c, onnx_fold_float.c: results of nodes whose inputs are constants ---- */

/* Defines output 0 as floats of this shape for the caller to fill; NULL: failed, *why says it. */
float *onnx_define_floats(struct onnx_reader *r, const Onnx__NodeProto *n, struct shape shape,
                          struct fail *why);
int onnx_define_ints(struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_ints *ints,
                     struct fail *why);
int onnx_define_tensor(struct onnx_reader *r, const Onnx__NodeProto *n, const Onnx__TensorProto *tensor,
                       const struct shape *shape, struct fail *why);
void onnx_made_free(struct onnx_reader *r);
bool onnx_is_ints(const struct onnx_value *v);
int onnx_want_ints(const struct onnx_value *v, const char *what, struct onnx_ints *out, struct fail *why);
/* *out is malloc'd. Integers that were computed become floats. */
int onnx_want_floats(const struct onnx_value *v, const char *what, float **out, struct shape *shape,
                     struct fail *why);
int onnx_want_float(const struct onnx_value *v, const char *what, float *out,
                    struct fail *why); /* one number */
/* Plain numbers only, at most max. */
int onnx_want_numbers(const struct onnx_value *v, const char *what, int64_t *out, int max, int *count,
                      struct fail *why);
int onnx_broadcast(struct shape a, struct shape b, struct shape *out, struct fail *why);
int onnx_fold_int_arithmetic(struct onnx_reader *r, const Onnx__NodeProto *n, char sign, struct fail *why);
int onnx_fold_gather_floats(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_concat_floats(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
/* Rows of the table in onnx_operators.c. */
int onnx_import_shape(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_arithmetic(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_cast(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_concat(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_gather(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_slice(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_transpose(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_fold_view(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);

/* ---- onnx_shapes.c ---- */

/* The attribute `axis`, or *axis without it, as 0 .. rank - 1. */
int onnx_read_axis(const Onnx__NodeProto *n, int rank, int64_t *axis, struct fail *why);
/* marks[i]: dimension i of `rank` is among the axes, attribute or second input; *count: how many. */
int onnx_read_axes(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, bool *marks, int *count,
                   struct fail *why);
int onnx_want_row_axis(const struct onnx_reader *r, int64_t axis, struct fail *why);
/* The shape that Reshape, Flatten, Squeeze or Unsqueeze makes of `from`, before which stand `lead` dimensions. */
int onnx_view_shape(const struct onnx_reader *r, const Onnx__NodeProto *n, struct shape from, int lead,
                    struct shape *out, struct fail *why);
int onnx_import_view(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);

/* ---- onnx_axes.c ---- */

int onnx_read_perm(const Onnx__NodeProto *n, int rank, int64_t *perm, struct fail *why);
struct onnx_slice {
    int count;
    bool stepped; /* the file gives steps */
    int64_t axis[SHAPE_DIMS], start[SHAPE_DIMS], end[SHAPE_DIMS], step[SHAPE_DIMS];
};
/* Axes are within -rank .. rank - 1, as written. */
int onnx_read_slice(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, struct onnx_slice *s,
                    struct fail *why);
/* `bound` as a place in 0 .. size, or -1 .. size - 1 for negative steps. */
int64_t onnx_slice_bound(int64_t bound, int64_t size, int64_t step);

int onnx_add_transpose(struct onnx_reader *r, const Onnx__NodeProto *node, int input, const int64_t *perm,
                       int rank, struct fail *why);
int onnx_import_arg(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_concat(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_gather(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_reduce(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_slice(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_transpose(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);

/* ---- onnx_activations.c ---- */

int onnx_import_clip(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_elu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_gelu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_hard_sigmoid(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_leaky_relu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
/* Those without numbers: a table there says which layer. */
int onnx_import_plain(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_softmax(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_lrn(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);

int onnx_import_pattern(struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_match *match,
                        struct fail *why);

/* ---- onnx_arith.c ---- */

/* Layers of two values that define output 0: two activations that broadcast row by row, or one and a constant times
 * scale. */
int onnx_import_two(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, struct onnx_value *a,
                    struct onnx_value *b, struct fail *why);
int onnx_import_operand(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                        struct onnx_value *x, struct onnx_value *c, float scale, struct fail *why);
int onnx_import_add(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_div(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_mul(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_prelu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_sub(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_sum(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);

/* ---- onnx_norm.c ---- */

int onnx_import_batchnorm(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);
int onnx_import_global_pool(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why);

/* ---- onnx_patterns.c ---- */

/* Fills r->patterns and takes the inner nodes of matches out of r->needed. */
int onnx_find_patterns(struct onnx_reader *r, struct fail *why);
struct onnx_writer;
/* Writes fn of the value x as the layer's last nodes; false: there is no pattern of it. */
bool onnx_write_pattern(struct onnx_writer *w, int layer, const char *part, const char *x, enum map_fn fn);

/* ---- onnx_operators.c ---- */

/* In files of our own: a node that belongs to the layer before. */
bool onnx_is_part(const Onnx__NodeProto *n, const char *part);
/* Row i of the table of operators, and the oldest operator set that it is read from; NULL: there is none. */
const char *onnx_operator(int i, int *opset);
int onnx_import_node(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
int onnx_want_activation(const struct onnx_value *v, struct fail *why);
int onnx_want_constant(const struct onnx_value *v, const char *what, struct fail *why);
/* The activation comes from a layer of this type. */
bool onnx_is_type(const struct onnx_reader *r, const struct onnx_value *v, const char *type);

/* ---- onnx_linear.c: rows of the table in onnx_operators.c ---- */

int onnx_import_gemm(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
int onnx_import_matmul(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
/* An Add whose constant the layer before takes as its bias; *done: it was one. */
int onnx_import_bias(struct onnx_reader *r, const Onnx__NodeProto *n, bool *done, struct fail *why);
/* Parameter 1 of a layer: `count` numbers, or one for all, times scale. Leading ones in the tensor's shape do
 * not matter; `trailing` dimensions of one must follow. Each number is there `repeat` times. */
int onnx_set_bias(struct onnx_reader *r, int layer, struct onnx_value *v, int64_t count, int trailing,
                  int64_t repeat, float scale, struct fail *why);

/* ---- onnx_conv.c, onnx_pools.c, onnx_pad.c: rows of the table in onnx_operators.c ---- */

int onnx_import_conv(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
int onnx_import_maxpool(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
int onnx_import_avgpool(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);
int onnx_import_pad(struct onnx_reader *r, const Onnx__NodeProto *node, struct fail *why);

/* ---- onnx_meta.c ---- */

int onnx_meta_read(struct graph *g, const Onnx__ModelProto *model, struct fail *why);

/* ---- onnx_write.c and onnx_writer.c, for the layers and the metadata. All memory is the writer's and freed at once; after a
 * failed allocation the functions do nothing and the writer reports it at the end. ---- */

struct onnx_writer;

void *onnx_alloc(struct onnx_writer *w, size_t size); /* zeroed; NULL when there is no memory */
/* printf into the writer's memory; NULL when there is no memory. */
char *onnx_format(struct onnx_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The name of what a layer of the graph (or GRAPH_INPUT) puts out. */
const char *onnx_value_name(const struct onnx_writer *w, int layer);
const char *onnx_param_name(const struct onnx_writer *w, int layer, int param);
/* A node named layer + part with one output; inputs are added to it. A last node gives the layer's value,
 * others a value named like the node. */
Onnx__NodeProto *onnx_node(struct onnx_writer *w, int layer, const char *part, const char *operator,
                           bool last);
/* NULL: nothing is added. */
void onnx_node_input(struct onnx_writer *w, Onnx__NodeProto *node, const char *value);
void onnx_node_text(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, const char *value);
void onnx_node_int(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, int64_t value);
void onnx_node_float(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, float value);
void onnx_node_ints(struct onnx_writer *w, Onnx__NodeProto *node, const char *name, int count,
                    const int64_t *values);
/* A scalar constant; returns its name. */
const char *onnx_scalar(struct onnx_writer *w, int layer, const char *part, float value);
/* A list of integers, or one without a dimension; returns its name. */
const char *onnx_integers(struct onnx_writer *w, int layer, const char *part, const int64_t *v, int count,
                          bool scalar);
/* A parameter as a node Constant: it is not for training. */
void onnx_constant(struct onnx_writer *w, int layer, int param);
/* Those parameters are not initialisers of the file. */
bool onnx_is_fixed(const struct graph_node *n);
void onnx_meta_write(struct onnx_writer *w, const struct graph *g, Onnx__ModelProto *model);

/* ---- onnx_layers.c ---- */

int onnx_export_layer(struct onnx_writer *w, const struct graph *g, int layer, struct fail *why);

#endif
