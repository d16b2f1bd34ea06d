/* Convolution with bias and activation.
 * y[k][p][q] = f(b[k] + sum over c, r, s of w[k][c][r][s] * x[c][h][w]), op.h has h and w. */
#include "engine/layers/ending.h"
#include "engine/layers/types.h"
#include "engine/layers/window.h"

static const struct setting settings[] = {
    {"filters", SETTING_INT, offsetof(struct conv_settings, filters), NULL, 1, 1 << 20, NULL,
     "number of filters, the channels of the output", false},
    {"kernel", SETTING_INTS, offsetof(struct conv_settings, kernel), NULL, 1, 1024, NULL,
     "size of a filter: one number or [height, width]", false},
    {"stride", SETTING_INTS, offsetof(struct conv_settings, stride), "1", 1, 1024, NULL,
     "pixels from one window to the next: one number or [height, width]", false},
    {"padding", SETTING_INTS, offsetof(struct conv_settings, padding), "0", 0, 1024, NULL,
     "zeros around the input: one number, [height, width] or [top, left, bottom, right]", false},
    {"dilation", SETTING_INTS, offsetof(struct conv_settings, dilation), "1", 1, 1024, NULL,
     "pixels from one tap to the next: one number or [height, width]", false},
    {"groups", SETTING_INT, offsetof(struct conv_settings, groups), "1", 1, 1 << 20, NULL,
     "channels and filters fall into this many groups that do not see each other", false},
    {"activation", SETTING_CHOICE, offsetof(struct conv_settings, activation), "none", 0, 0, MAP_CHOICES,
     "function applied to the output", false},
    {"bias", SETTING_BOOL, offsetof(struct conv_settings, bias), "true", 0, 0, NULL,
     "add a number to each filter's output", false},
    {"init", SETTING_CHOICE, offsetof(struct conv_settings, init), "auto", 0, 0, INIT_CHOICES,
     "how fresh weights are drawn; auto: He where relu follows, else Xavier", false},
    {0}};

static struct window_settings windows(const struct conv_settings *s)
{
    return (struct window_settings){.size = &s->kernel,
                                    .stride = &s->stride,
                                    .padding = &s->padding,
                                    .dilation = &s->dilation,
                                    .filters = s->filters,
                                    .groups = s->groups};
}

static int shape(const void *given, const struct shape *in, int inputs, struct shape *out, struct fail *why)
{
    struct window_settings s = windows(given);
    struct window win = {0};
    (void)inputs;
    int rc = window_make(&win, &s, in[0], why);
    *out = SHAPE(win.K, win.P, win.Q);
    return rc;
}

static int params(const void *given, const struct shape *in, struct layer_param *p)
{
    const struct conv_settings *s = given;
    struct window_settings windowed = windows(s);
    struct window win = window_of(&windowed, in[0]);
    int64_t taps = (int64_t)win.R * win.S;
    p[0] = (struct layer_param){.suffix = "weight",
                                .shape = SHAPE(win.K, win.C / win.groups, win.R, win.S),
                                .role = PARAM_WEIGHT,
                                .init = s->init,
                                .fan_in = win.C / win.groups * taps,
                                .fan_out = win.K / win.groups * taps};
    if (s->bias)
        p[1] = (struct layer_param){.suffix = "bias", .shape = SHAPE(win.K), .role = PARAM_BIAS};
    return s->bias ? 2 : 1;
}

static double flops(const void *given, const struct shape *in, struct shape out)
{
    struct window_settings s = windows(given);
    struct window win = window_of(&s, in[0]);
    return 2.0 * (double)shape_size(out) * (win.C / win.groups) * win.R * win.S;
}

static void forward(struct recorder *r, struct layer *l)
{
    const struct conv_settings *s = l->settings;
    struct window_settings windowed = windows(s);
    struct window win = window_of(&windowed, l->in[0]);
    struct value z = ending_begin(r, l, s->activation);
    record_conv(r, z, l->x[0], l->w[0], l->w[1], &win);
    ending_apply(r, l, s->activation);
}

static void backward(struct recorder *r, struct layer *l)
{
    const struct conv_settings *s = l->settings;
    struct window_settings windowed = windows(s);
    struct window win = window_of(&windowed, l->in[0]);
    struct value dz = ending_back(r, l, s->activation);
    record_conv_dw(r, l->dw[0], l->dw[1], dz, l->x[0], &win);
    record_conv_dx(r, l->dx[0], dz, l->w[0], &win);
}

static enum map_fn activation(const void *given)
{
    return (enum map_fn)((const struct conv_settings *)given)->activation;
}

const struct layer_type layer_conv = {
    .name = "conv",
    .help = "two-dimensional convolution",
    .settings = settings,
    .settings_size = sizeof(struct conv_settings),
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = shape,
    .params = params,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .activation = activation,
};
