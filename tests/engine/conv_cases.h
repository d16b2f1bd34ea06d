/* Cases of optest_test.c for convolutions, direct and by Winograd: shapes as macros of geometry. */
#ifndef TESTS_ENGINE_CONV_CASES_H
#define TESTS_ENGINE_CONV_CASES_H

#define WINDOW(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr) \
    KEPT_WINDOW(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr, false)
/* The largest of 2x2 results. */
#define HALVED(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr) \
    KEPT_WINDOW(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr, true)
#define KEPT_WINDOW(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr, halves)         \
    {                                                                                   \
        .window = WINDOW_OF(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr, halves) \
    }
#define WINDOW_OF(c, h, w, k, r, s, p, q, sh, sw, ph, pw, dh, dw, gr, halves)                           \
    {                                                                                                   \
        .C = c, .H = h, .W = w, .K = k, .R = r, .S = s, .P = p, .Q = q, .stride_h = sh, .stride_w = sw, \
        .pad_top = ph, .pad_left = pw, .pad_bottom = ph, .pad_right = pw, .dilation_h = dh,             \
        .dilation_w = dw, .groups = gr, .halve = halves                                                 \
    }

/* name, C H W, K, R S, P Q, stride, padding, dilation, groups */
#define CONV_CASES(op, t)                                                                                    \
    {"lenet conv1", op, WINDOW(3, 32, 32, 6, 5, 5, 28, 28, 1, 1, 0, 0, 1, 1, 1), 0, t, PLAIN},               \
        {"5x6 map, padded", op, WINDOW(4, 5, 6, 5, 3, 3, 5, 6, 1, 1, 1, 1, 1, 1, 1), 0, t, PLAIN},           \
        {"stride over kernel", op, WINDOW(3, 11, 8, 4, 2, 2, 4, 3, 3, 3, 0, 0, 1, 1, 1), 0, t, PLAIN},       \
        {"stride 2 of 3x5", op, WINDOW(3, 9, 10, 4, 3, 5, 5, 4, 2, 3, 1, 2, 1, 1, 1), 0, t, PLAIN},          \
        {"dilation", op, WINDOW(2, 9, 9, 3, 3, 3, 7, 5, 1, 1, 1, 2, 2, 4, 1), 0, t, PLAIN},                  \
        {"groups", op, WINDOW(6, 5, 6, 4, 3, 3, 3, 4, 1, 1, 0, 0, 1, 1, 2), 0, t, PLAIN},                    \
        {"depthwise", op, WINDOW(5, 7, 6, 5, 3, 3, 7, 6, 1, 1, 1, 1, 1, 1, 5), 0, t, PLAIN},                 \
        {"127 channels, 1x1", op, WINDOW(127, 4, 3, 33, 1, 1, 4, 3, 1, 1, 0, 0, 1, 1, 1), 0, t, PLAIN},      \
        {"127 filters", op, WINDOW(3, 5, 5, 127, 3, 3, 3, 3, 1, 1, 0, 0, 1, 1, 1), 0, t, PLAIN},             \
        {"1x1 stride 2", op, WINDOW(5, 6, 6, 7, 1, 1, 3, 3, 2, 2, 0, 0, 1, 1, 1), 0, t, PLAIN},              \
        {"depthwise 3x3, stride 2", op, WINDOW(5, 7, 14, 5, 3, 3, 4, 7, 2, 2, 1, 1, 1, 1, 5), 0, t, PLAIN},  \
        {"depthwise 15 wide", op, WINDOW(3, 6, 15, 3, 3, 3, 6, 15, 1, 1, 1, 1, 1, 1, 3), 0, t, PLAIN},       \
        {"depthwise 5x5", op, WINDOW(3, 9, 8, 3, 5, 5, 9, 8, 1, 1, 2, 2, 1, 1, 3), 0, t, PLAIN},             \
        {"depthwise 5x5, stride 2", op, WINDOW(3, 9, 20, 3, 5, 5, 5, 10, 2, 2, 2, 2, 1, 1, 3), 0, t, PLAIN}, \
        {"depthwise, dilation", op, WINDOW(3, 9, 8, 3, 3, 3, 5, 6, 1, 1, 0, 1, 2, 2, 3), 0, t, PLAIN},       \
        {"depthwise, stride 3x2", op, WINDOW(3, 9, 8, 3, 2, 4, 3, 3, 3, 2, 0, 0, 1, 1, 3), 0, t, PLAIN},     \
        {"depthwise NaN", op, WINDOW(3, 7, 9, 3, 3, 3, 7, 9, 1, 1, 1, 1, 1, 1, 3), 0, t, NANS},              \
        {"two filters a channel", op, WINDOW(3, 5, 6, 6, 3, 3, 5, 6, 1, 1, 1, 1, 1, 1, 3), 0, t, PLAIN},     \
        {"bands", op, WINDOW(30, 17, 17, 2, 3, 3, 17, 17, 1, 1, 1, 1, 1, 1, 1), 0, t, PLAIN},                \
        {"1100 wide", op, WINDOW(1, 3, 1100, 2, 3, 3, 3, 1100, 1, 1, 1, 1, 1, 1, 1), 0, t, PLAIN},           \
        {"stride and dilation 2", op, WINDOW(3, 9, 11, 4, 3, 3, 4, 5, 2, 2, 1, 1, 2, 2, 1), 0, t, PLAIN},    \
        {"stride 4, dilation 2", op, WINDOW(3, 13, 11, 4, 3, 2, 3, 3, 4, 4, 1, 1, 2, 2, 1), 0, t, PLAIN},    \
        {"stride 2 NaN", op, WINDOW(3, 6, 7, 4, 3, 3, 3, 4, 2, 2, 1, 1, 1, 1, 1), 0, t, NANS},               \
        {"stride 2 -inf", op, WINDOW(3, 6, 7, 4, 3, 3, 3, 4, 2, 2, 1, 1, 1, 1, 1), 0, t, INFS},              \
        {"padding over kernel", op, WINDOW(2, 3, 3, 2, 2, 2, 8, 8, 1, 1, 3, 3, 1, 1, 1), 0, t, PLAIN},       \
    {                                                                                                        \
        "NaN", op, WINDOW(4, 5, 6, 5, 3, 3, 5, 6, 1, 1, 1, 1, 1, 1, 1), 0, t, NANS                           \
    }

