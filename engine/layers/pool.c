/* Max and average pooling. A window that reaches into the padding sees -inf (max) or nothing (average; with
 * count_padding, zeros). */
#include "engine/layers/types.h"
#include "engine/layers/window.h"

#define POOL_SETTINGS                                                                       \
    {"size",                                                                                \
     SETTING_INTS,                                                                          \
     offsetof(struct pool_settings, size),                                                  \
     NULL,                                                                                  \
     1,                                                                                     \
     1024,                                                                                  \
     NULL,                                                                                  \
     "size of the window: one number or [height, width]",                                   \
     false},                                                                                \
        {"stride",                                                                          \
         SETTING_INTS,                                                                      \
         offsetof(struct pool_settings, stride),                                            \
         "[]",                                                                              \
         1,                                                                                 \
         1024,                                                                              \
         NULL,                                                                              \
         "pixels from one window to the next: one number or [height, width]; []: the size", \
         false},                                                                            \
        {"padding",                                                                         \
         SETTING_INTS,                                                                      \
         offsetof(struct pool_settings, padding),                                           \
         "0",                                                                               \
         0,                                                                                 \
         1024,                                                                              \
         NULL,                                                                              \
         "around the input: one number, [height, width] or [top, left, bottom, right]",     \
         false},                                                                            \
    {                                                                                       \
        "ceil", SETTING_BOOL, offsetof(struct pool_settings, ceil), "false", 0, 0, NULL,    \
            "a last window may reach beyond the input", false                               \
    }

static const struct setting max_settings[] = {POOL_SETTINGS, {0}};
static const struct setting average_settings[] = {
    POOL_SETTINGS,
    {"count_padding", SETTING_BOOL, offsetof(struct pool_settings, count_padding), "false", 0, 0, NULL,
     "divide by the window's size with its padding, not by the pixels it sees", false},
    {0}};

static struct window_settings windows(const struct pool_settings *s, struct shape in)
{
    return (struct window_settings){.size = &s->size,
                                    .stride = s->stride.count ? &s->stride : &s->size,
                                    .padding = &s->padding,
                                    .filters = in.dim[0],
                                    .groups = in.dim[0],
                                    .ceil = s->ceil};
}

static struct window pool_window(const struct pool_settings *s, struct shape in)
{
    struct window_settings windowed = windows(s, in);
    struct window win = window_of(&windowed, in);
    win.count_padding = s->count_padding;
    return win;
}

static int shape(const void *given, const struct shape *in, int inputs, struct shape *out, struct fail *why)
{
    struct window_settings s = windows(given, in[0]);
    struct window win = {0};
    (void)inputs;
    int rc = window_make(&win, &s, in[0], why);
    if (rc)
        return rc;
    /* Otherwise a window could see padding only, and its maximum or mean would mean nothing. */
    if (win.pad_top >= win.R || win.pad_bottom >= win.R || win.pad_left >= win.S || win.pad_right >= win.S)
        return fail(why, E_NETWORK, "padding must be smaller than the window of %dx%d", win.R, win.S);
    *out = SHAPE(win.K, win.P, win.Q);
    return 0;
}

static void max_forward(struct recorder *r, struct layer *l)
{
    struct window win = pool_window(l->settings, l->in[0]);
    record_maxpool(r, l->y, l->x[0], &win);
}

static void max_backward(struct recorder *r, struct layer *l)
{
    struct window win = pool_window(l->settings, l->in[0]);
    record_maxpool_back(r, l->dx[0], l->dy, l->x[0], l->y, &win);
}

static void average_forward(struct recorder *r, struct layer *l)
{
    struct window win = pool_window(l->settings, l->in[0]);
    record_avgpool(r, l->y, l->x[0], &win);
}

static void average_backward(struct recorder *r, struct layer *l)
{
    struct window win = pool_window(l->settings, l->in[0]);
    record_avgpool_back(r, l->dx[0], l->dy, &win);
}

const struct layer_type layer_maxpool = {
    .name = "maxpool",
    .help = "largest value of each window; the first of equals takes the gradient",
    .settings = max_settings,
    .settings_size = sizeof(struct pool_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = shape,
    .forward = max_forward,
    .backward = max_backward,
};

const struct layer_type layer_avgpool = {
    .name = "avgpool",
    .help = "mean of each window",
    .settings = average_settings,
    .settings_size = sizeof(struct pool_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = shape,
    .forward = average_forward,
    .backward = average_backward,
};

/* ---- the whole map as one window ---- */

static int global_shape(const void *given, const struct shape *in, int inputs, struct shape *out,
                        struct fail *why)
{
    char text[64];
    (void)given;
    (void)inputs;
    if (in[0].rank != 3)
        return fail(why, E_NETWORK, "input has shape %s, expected [channels, height, width]",
                    shape_text(in[0], text, sizeof text));
    *out = SHAPE(in[0].dim[0], 1, 1);
    return 0;
}

static struct window global_window(struct shape in)
{
    int c = (int)in.dim[0], h = (int)in.dim[1], w = (int)in.dim[2];
    return (struct window){.C = c,
                           .H = h,
                           .W = w,
                           .K = c,
                           .R = h,
                           .S = w,
                           .P = 1,
                           .Q = 1,
                           .stride_h = 1,
                           .stride_w = 1,
                           .dilation_h = 1,
                           .dilation_w = 1,
                           .groups = c};
}

static void global_max_forward(struct recorder *r, struct layer *l)
{
    struct window win = global_window(l->in[0]);
    record_maxpool(r, l->y, l->x[0], &win);
}

static void global_max_backward(struct recorder *r, struct layer *l)
{
    struct window win = global_window(l->in[0]);
    record_maxpool_back(r, l->dx[0], l->dy, l->x[0], l->y, &win);
}

static void global_average_forward(struct recorder *r, struct layer *l)
{
    struct window win = global_window(l->in[0]);
    record_avgpool(r, l->y, l->x[0], &win);
}

static void global_average_backward(struct recorder *r, struct layer *l)
{
    struct window win = global_window(l->in[0]);
    record_avgpool_back(r, l->dx[0], l->dy, &win);
}

const struct layer_type layer_global_maxpool = {
    .name = "global_maxpool",
    .help = "largest value of each channel",
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = global_shape,
    .forward = global_max_forward,
    .backward = global_max_backward,
};

const struct layer_type layer_global_avgpool = {
    .name = "global_avgpool",
    .help = "mean of each channel",
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = global_shape,
    .forward = global_average_forward,
    .backward = global_average_backward,
};
