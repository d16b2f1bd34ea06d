/* Cases of optest_test.c for the operations over loop nests: zip, view, reduce. A nest is written out:
 * {rank, kept, {dimensions}, out, {in...}}, an operand {elements of a row (0: a parameter), first element, {strides}}. */
#ifndef TESTS_ENGINE_NEST_CASES_H
#define TESTS_ENGINE_NEST_CASES_H

/* Zips of 127 channels of 5x6 pixels: with another such, with a number a channel (of each row, or a parameter), and of
 * a parameter with it; of 4 channels with an image; of single numbers. */
#define SAME                             \
    {                                    \
        2, 1, {3810, 1}, {3810, 0, {1}}, \
        {                                \
            {3810, 0, {1}},              \
            {                            \
                3810, 0,                 \
                {                        \
                    1                    \
                }                        \
            }                            \
        }                                \
    }
#define GATE                                    \
    {                                           \
        3, 2, {127, 30, 1}, {3810, 0, {30, 1}}, \
        {                                       \
            {3810, 0, {30, 1}},                 \
            {                                   \
                127, 0,                         \
                {                               \
                    1, 0                        \
                }                               \
            }                                   \
        }                                       \
    }
#define BY_CHANNEL                              \
    {                                           \
        3, 2, {127, 30, 1}, {3810, 0, {30, 1}}, \
        {                                       \
            {3810, 0, {30, 1}},                 \
            {                                   \
                0, 0,                           \
                {                               \
                    1, 0                        \
                }                               \
            }                                   \
        }                                       \
    }
#define PARAM_LEFT                              \
    {                                           \
        3, 2, {127, 30, 1}, {3810, 0, {30, 1}}, \
        {                                       \
            {0, 0, {1, 0}},                     \
            {                                   \
                3810, 0,                        \
                {                               \
                    30, 1                       \
                }                               \
            }                                   \
        }                                       \
    }
#define BY_PIXEL                             \
    {                                        \
        3, 2, {4, 30, 1}, {120, 0, {30, 1}}, \
        {                                    \
            {120, 0, {30, 1}},               \
            {                                \
                30, 0,                       \
                {                            \
                    0, 1                     \
                }                            \
            }                                \
        }                                    \
    }
#define BY_NUMBER                    \
    {                                \
        2, 1, {37, 1}, {37, 0, {1}}, \
        {                            \
            {37, 0, {1}},            \
            {                        \
                0, 0,                \
                {                    \
                    0                \
                }                    \
            }                        \
        }                            \
    }