#define WINOGRAD(c, h, w, k, top, left, bottom, right) SQUARE(3, c, h, w, k, top, left, bottom, right)
#define FIVES(c, h, w, k, top, left, bottom, right)    SQUARE(5, c, h, w, k, top, left, bottom, right)
#define SQUARE(taps, c, h, w, k, top, left, bottom, right) \
    {                                                      \
        .window = {                                        \
            .C = c,                                        \
            .H = h,                                        \
            .W = w,                                        \
            .K = k,                                        \
            .R = taps,                                     \
            .S = taps,                                     \
            .P = h + top + bottom - taps + 1,              \
            .Q = w + left + right - taps + 1,              \
            .stride_h = 1,                                 \
            .stride_w = 1,                                 \
            .pad_top = top,                                \
            .pad_left = left,                              \
            .pad_bottom = bottom,                          \
            .pad_right = right,                            \
            .dilation_h = 1,                               \
            .dilation_w = 1,                               \
            .groups = 1                                    \
        }                                                  \
    }

/* Points are up to 15 times the values, so that sums cancel: about 3e-5 of the largest result at worst.
 * name, C H W, K, padding. Weights over and under what is kept whole, tiles that are cut, chunks with a rest. */
#define WINOGRAD_CASES(op, t)                                                          \
    {"5x6 map", op, WINOGRAD(4, 5, 6, 5, 1, 1, 1, 1), 0, t, PLAIN},                    \
        {"no padding", op, WINOGRAD(3, 7, 7, 6, 0, 0, 0, 0), 0, t, PLAIN},             \
        {"one pixel", op, WINOGRAD(1, 3, 3, 1, 0, 0, 0, 0), 0, t, PLAIN},              \
        {"padding on two sides", op, WINOGRAD(5, 8, 4, 7, 0, 1, 2, 0), 0, t, PLAIN},   \
        {"all padding", op, WINOGRAD(2, 1, 1, 3, 2, 2, 2, 2), 0, t, PLAIN},            \
        {"33x31 map", op, WINOGRAD(17, 33, 31, 18, 1, 1, 1, 1), 0, t, PLAIN},          \
        {"127 channels", op, WINOGRAD(127, 7, 7, 33, 1, 1, 1, 1), 0, t, PLAIN},        \
        {"127 filters", op, WINOGRAD(33, 5, 5, 127, 1, 1, 1, 1), 0, t, PLAIN},         \
    {                                                                                  \
        "200 to 101, in chunks", op, WINOGRAD(200, 5, 4, 101, 1, 1, 1, 1), 0, t, PLAIN \
    }

