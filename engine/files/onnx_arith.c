/* Add, Sub, Mul, Div, PRelu and Sum: of two activations, or of one and a constant, which becomes a parameter of the
 * layer. Next to read: layers/zip.c; onnx_linear.c, for the Add that is a bias. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

/* A constant's shape without the dimension of the rows, in which it may only be 1. */
static int operand_shape(const struct onnx_reader *r, const struct onnx_value *x, const struct onnx_value *c,
                         struct shape *s, struct fail *why)
{
    char text[96];
    int row = onnx_row(r, x).rank;
    if (r->lead && s->rank == row + 1 && s->dim[0] == 1) {
        memmove(s->dim, s->dim + 1, (size_t)row * sizeof s->dim[0]);
        s->rank--;
    }
    if (r->lead && s->rank > row)
        return fail(why, E_UNSUPPORTED, "the constant %.80s of shape %s differs from row to row", c->name,
                    shape_text(*s, text, sizeof text));
    if (shape_size(*s) < 1)
        return fail(why, E_FILE, "the constant %.80s is empty", c->name);
    if (!s->rank)
        *s = SHAPE(1);
    return 0;
}

/* Constants of the file's nodes are not trained, initialisers are. */
static int add_operand(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                       struct onnx_value *x, struct onnx_value *c, const struct shape *s, const float *data,
                       bool first, struct fail *why)
{
    struct graph_node *l;
    int from, rc;
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, c, type, from, &l, why)))
        return rc;
    struct zip_settings *z = l->settings;
    z->shape.count = s->rank;
    memcpy(z->shape.v, s->dim, (size_t)s->rank * sizeof s->dim[0]);
    z->fixed = !c->trained;
    z->first = first && (!strcmp(type, "sub") || !strcmp(type, "div"));
    if ((rc = onnx_set_param(r, r->graph->count - 1, 0, c, *s, data, why)))
        return rc;
    return onnx_added(r, n, why);
}

/* Until operator set 6 `axis` said where the constant's first dimension lies among the other's. */
static int old_axis(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                    struct shape *s, struct fail *why)
{
    int64_t rank = onnx_row(r, x).rank + r->lead, axis = rank - s->rank;
    int rc = onnx_attribute_int(n, "axis", &axis, why);
    if (rc)
        return rc;
    axis += axis < 0 ? rank : 0;
    if (axis < 0 || axis > rank - s->rank)
        return fail(why, E_FILE, "axis %lld for a constant of %d dimensions beside %lld", (long long)axis,
                    s->rank, (long long)rank);
    while (s->rank < rank - axis && s->rank < SHAPE_DIMS)
        s->dim[s->rank++] = 1;
    return 0;
}

static int import_constant(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                           struct onnx_value *x, struct onnx_value *c, float scale, bool first,
                           struct fail *why)
{
    struct shape s;
    float *data = NULL;
    int rc = onnx_want_activation(x, why);
    if (rc || (rc = onnx_want_floats(c, "an input", &data, &s, why)))
        return rc;
    if (r->opset < 7 && onnx_attribute(n, "axis"))
        rc = old_axis(r, n, x, &s, why);
    if (!rc)
        rc = operand_shape(r, x, c, &s, why);
    for (int64_t i = 0; !rc && scale != 1 && i < shape_size(s); i++)
        data[i] *= scale;
    if (!rc)
        rc = add_operand(r, n, type, x, c, &s, data, first, why);
    free(data);
    return rc;
}

int onnx_import_operand(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type,
                        struct onnx_value *x, struct onnx_value *c, float scale, struct fail *why)
{
    return import_constant(r, n, type, x, c, scale, false, why);
}

int onnx_import_two(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, struct onnx_value *a,
                    struct onnx_value *b, struct fail *why)
{
    struct graph_node *l;
    int from[2], rc;
    if ((rc = onnx_want_activation(a, why)) || (rc = onnx_want_activation(b, why)))
        return rc;
    if (r->lead && onnx_row(r, a).rank != onnx_row(r, b).rank)
        return fail(why, E_UNSUPPORTED,
                    "its inputs have %d and %d dimensions, so that rows meet other dimensions",
                    onnx_row(r, a).rank + 1, onnx_row(r, b).rank + 1);
    if ((rc = onnx_layer_of(r, a, &from[0], why)) || (rc = onnx_layer_of(r, b, &from[1], why)) ||
        (rc = onnx_add(r, n, NULL, type, from[0], &l, why)))
        return rc;
    l->inputs[1] = from[1];
    l->input_count = 2;
    return onnx_added(r, n, why);
}

static int import_zip(struct onnx_reader *r, const Onnx__NodeProto *n, const char *type, struct fail *why)
{
    struct onnx_value *a = onnx_input(r, n, 0), *b = onnx_input(r, n, 1);
    if (onnx_is_constant(a))
        return import_constant(r, n, type, b, a, 1, true, why);
    if (onnx_is_constant(b))
        return import_constant(r, n, type, a, b, 1, false, why);
    if (onnx_attribute(n, "axis"))
        return fail(why, E_UNSUPPORTED, "axis is supported for constants only");
    return onnx_import_two(r, n, type, a, b, why);
}

int onnx_import_add(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    bool done;
    int rc = onnx_import_bias(r, n, &done, why);
    return rc || done ? rc : import_zip(r, n, "add", why);
}

int onnx_import_sub(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_zip(r, n, "sub", why);
}

int onnx_import_mul(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_zip(r, n, "mul", why);
}

int onnx_import_div(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    return import_zip(r, n, "div", why);
}

/* Until operator set 6 a list is one slope for each channel; since then it broadcasts. */
int onnx_import_prelu(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0), *c = onnx_input(r, n, 1);
    struct shape s;
    float *data = NULL;
    int rc = onnx_want_activation(x, why);
    if (rc || (rc = onnx_want_floats(c, "the slope", &data, &s, why)))
        return rc;
    int row = onnx_row(r, x).rank;
    if (r->opset < 7 && s.rank == 1 && s.dim[0] != 1)
        for (; s.rank < row; s.rank++)
            s.dim[s.rank] = 1;
    rc = operand_shape(r, x, c, &s, why);
    if (!rc)
        rc = add_operand(r, n, "prelu", x, c, &s, data, false, why);
    free(data);
    return rc;
}

/* Any number of activations of one shape. */
int onnx_import_sum(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct graph_node *l;
    int from[GRAPH_INPUTS], count = (int)n->n_input, rc;
    if (count == 2)
        return import_zip(r, n, "add", why);
    for (int i = 0; i < count; i++) {
        struct onnx_value *v = onnx_input(r, n, (size_t)i);
        if ((rc = onnx_want_activation(v, why)))
            return rc;
        if (!shape_equal(onnx_row(r, v), onnx_row(r, onnx_input(r, n, 0))))
            return fail(why, E_UNSUPPORTED, "its inputs differ in shape; only two broadcast");
        if ((rc = onnx_layer_of(r, v, &from[i], why)))
            return rc;
    }
    if (count == 1) {
        onnx_define_alias(r, n, onnx_input(r, n, 0));
        return 0;
    }
    if ((rc = onnx_add(r, n, NULL, "add", from[0], &l, why)))
        return rc;
    memcpy(l->inputs, from, (size_t)count * sizeof from[0]);
    l->input_count = count;
    return onnx_added(r, n, why);
}