#define ZIP_CASES(fn)                                                           \
    {#fn " same", OP_ZIP, {.zip = {fn, 0, SAME}}, 0, 1e-6, PLAIN},              \
        {#fn " gate", OP_ZIP, {.zip = {fn, 0, GATE}}, 0, 1e-6, PLAIN},          \
        {#fn " channel", OP_ZIP, {.zip = {fn, 0, BY_CHANNEL}}, 0, 1e-6, PLAIN}, \
        {#fn " left", OP_ZIP, {.zip = {fn, 0, PARAM_LEFT}}, 0, 1e-6, PLAIN},    \
        {#fn " pixel", OP_ZIP, {.zip = {fn, 0, BY_PIXEL}}, 0, 1e-6, PLAIN},     \
        {#fn " number", OP_ZIP, {.zip = {fn, 0, BY_NUMBER}}, 0, 1e-6, PLAIN},   \
        {#fn " NaN", OP_ZIP, {.zip = {fn, 0, GATE}}, 0, 1e-6, NANS},            \
    {                                                                           \
#fn " -inf", OP_ZIP, {.zip = {fn, 0, BY_PIXEL } }, 0, 1e-6, INFS        \
    }

/* Gradients: of the whole (side 0), and of what was repeated (side 1), which sums. In: dy a b. */
#define BACK_SAME                           \
    {                                       \
        2, 1, {3810, 1}, {3810, 0, {1}},    \
        {                                   \
            {3810, 0, {1}}, {3810, 0, {1}}, \
            {                               \
                3810, 0,                    \
                {                           \
                    1                       \
                }                           \
            }                               \
        }                                   \
    }
#define BACK_WHOLE                                  \
    {                                               \
        3, 2, {127, 30, 1}, {3810, 0, {30, 1}},     \
        {                                           \
            {3810, 0, {30, 1}}, {3810, 0, {30, 1}}, \
            {                                       \
                127, 0,                             \
                {                                   \
                    1, 0                            \
                }                                   \
            }                                       \
        }                                           \
    }
#define BACK_PARAM                                  \
    {                                               \
        3, 2, {127, 30, 1}, {3810, 0, {30, 1}},     \
        {                                           \
            {3810, 0, {30, 1}}, {3810, 0, {30, 1}}, \
            {                                       \
                0, 0,                               \
                {                                   \
                    1, 0                            \
                }                                   \
            }                                       \
        }                                           \
    }
#define BACK_GATE                                   \
    {                                               \
        2, 1, {127, 30}, {127, 0, {1}},             \
        {                                           \
            {3810, 0, {30, 1}}, {3810, 0, {30, 1}}, \
            {                                       \
                127, 0,                             \
                {                                   \
                    1, 0                            \
                }                                   \
            }                                       \
        }                                           \
    }
#define BACK_PIXEL                                \
    {                                             \
        2, 1, {30, 4}, {30, 0, {1}},              \
        {                                         \
            {120, 0, {1, 30}}, {120, 0, {1, 30}}, \
            {                                     \
                30, 0,                            \
                {                                 \
                    1, 0                          \
                }                                 \
            }                                     \
        }                                         \
    }
#define BACK_SPREAD                                     \
    {                                                   \
        3, 1, {5, 4, 6}, {5, 0, {1}},                   \
        {                                               \
            {120, 0, {6, 30, 1}}, {120, 0, {6, 30, 1}}, \
            {                                           \
                5, 0,                                   \
                {                                       \
                    1, 0, 0                             \
                }                                       \
            }                                           \
        }                                               \
    }
#define DW_CHANNEL                                  \
    {                                               \
        2, 1, {127, 30}, {0, 0, {1}},               \
        {                                           \
            {3810, 0, {30, 1}}, {3810, 0, {30, 1}}, \
            {                                       \
                0, 0,                               \
                {                                   \
                    1, 0                            \
                }                                   \
            }                                       \
        }                                           \
    }
#define DW_NUMBER                             \
    {                                         \
        2, 1, {1, 37}, {0, 0, {0}},           \
        {                                     \
            {37, 0, {0, 1}}, {37, 0, {0, 1}}, \
            {                                 \
                0, 0,                         \
                {                             \
                    0, 0                      \
                }                             \
            }                                 \
        }                                     \
    }
#define DW_ELEMENT                      \
    {                                   \
        2, 1, {37, 1}, {0, 0, {1}},     \
        {                               \
            {37, 0, {1}}, {37, 0, {1}}, \
            {                           \
                0, 0,                   \
                {                       \
                    1                   \
                }                       \
            }                           \
        }                               \
    }

#define ZIP_BACK_CASES(fn)                                                             \
    {#fn " same", OP_ZIP_BACK, {.zip = {fn, 0, BACK_SAME}}, 0, 1e-6, PLAIN},           \
        {#fn " same", OP_ZIP_BACK, {.zip = {fn, 1, BACK_SAME}}, 0, 1e-6, PLAIN},       \
        {#fn " whole", OP_ZIP_BACK, {.zip = {fn, 0, BACK_WHOLE}}, 0, 1e-6, PLAIN},     \
        {#fn " parameter", OP_ZIP_BACK, {.zip = {fn, 0, BACK_PARAM}}, 0, 1e-6, PLAIN}, \
        {#fn " gate", OP_ZIP_BACK, {.zip = {fn, 1, BACK_GATE}}, 0, 1e-5, PLAIN},       \
        {#fn " pixel", OP_ZIP_BACK, {.zip = {fn, 1, BACK_PIXEL}}, 0, 1e-5, PLAIN},     \
        {#fn " spread", OP_ZIP_BACK, {.zip = {fn, 1, BACK_SPREAD}}, 0, 1e-5, PLAIN},   \
        {#fn " NaN", OP_ZIP_BACK, {.zip = {fn, 1, BACK_GATE}}, 0, 1e-5, NANS},         \
        {#fn " channel", OP_ZIP_DW, {.zip = {fn, 1, DW_CHANNEL}}, 0, 2e-5, PLAIN},     \
        {#fn " number", OP_ZIP_DW, {.zip = {fn, 1, DW_NUMBER}}, 0, 2e-5, PLAIN},       \
    {                                                                                  \
#fn " element", OP_ZIP_DW, {.zip = {fn, 1, DW_ELEMENT } }, 0, 2e-5, PLAIN      \
    }

/* Views between rows of 120 = 4x5x6 elements and others. */
#define TURNED                               \
    {                                        \
        3, 2, {6, 20, 1}, {120, 0, {20, 1}}, \
        {                                    \
            {                                \
                120, 0,                      \
                {                            \
                    1, 6                     \
                }                            \
            }                                \
        }                                    \
    }
#define MIDDLE                               \
    {                                        \
        3, 2, {4, 30, 1}, {200, 5, {50, 1}}, \
        {                                    \
            {                                \
                120, 0,                      \
                {                            \
                    30, 1                    \
                }                            \
            }                                \
        }                                    \
    }
#define BACKWARD                            \
    {                                       \
        3, 2, {20, 6, 1}, {120, 0, {6, 1}}, \
        {                                   \
            {                               \
                120, 119,                   \
                {                           \
                    -6, -1                  \
                }                           \
            }                               \
        }                                   \
    }
#define SECONDS                             \
    {                                       \
        3, 2, {4, 15, 1}, {60, 0, {15, 1}}, \
        {                                   \
            {                               \
                120, 0,                     \
                {                           \
                    30, 2                   \
                }                           \
            }                               \
        }                                   \
    }
#define SPREAD                              \
    {                                       \
        3, 2, {20, 6, 1}, {120, 0, {6, 1}}, \
        {                                   \
            {                               \
                20, 0,                      \
                {                           \
                    1, 0                    \
                }                           \
            }                               \
        }                                   \
    }
#define FOLDED                             \
    {                                      \
        3, 2, {20, 6, 1}, {21, 1, {1, 0}}, \
        {                                  \
            {                              \
                120, 0,                    \
                {                          \
                    6, 1                   \
                }                          \
            }                              \
        }                                  \
    }

#define VIEW_CASES                                                                                   \
    {"turned", OP_VIEW, {.view = {VIEW_WHOLE, 0, 1, TURNED}}, 0, 0, PLAIN},                          \
        {"turned, NaN", OP_VIEW, {.view = {VIEW_WHOLE, 0, 1, TURNED}}, 0, 0, NANS},                  \
        {"the rest filled", OP_VIEW, {.view = {VIEW_FILL, 0.5f, 1, MIDDLE}}, 0, 0, PLAIN},           \
        {"the rest filled, -inf", OP_VIEW, {.view = {VIEW_FILL, -INFINITY, 1, MIDDLE}}, 0, 0, INFS}, \
        {"the rest stays", OP_VIEW, {.view = {VIEW_PART, 0.5f, 1, MIDDLE}}, 0, 0, PLAIN},            \
        {"backward", OP_VIEW, {.view = {VIEW_WHOLE, 0, 1, BACKWARD}}, 0, 0, PLAIN},                  \
        {"every second", OP_VIEW, {.view = {VIEW_WHOLE, 0, 1, SECONDS}}, 0, 0, PLAIN},               \
        {"spread and scaled", OP_VIEW, {.view = {VIEW_WHOLE, 0, 0.3f, SPREAD}}, 0, 1e-6, PLAIN},     \
    {                                                                                                \
        "folded", OP_VIEW, {.view = {VIEW_SUM, 0.5f, 1, FOLDED}}, 0, 1e-6, PLAIN                     \
    }

#define PIXELS                          \
    {                                   \
        2, 1, {127, 30}, {127, 0, {1}}, \
        {                               \
            {                           \
                3810, 0,                \
                {                       \
                    30, 1               \
                }                       \
            }                           \
        }                               \
    }
#define CHANNELS                     \
    {                                \
        2, 1, {30, 4}, {30, 0, {1}}, \
        {                            \
            {                        \
                120, 0,              \
                {                    \
                    1, 30            \
                }                    \
            }                        \
        }                            \
    }
#define OUTER                         \
    {                                 \
        3, 1, {5, 4, 6}, {5, 0, {1}}, \
        {                             \
            {                         \
                120, 0,               \
                {                     \
                    6, 30, 1          \
                }                     \
            }                         \
        }                             \
    }

#define REDUCE_CASES_OF(fn, scale, last, special, t)                                          \
    {#fn " pixels", OP_REDUCE, {.reduce = {fn, scale, last, PIXELS}}, 0, t, special},         \
        {#fn " channels", OP_REDUCE, {.reduce = {fn, scale, last, CHANNELS}}, 0, t, special}, \
    {                                                                                         \
#fn " outer", OP_REDUCE, {.reduce = {fn, scale, last, OUTER } }, 0, t, special        \
    }

#define REDUCE_CASES                                                                                        \
    REDUCE_CASES_OF(REDUCE_SUM, 0.25f, false, PLAIN, 1e-5),                                                 \
        REDUCE_CASES_OF(REDUCE_SUM, 1, false, NANS, 1e-5), REDUCE_CASES_OF(REDUCE_MAX, 1, false, PLAIN, 0), \
        REDUCE_CASES_OF(REDUCE_MAX, 1, false, NANS, 0), REDUCE_CASES_OF(REDUCE_MIN, 1, false, INFS, 0),     \
        REDUCE_CASES_OF(REDUCE_ARGMAX, 1, false, EQUALS, 1e-6),                                             \
        REDUCE_CASES_OF(REDUCE_ARGMAX, 1, true, EQUALS, 1e-6),                                              \
        REDUCE_CASES_OF(REDUCE_ARGMIN, 1, false, NANS, 1e-6),                                               \
        REDUCE_CASES_OF(REDUCE_ARGMIN, 1, true, INFS, 1e-6)

/* out: dx; in: dy x */
#define PIXELS_BACK                          \
    {                                        \
        2, 1, {127, 30}, {3810, 0, {30, 1}}, \
        {                                    \
            {127, 0, {1, 0}},                \
            {                                \
                3810, 0,                     \
                {                            \
                    30, 1                    \
                }                            \
            }                                \
        }                                    \
    }
#define CHANNELS_BACK                     \
    {                                     \
        2, 1, {30, 4}, {120, 0, {1, 30}}, \
        {                                 \
            {30, 0, {1, 0}},              \
            {                             \
                120, 0,                   \
                {                         \
                    1, 30                 \
                }                         \
            }                             \
        }                                 \
    }

#define REDUCE_BACK_CASES                                                                                \
    {"pixels", OP_REDUCE_BACK, {.reduce = {REDUCE_MAX, 1, false, PIXELS_BACK}}, 0, 1e-6, PLAIN},         \
        {"pixels, NaN", OP_REDUCE_BACK, {.reduce = {REDUCE_MAX, 1, false, PIXELS_BACK}}, 0, 1e-6, NANS}, \
    {                                                                                                    \
        "channels", OP_REDUCE_BACK, {.reduce = {REDUCE_MIN, 1, false, CHANNELS_BACK}}, 0, 1e-6, EQUALS   \
    }

#define ALL_NEST_CASES                                                                                      \
    ZIP_CASES(ZIP_ADD), ZIP_CASES(ZIP_SUB), ZIP_CASES(ZIP_MUL), ZIP_CASES(ZIP_DIV), ZIP_CASES(ZIP_PRELU),   \
        ZIP_BACK_CASES(ZIP_ADD), ZIP_BACK_CASES(ZIP_SUB), ZIP_BACK_CASES(ZIP_MUL), ZIP_BACK_CASES(ZIP_DIV), \
        ZIP_BACK_CASES(ZIP_PRELU), VIEW_CASES, REDUCE_CASES, REDUCE_BACK_CASES

/* Elements of an operand for n rows. */
static int64_t nest_elements(const struct nest *nest, const struct nest_operand *o, int64_t n)
{
    int64_t last = 0;
    if (o->row)
        return n * o->row;
    for (int d = 0; d < nest->rank; d++)
        last += (nest->dim[d] - 1) * o->stride[d];
    return o->at + last + 1;
}

/* In of an operation with so many inputs. */
static void nest_inputs(const struct nest *nest, int inputs, int64_t n, int64_t *out, int64_t *in)
{
    *out = nest_elements(nest, &nest->out, n);
    for (int i = 0; i < inputs; i++)
        in[i] = nest_elements(nest, &nest->in[i], n);
}

#endif
