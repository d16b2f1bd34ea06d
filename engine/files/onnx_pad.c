/* Pad. Zeros around height and width are first kept beside the value: the convolution or average that reads it takes
 * them over as its own padding (exporters write those so); everybody else gets a layer. Next to read: onnx_windows.c. */
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"
#include "engine/layers/settings.h"

enum { PADDING_MOST = 1 << 16 };

/* What a Pad says: begin of every dimension, then end of every dimension, the rows counted. */
struct padding {
    int64_t pads[2 * SHAPE_DIMS + 2];
    int mode;
    float value;
};

/* An attribute until operator set 10, then an input, from 18 on for some dimensions only. */
static int read_pads(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, int64_t *pads,
                     struct fail *why)
{
    const struct onnx_value *given = onnx_input(r, n, 1), *axes = onnx_input(r, n, 3);
    int64_t some[2 * SHAPE_DIMS + 2], at[SHAPE_DIMS + 1];
    int count = 0, dims = rank, rc;
    for (int i = 0; i <= SHAPE_DIMS; i++)
        at[i] = i;
    if (!given)
        return onnx_attribute(n, "pads")
                   ? onnx_attribute_ints(n, "pads", 2 * rank, -PADDING_MOST, PADDING_MOST, pads, why)
                   : fail(why, E_FILE, "the attribute pads is missing");
    if ((rc = onnx_want_numbers(given, "the padding", some, 2 * SHAPE_DIMS + 2, &count, why)) ||
        (axes && (rc = onnx_want_numbers(axes, "the list of axes", at, SHAPE_DIMS + 1, &dims, why))))
        return rc;
    if (count != 2 * dims)
        return fail(why, E_FILE, "%d paddings for %d dimensions", count, dims);
    memset(pads, 0, 2 * (size_t)rank * sizeof *pads);
    for (int i = 0; i < count; i++) {
        int64_t axis = at[i % dims] < 0 ? at[i % dims] + rank : at[i % dims];
        if (some[i] < -PADDING_MOST || some[i] > PADDING_MOST)
            return fail(why, E_UNSUPPORTED, "a padding of %lld, supported are %d to %d", (long long)some[i],
                        -PADDING_MOST, PADDING_MOST);
        if (axis < 0 || axis >= rank)
            return fail(why, E_FILE, "axis %lld of %d dimensions", (long long)at[i % dims], rank);
        pads[axis + (i < dims ? 0 : rank)] = some[i];
    }
    return 0;
}

static int read_padding(const struct onnx_reader *r, const Onnx__NodeProto *n, int rank, struct padding *p,
                        struct fail *why)
{
    static const char *const modes[] = {
        [PAD_CONSTANT] = "constant", [PAD_REFLECT] = "reflect", [PAD_EDGE] = "edge"};
    const struct onnx_value *value = onnx_input(r, n, 2);
    char mode[16] = "constant";
    int rc;
    *p = (struct padding){0};
    if ((rc = read_pads(r, n, rank, p->pads, why)) ||
        (rc = onnx_attribute_text(n, "mode", mode, sizeof mode, why)) ||
        (rc = onnx_attribute_float(n, "value", &p->value, why)) ||
        (value && (rc = onnx_want_float(value, "the value", &p->value, why))))
        return rc;
    for (p->mode = 0; strcmp(modes[p->mode], mode); p->mode++)
        if (p->mode == PAD_EDGE)
            return fail(why, E_UNSUPPORTED, "pads by %s; supported are constant, reflect and edge", mode);
    return 0;
}

static int add_padding(struct onnx_reader *r, const Onnx__NodeProto *n, struct onnx_value *x,
                       const struct padding *p, int rank, struct fail *why)
{
    struct graph_node *l;
    int from, row = rank - r->lead, rc;
    if (2 * row > (int)(sizeof((struct setting_ints *)0)->v / sizeof(int64_t)))
        return fail(why, E_UNSUPPORTED, "pads a row of %d dimensions, at most 4 are supported", row);
    if ((rc = onnx_layer_of(r, x, &from, why)) || (rc = onnx_add(r, n, NULL, "pad", from, &l, why)))
        return rc;
    struct pad_settings *s = l->settings;
    s->pads.count = 2 * row;
    for (int i = 0; i < row; i++) {
        s->pads.v[i] = p->pads[r->lead + i];
        s->pads.v[row + i] = p->pads[rank + r->lead + i];
    }
    s->mode = p->mode;
    s->value = onnx_decimal(p->value);
    return onnx_added(r, n, why);
}

int onnx_import_pad(struct onnx_reader *r, const Onnx__NodeProto *n, struct fail *why)
{
    struct onnx_value *x = onnx_input(r, n, 0);
    struct padding p;
    int layer, rc = onnx_want_activation(x, why);
    if (rc || (x->padded && (rc = onnx_layer_of(r, x, &layer, why))))
        return rc;
    int rank = onnx_row(r, x).rank + r->lead;
    if ((rc = read_padding(r, n, rank, &p, why)))
        return rc;
    struct onnx_value value = *x;
    bool around = rank == 4 && r->lead && !r->ours && p.mode == PAD_CONSTANT && p.value == 0 && !x->viewed;
    for (int i = 0; i < 2 * rank; i++) {
        if (p.pads[i] && i % rank < r->lead && (rc = onnx_want_row_axis(r, 0, why)))
            return rc;
        if (around && i % rank >= 2)
            value.pads[i % rank - 2 + (i < rank ? 0 : 2)] = p.pads[i];
        around = around && (i % rank >= 2 ? p.pads[i] >= 0 : p.pads[i] == 0);
    }
    if (!around)
        return add_padding(r, n, x, &p, rank, why);
    value.padded = true;
    onnx_define_alias(r, n, &value);
    return 0;
}