/* What a convolution takes along: residual and function, or a pool. */
#define JOINED_CONV_CASES(op, t)                                                                      \
    {"residual", op, WINDOW(5, 6, 7, 8, 3, 3, 6, 7, 1, 1, 1, 1, 1, 1, 1), 0, t, PLAIN},               \
        {"residual 1x1", op, WINDOW(20, 5, 6, 9, 1, 1, 5, 6, 1, 1, 0, 0, 1, 1, 1), 0, t, PLAIN},      \
        {"residual depthwise", op, WINDOW(4, 6, 7, 4, 3, 3, 6, 7, 1, 1, 1, 1, 1, 1, 4), 0, t, PLAIN}, \
        {"halved lenet", op, HALVED(3, 32, 32, 6, 5, 5, 28, 28, 1, 1, 0, 0, 1, 1, 1), 0, t, PLAIN},   \
        {"halved 9x7, padded", op, HALVED(4, 9, 7, 7, 3, 3, 9, 7, 1, 1, 1, 1, 1, 1, 1), 0, t, PLAIN}, \
        {"halved 1x1", op, HALVED(9, 6, 8, 7, 1, 1, 6, 8, 1, 1, 0, 0, 1, 1, 1), 0, t, PLAIN},         \
        {"halved, stride 2", op, HALVED(3, 12, 13, 7, 3, 3, 6, 7, 2, 2, 1, 1, 1, 1, 1), 0, t, PLAIN}, \
        {"halved depthwise", op, HALVED(4, 6, 8, 4, 3, 3, 6, 8, 1, 1, 1, 1, 1, 1, 4), 0, t, PLAIN},   \
        {"halved bands", op, HALVED(30, 17, 17, 2, 3, 3, 17, 17, 1, 1, 1, 1, 1, 1, 1), 0, t, PLAIN},  \
    {                                                                                                 \
        "halved NaN", op, HALVED(4, 6, 7, 5, 3, 3, 6, 7, 1, 1, 1, 1, 1, 1, 1), 0, t, NANS             \
    }

/* C H W, K, taps, stride, padding of the first; taps, stride, padding of the depthwise one, size of its result; filters of
 * the last, 0: it is not there */
#define SIDE(size, taps, stride, pad) ((size + 2 * pad - taps) / stride + 1)
#define SAME_WINDOW(c, h, w, k, taps, stride, pad, gr)                                                \
    WINDOW_OF(c, h, w, k, taps, taps, SIDE(h, taps, stride, pad), SIDE(w, taps, stride, pad), stride, \
              stride, pad, pad, 1, 1, gr, false)
