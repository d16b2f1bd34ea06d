/* What Conv and the pools have in common: a window over one, two or three dimensions, read from its attributes.
 * Next to read: onnx_conv.c, onnx_pools.c; layers/window.c, the arithmetic. */
#include "engine/files/onnx_windows.h"

#include <stdlib.h>
#include <string.h>

/* The shortest list that means `v`: one number when all are equal. */
static struct setting_ints short_ints(const int64_t *v, int n)
{
    struct setting_ints out = {.count = 1, .v = {v[0]}};
    for (int i = 1; i < n; i++)
        if (v[i] != v[0])
            out.count = n;
    for (int i = 0; i < out.count; i++)
        out.v[i] = v[i];
    return out;
}

/* ONNX gives all tops, then all bottoms; so do our settings. Two numbers when both ends are equal. */
static struct setting_ints short_pads(const int64_t v[4])
{
    return short_ints(v, v[0] == v[2] && v[1] == v[3] ? 2 : 4);
}

struct setting_ints window_ints(const int64_t v[2])
{
    return short_ints(v, 2);
}

/* auto_pad: SAME_* pads so that the output has ceil(input / stride) window_pixels. */
int window_auto_pad(const Onnx__NodeProto *n, const struct onnx_value *x, struct window_attributes *a,
                    struct fail *why)
{
    char mode[16] = "NOTSET";
    int rc = onnx_attribute_text(n, "auto_pad", mode, sizeof mode, why);
    if (rc || !strcmp(mode, "NOTSET"))
        return rc;
    if (x->padded)
        return fail(why, E_UNSUPPORTED, "auto_pad %s after a Pad is not supported", mode);
    memset(a->pads, 0, sizeof a->pads);
    bool upper = !strcmp(mode, "SAME_UPPER");
    if (!strcmp(mode, "VALID"))
        return 0;
    if (!upper && strcmp(mode, "SAME_LOWER"))
        return fail(why, E_FILE, "auto_pad %s: expected NOTSET, SAME_UPPER, SAME_LOWER or VALID", mode);
    for (int i = 0; i < 3; i++) {
        int64_t in = a->in.dim[1 + i], out = (in + a->strides[i] - 1) / a->strides[i];
        int64_t pad = (out - 1) * a->strides[i] + (a->kernel[i] - 1) * a->dilations[i] + 1 - in;
        pad = pad > 0 ? pad : 0;
        a->pads[i] = upper ? pad / 2 : pad - pad / 2;
        a->pads[3 + i] = pad - a->pads[i];
    }
    return 0;
}

int window_read(const struct onnx_reader *r, const Onnx__NodeProto *n, const struct onnx_value *x,
                struct window_attributes *a, struct fail *why)
{
    struct shape row = onnx_row(r, x);
    int64_t pads[6] = {0};
    char text[96];
    int rc, m = a->spatial = row.rank - 1, skip = 3 - m;
    if (m < 1 || m > 3 || !r->lead)
        return fail(why, E_UNSUPPORTED,
                    "one row of its input is %s, expected [C, W], [C, H, W] or [C, D, H, W]",
                    shape_text(row, text, sizeof text));
    a->in = SHAPE(row.dim[0], 1, 1, 1);
    memcpy(a->in.dim + 1 + skip, row.dim + 1, (size_t)m * sizeof row.dim[0]);
    for (int i = 0; i < 3; i++)
        a->strides[i] = a->dilations[i] = a->kernel[i] = 1;
    if ((rc = onnx_attribute_ints(n, "kernel_shape", m, 1, WINDOW_MOST, a->kernel + skip, why)) ||
        (rc = onnx_attribute_ints(n, "strides", m, 1, WINDOW_MOST, a->strides + skip, why)) ||
        (rc = onnx_attribute_ints(n, "pads", 2 * m, 0, WINDOW_MOST, pads, why)) ||
        (rc = onnx_attribute_ints(n, "dilations", m, 1, WINDOW_MOST, a->dilations + skip, why)))
        return rc;
    for (int i = 0; i < m; i++) {
        a->pads[skip + i] += pads[i];
        a->pads[3 + skip + i] += pads[m + i];
    }
    return 0;
}

/* What a Pad before this window added becomes the window's own padding; *plain is its input without. */
int window_take_pads(struct onnx_value *x, struct window_attributes *a, struct onnx_value *plain,
                     struct fail *why)
{
    if (!x || onnx_is_constant(x))
        return onnx_want_activation(x, why);
    *plain = *x;
    plain->padded = false;
    for (int i = 0; x->padded && i < 4; i++)
        a->pads[i / 2 * 3 + 1 + i % 2] = x->pads[i];
    return 0;
}

/* Output window_pixels along one direction, or 0: layers/window.c checks and says why. */
int64_t window_pixels(const struct window_attributes *a, int i, bool up)
{
    int64_t room = a->in.dim[1 + i] + a->pads[i] + a->pads[3 + i] - (a->kernel[i] - 1) * a->dilations[i] - 1;
    if (room < 0)
        return 0;
    int64_t n = (room + (up ? a->strides[i] - 1 : 0)) / a->strides[i] + 1;
    return up && (n - 1) * a->strides[i] >= a->in.dim[1 + i] + a->pads[i] ? n - 1 : n;
}

void window_lists(const struct window_attributes *a, struct setting_ints *size, struct setting_ints *stride,
                  struct setting_ints *padding)
{
    *size = short_ints(a->kernel + 1, 2);
    *stride = short_ints(a->strides + 1, 2);
    *padding = short_pads((int64_t[]){a->pads[1], a->pads[2], a->pads[4], a->pads[5]});
}

/* The output in as many dimensions as the input has. */
int window_added(struct onnx_reader *r, const Onnx__NodeProto *n, const struct window_attributes *a,
                 int64_t depth, struct fail *why)
{
    int rc = onnx_added(r, n, why);
    if (rc || a->spatial == 2)
        return rc;
    struct onnx_value *y = onnx_find(r, n->output[0]);
    struct shape s = onnx_row(r, y);
    onnx_set_view(r, y,
                  a->spatial == 1 ? SHAPE(s.dim[0], s.dim[2])
                                  : SHAPE(s.dim[0] / depth, depth, s.dim[1], s.dim[2]));
    return 0;
}
