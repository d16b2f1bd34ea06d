/* The arithmetic of windows: ONNX's and PyTorch's floor and ceil rules.
 * Next to read: conv.c, pool.c. */
#include "engine/layers/window.h"

enum { WINDOW_MOST = 1 << 20 };

/* Item i of a list of one (all the same) or `want` numbers. */
static int64_t item(const struct setting_ints *list, int i, int want, int64_t otherwise)
{
    if (!list || !list->count)
        return otherwise;
    if (list->count == 2 && want == 4)
        return list->v[i % 2];
    return list->v[list->count == 1 ? 0 : i];
}

static int check_list(const struct setting_ints *list, const char *what, int64_t least, bool four,
                      struct fail *why)
{
    if (!list)
        return 0;
    if (list->count > 2 && !(four && list->count == 4))
        return fail(why, E_NETWORK, "%s has %d numbers, expected 1%s 2%s", what, list->count,
                    four ? "," : " or", four ? " or 4" : "");
    for (int i = 0; i < list->count; i++)
        if (list->v[i] < least || list->v[i] > WINDOW_MOST)
            return fail(why, E_NETWORK, "%s %lld is not in %lld..%d", what, (long long)list->v[i],
                        (long long)least, WINDOW_MOST);
    return 0;
}

/* Output pixels along one direction. Rounding up never adds a window that begins beyond the input and its
 * leading padding. */
static int64_t outputs(int64_t in, int64_t before, int64_t after, int64_t reach, int64_t stride, bool up)
{
    int64_t room = in + before + after - reach;
    if (room < 0)
        return 0;
    int64_t n = (room + (up ? stride - 1 : 0)) / stride + 1;
    if (up && (n - 1) * stride >= in + before)
        n--;
    return n;
}

static int check(const struct window_settings *s, struct shape in, struct fail *why)
{
    int rc;
    char text[64];
    if (in.rank != 3)
        return fail(why, E_NETWORK, "input has shape %s, expected [channels, height, width]",
                    shape_text(in, text, sizeof text));
    for (int i = 0; i < 3; i++)
        if (in.dim[i] > WINDOW_MOST)
            return fail(why, E_NETWORK, "input %s is larger than %d", shape_text(in, text, sizeof text),
                        WINDOW_MOST);
    if (!s->size->count)
        return fail(why, E_NETWORK, "the size of the window is not given");
    if ((rc = check_list(s->size, "window", 1, false, why)) ||
        (rc = check_list(s->stride, "stride", 1, false, why)) ||
        (rc = check_list(s->padding, "padding", 0, true, why)) ||
        (rc = check_list(s->dilation, "dilation", 1, false, why)))
        return rc;
    if (s->filters < 1 || s->filters > WINDOW_MOST)
        return fail(why, E_NETWORK, "filters %lld is not in 1..%d", (long long)s->filters, WINDOW_MOST);
    if (s->groups < 1 || in.dim[0] % s->groups || s->filters % s->groups)
        return fail(why, E_NETWORK, "input has %lld channels, filters are %lld: groups %lld must divide both",
                    (long long)in.dim[0], (long long)s->filters, (long long)s->groups);
    return 0;
}

struct window window_of(const struct window_settings *s, struct shape in)
{
    struct window w = {.C = (int)in.dim[0],
                       .H = (int)in.dim[1],
                       .W = (int)in.dim[2],
                       .K = (int)s->filters,
                       .R = (int)item(s->size, 0, 2, 1),
                       .S = (int)item(s->size, 1, 2, 1),
                       .stride_h = (int)item(s->stride, 0, 2, 1),
                       .stride_w = (int)item(s->stride, 1, 2, 1),
                       .pad_top = (int)item(s->padding, 0, 4, 0),
                       .pad_left = (int)item(s->padding, 1, 4, 0),
                       .pad_bottom = (int)item(s->padding, 2, 4, 0),
                       .pad_right = (int)item(s->padding, 3, 4, 0),
                       .dilation_h = (int)item(s->dilation, 0, 2, 1),
                       .dilation_w = (int)item(s->dilation, 1, 2, 1),
                       .groups = (int)s->groups};
    int64_t reach_h = (int64_t)w.dilation_h * (w.R - 1) + 1, reach_w = (int64_t)w.dilation_w * (w.S - 1) + 1;
    w.P = (int)outputs(w.H, w.pad_top, w.pad_bottom, reach_h, w.stride_h, s->ceil);
    w.Q = (int)outputs(w.W, w.pad_left, w.pad_right, reach_w, w.stride_w, s->ceil);
    return w;
}

int window_make(struct window *win, const struct window_settings *s, struct shape in, struct fail *why)
{
    int rc = check(s, in, why);
    if (rc)
        return rc;
    *win = window_of(s, in);
    if (win->P < 1 || win->Q < 1)
        return fail(
            why, E_NETWORK,
            "a %dx%d window (dilation %d, %d) does not fit an input of %dx%d with padding %d, %d, %d, %d",
            win->R, win->S, win->dilation_h, win->dilation_w, win->H, win->W, win->pad_top, win->pad_left,
            win->pad_bottom, win->pad_right);
    return 0;
}