#define INVERTED(c, h, w, k, t1, s1, p1, t2, s2, p2, p, q, out)                                           \
    {                                                                                                     \
        .inverted = {.window = SAME_WINDOW(c, h, w, k, t1, s1, p1, 1),                                    \
                     .expanded = {.fn = MAP_RELU6},                                                       \
                     .depth = SAME_WINDOW(k, SIDE(h, t1, s1, p1), SIDE(w, t1, s1, p1), k, t2, s2, p2, k), \
                     .filtered = {.fn = MAP_RELU},                                                        \
                     .project = WINDOW_OF(k, p, q, out, 1, 1, p, q, 1, 1, 0, 0, 1, 1, 1, false)},         \
        .map = {                                                                                          \
            .fn = MAP_RELU6                                                                               \
        }                                                                                                 \
    }

/* Rings with one row a turn and with all, lines that are cut, with and without the last. */
#define INVERTED_CASES(op, t)                                                                               \
    {"residual", op, INVERTED(16, 9, 11, 96, 1, 1, 0, 3, 1, 1, 9, 11, 16), 0, t, PLAIN},                    \
        {"no projection", op, INVERTED(5, 12, 13, 31, 1, 1, 0, 3, 2, 1, 6, 7, 0), 0, t, PLAIN},             \
        {"no projection, residual", op, INVERTED(5, 12, 60, 31, 1, 1, 0, 3, 1, 1, 12, 60, 0), 0, t, PLAIN}, \
        {"wide", op, INVERTED(3, 7, 120, 50, 1, 1, 0, 3, 1, 1, 7, 120, 9), 0, t, PLAIN},                    \
        {"wide, stride 2", op, INVERTED(3, 9, 113, 97, 1, 1, 0, 3, 2, 1, 5, 57, 7), 0, t, PLAIN},           \
        {"stem", op, INVERTED(3, 33, 35, 7, 3, 2, 1, 3, 1, 1, 17, 18, 16), 0, t, PLAIN},                    \
        {"five taps", op, INVERTED(4, 14, 14, 40, 1, 1, 0, 5, 2, 2, 7, 7, 12), 0, t, PLAIN},                \
        {"no padding", op, INVERTED(4, 6, 8, 9, 1, 1, 0, 3, 1, 0, 4, 6, 3), 0, t, PLAIN},                   \
        {"stride over taps", op, INVERTED(4, 16, 60, 9, 1, 1, 0, 2, 5, 0, 3, 12, 2), 0, t, PLAIN},          \
        {"one pixel", op, INVERTED(9, 1, 1, 13, 1, 1, 0, 3, 1, 1, 1, 1, 5), 0, t, PLAIN},                   \
        {"all padding", op, INVERTED(2, 2, 2, 5, 1, 1, 0, 3, 1, 3, 6, 6, 4), 0, t, PLAIN},                  \
    {                                                                                                       \
        "NaN", op, INVERTED(2, 4, 4, 3, 1, 1, 0, 3, 1, 1, 4, 4, 2), 0, t, NANS                              \
    }

/* As WINOGRAD_CASES for five taps; stays within 1e-5 here. */
#define FIVES_CASES(op, t)                                                            \
    {"fives, LeNet's first", op, FIVES(1, 28, 28, 6, 2, 2, 2, 2), 0, t, PLAIN},       \
        {"fives, LeNet's second", op, FIVES(6, 14, 14, 16, 0, 0, 0, 0), 0, t, PLAIN}, \
        {"fives, one pixel", op, FIVES(1, 5, 5, 1, 0, 0, 0, 0), 0, t, PLAIN},         \
        {"fives, two sides", op, FIVES(8, 9, 6, 7, 0, 4, 3, 0), 0, t, PLAIN},         \
        {"fives, all padding", op, FIVES(2, 1, 1, 3, 4, 4, 4, 4), 0, t, PLAIN},       \
    {                                                                                 \
        "fives, 21 filters", op, FIVES(3, 18, 17, 21, 2, 2, 2, 2), 0, t, PLAIN        \
    }

#endif
