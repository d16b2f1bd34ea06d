/* Kernels at sixteen lanes are cut into items that threads share. However a run of them is cut, the bits are the same; and
 * what costs something is several items even where all rows are one block of lanes. Whether results are right is
 * optest_test's affair. */
#include "engine/backend_ops.h" /* before cmocka.h, which makes a macro of fail */
#include "engine/rng.h"
#include "tests/engine/lane_sets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 29, BLOCKS = 2, LEAST = 4, SEED = 5 };

/* Elements of a row of each operand, or of the whole where `fixed` has its bit: outputs first, then inputs. */
struct item_case {
    const char *name;
    enum op op;
    struct geometry g;
    int64_t row, size[OP_OUT + OP_IN];
    unsigned fixed;
    bool add;
};

enum { OUT0 = 1, OUT1 = 2, IN0 = 1 << OP_OUT, IN1 = 2 << OP_OUT, IN2 = 4 << OP_OUT, IN3 = 8 << OP_OUT };

/* K filters of RxR taps over C channels of HxW, padded by half a window. */
#define WINDOW(C, H, W, K, R, stride, groups, halve)                                                        \
    {                                                                                                       \
        C, H, W, K, R, R, ((H)-1) / (stride) + 1, ((W)-1) / (stride) + 1, stride, stride, (R) / 2, (R) / 2, \
            (R) / 2, (R) / 2, 1, 1, groups, false, halve                                                    \
    }
#define OUT_PIXELS(H, W, stride) (((H)-1) / (stride) + 1) * (((W)-1) / (stride) + 1)

#define FORWARD(name, op, C, H, W, K, R, stride, groups)                                                   \
    {                                                                                                      \
        name, op, {.window = WINDOW(C, H, W, K, R, stride, groups, false)}, (K)*OUT_PIXELS(H, W, stride),  \
            {(K)*OUT_PIXELS(H, W, stride), 0, 0, 0, (C) * (H) * (W), (K) * (C) / (groups) * (R) * (R), K}, \
            IN1 | IN2, false                                                                               \
    }
#define BACK(name, op, C, H, W, K, R, stride, groups)                                                        \
    {                                                                                                        \
        name, op, {.window = WINDOW(C, H, W, K, R, stride, groups, false)}, (C) * (H) * (W),                 \
            {(C) * (H) * (W), 0, 0, 0, (K)*OUT_PIXELS(H, W, stride), (K) * (C) / (groups) * (R) * (R)}, IN1, \
            false                                                                                            \
    }
#define WEIGHTS(name, op, C, H, W, K, R, stride, groups)                                                \
    {                                                                                                   \
        name, op, {.window = WINDOW(C, H, W, K, R, stride, groups, false)},                             \
            (K) * (C) / (groups) * (R) * (R),                                                           \
            {(K) * (C) / (groups) * (R) * (R), K, 0, 0, (K)*OUT_PIXELS(H, W, stride), (C) * (H) * (W)}, \
            OUT0 | OUT1, true                                                                           \
    }

static const struct item_case cases[] = {
    FORWARD("conv, lines", OP_CONV, 5, 21, 9, 7, 3, 1, 1),
    FORWARD("conv, filters", OP_CONV, 5, 6, 7, 50, 3, 2, 1),
    FORWARD("conv, one tap", OP_CONV, 40, 7, 7, 64, 1, 1, 1),
    FORWARD("conv, groups", OP_CONV, 18, 6, 5, 27, 3, 1, 9),
    FORWARD("conv, depthwise", OP_CONV, 11, 9, 9, 11, 3, 2, 11),
    {"conv, pooled lines",
     OP_CONV,
     {.window = WINDOW(3, 34, 10, 6, 5, 1, 1, true)},
     6 * 17 * 5,
     {6 * 17 * 5, 0, 0, 0, 3 * 34 * 10, 6 * 3 * 25, 6},
     IN1 | IN2,
     false},
    BACK("conv_dx, lines", OP_CONV_DX, 7, 22, 9, 5, 5, 1, 1),
    BACK("conv_dx, channels", OP_CONV_DX, 50, 13, 9, 5, 3, 2, 1),
    BACK("conv_dx, depthwise", OP_CONV_DX, 11, 9, 9, 11, 3, 2, 11),
    WEIGHTS("conv_dw, parts", OP_CONV_DW, 3, 14, 14, 6, 5, 1, 1),
    WEIGHTS("conv_dw, one channel", OP_CONV_DW, 1, 30, 14, 6, 7, 1, 1),
    WEIGHTS("conv_dw, filters", OP_CONV_DW, 20, 14, 9, 40, 3, 2, 1),
    WEIGHTS("conv_dw, depthwise", OP_CONV_DW, 11, 9, 9, 11, 3, 2, 11),
    FORWARD("winograd, tiles", OP_WINOGRAD, 20, 18, 17, 50, 3, 1, 1),
    FORWARD("winograd, filters", OP_WINOGRAD, 20, 8, 7, 50, 3, 1, 1),
    FORWARD("winograd, five taps", OP_WINOGRAD, 3, 15, 14, 7, 5, 1, 1),
    BACK("winograd_dx, tiles", OP_WINOGRAD_DX, 50, 18, 17, 20, 3, 1, 1),
    BACK("winograd_dx, channels", OP_WINOGRAD_DX, 50, 8, 7, 20, 3, 1, 1),
    WEIGHTS("winograd_dw, channels", OP_WINOGRAD_DW, 70, 8, 7, 20, 3, 1, 1),
    WEIGHTS("winograd_dw, chunks", OP_WINOGRAD_DW, 150, 9, 8, 130, 3, 1, 1),
    WEIGHTS("winograd_dw, filters", OP_WINOGRAD_DW, 20, 8, 7, 50, 3, 1, 1),
    {"inverted_residual",
     OP_INVERTED,
     {.inverted = {WINDOW(6, 15, 11, 20, 1, 1, 1, false),
                   {0},
                   WINDOW(20, 15, 11, 20, 3, 2, 20, false),
                   {0},
                   WINDOW(20, 8, 6, 9, 1, 1, 1, false)}},
     9 * 8 * 6,
     {9 * 8 * 6, 0, 0, 0, 6 * 15 * 11, 20 * 6, 0, 20 * 9, 0, 9 * 20},
     IN1 | IN3 | (IN1 << 4),
     false},
    {"dense", OP_DENSE, {.dense = {70, 100}}, 100, {100, 0, 0, 0, 70, 7000, 100}, IN1 | IN2, false},
    {"dense_dx", OP_DENSE_DX, {.dense = {100, 70}}, 100, {100, 0, 0, 0, 70, 7000}, IN1, false},
    {"dense_dw", OP_DENSE_DW, {.dense = {150, 10}}, 1500, {1500, 10, 0, 0, 10, 150}, OUT0 | OUT1, true},
    {"maxpool",
     OP_MAXPOOL,
     {.window = WINDOW(5, 9, 8, 5, 3, 2, 1, false)},
     5 * 20,
     {5 * 20, 0, 0, 0, 5 * 72},
     0,
     false},
    {"maxpool_back",
     OP_MAXPOOL_BACK,
     {.window = WINDOW(5, 9, 8, 5, 3, 2, 1, false)},
     5 * 72,
     {5 * 72, 0, 0, 0, 5 * 20, 5 * 72, 5 * 20},
     0,
     false},
    {"avgpool",
     OP_AVGPOOL,
     {.window = WINDOW(5, 9, 8, 5, 3, 2, 1, false)},
     5 * 20,
     {5 * 20, 0, 0, 0, 5 * 72},
     0,
     false},
    {"avgpool_back",
     OP_AVGPOOL_BACK,
     {.window = WINDOW(5, 9, 8, 5, 3, 2, 1, false)},
     5 * 72,
     {5 * 72, 0, 0, 0, 5 * 20},
     0,
     false},
    {"map", OP_MAP, {.map = {MAP_EXP, 0, 0}}, 5003, {5003, 0, 0, 0, 5003}, 0, false},
    {"map_back", OP_MAP_BACK, {.map = {MAP_EXP, 0, 0}}, 5003, {5003, 0, 0, 0, 5003, 0, 5003}, 0, true},
    {"copy", OP_COPY, {.map = {0}}, 5003, {5003, 0, 0, 0, 5003}, 0, true},
    {"dropout", OP_DROPOUT, {.dropout = {0.5, 3}}, 5003, {5003, 0, 0, 0, 5003}, 0, false},
    {"to_lanes", OP_TO_LANES, {.map = {0}}, 5003, {5003, 0, 0, 0, 5003}, 0, false},
    {"from_lanes", OP_FROM_LANES, {.map = {0}}, 5003, {5003, 0, 0, 0, 5003}, 0, false},
};
enum { CASES = sizeof cases / sizeof *cases };

static size_t floats_of(const struct item_case *t, int operand)
{
    return (size_t)t->size[operand] * (t->fixed >> operand & 1 ? 1 : BLOCKS * LANES);
}

/* Numbers small enough that no function overflows; as many behind them as a vector may read. */
static float *drawn(size_t n, uint64_t seed)
{
    struct rng r = rng_seed(seed);
    float *v = aligned_alloc(64, (n + 32) / 16 * 64);
    assert_non_null(v);
    for (size_t i = 0; i < (n + 32) / 16 * 16; i++)
        v[i] = (float)rng_normal(&r);
    return v;
}

/* How the items are cut into runs: all at once, one by one from the last, or in pieces of so many. */
static void run_cut(const struct kernel *k, const struct call *c, int64_t piece, bool backwards,
                    void *scratch)
{
    int64_t items = k->items(c), runs = (items + piece - 1) / piece;
    for (int64_t i = 0; i < runs; i++) {
        int64_t begin = (backwards ? runs - 1 - i : i) * piece;
        k->run(c, begin, begin + piece < items ? begin + piece : items, scratch);
    }
}

struct results {
    float *out[OP_OUT];
};

static void compute(const struct item_case *t, const struct kernel *k, float *const *in, int64_t piece,
                    struct results *r)
{
    struct call c = {
        .g = &t->g, .row = t->row, .rows = ROWS, .add = t->add, .seed = SEED, .step = 2, .first_row = 7};
    size_t bytes = k->scratch ? k->scratch(&t->g) : 0;
    float *scratch = drawn(bytes / sizeof(float), 99);
    for (int i = 0; i < OP_OUT; i++)
        c.out[i] = r->out[i] = t->size[i] ? drawn(floats_of(t, i), 50 + (uint64_t)i) : NULL;
    for (int i = 0; i < OP_IN; i++)
        c.in[i] = in[i];
    run_cut(k, &c, piece ? piece : k->items(&c), piece == 1, scratch);
    free(scratch);
}

static void results_free(struct results *r)
{
    for (int i = 0; i < OP_OUT; i++)
        free(r->out[i]);
}

static void check_case(const struct lanes *set, const struct item_case *t)
{
    const struct kernel *k = &set->kernels[t->op];
    float *in[OP_IN];
    struct results whole;
    const struct call one_block = {.g = &t->g, .row = t->row, .rows = LANES};
    if (k->items(&one_block) < LEAST)
        fail_msg("%s, %s: one block is %lld items", set->name, t->name, (long long)k->items(&one_block));
    for (int i = 0; i < OP_IN; i++)
        in[i] = t->size[OP_OUT + i] ? drawn(floats_of(t, OP_OUT + i), 10 + (uint64_t)i) : NULL;
    compute(t, k, in, 0, &whole);
    for (int64_t piece = 1; piece <= 3; piece++) {
        struct results cut;
        compute(t, k, in, piece, &cut);
        for (int i = 0; i < OP_OUT; i++)
            if (whole.out[i] && memcmp(whole.out[i], cut.out[i], floats_of(t, i) * sizeof(float)) != 0)
                fail_msg("%s, %s: output %d has other bits in runs of %lld items", set->name, t->name, i,
                         (long long)piece);
        results_free(&cut);
    }
    results_free(&whole);
    for (int i = 0; i < OP_IN; i++)
        free(in[i]);
}

static void bits_do_not_depend_on_how_items_are_cut_into_runs(void **state)
{
    struct lanes sets[3];
    int count = lane_sets(sets);
    (void)state;
    for (int s = 0; s < count; s++)
        for (int i = 0; i < CASES; i++)
            check_case(&sets[s], &cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_do_not_depend_on_how_items_are_cut_into_runs),
    };
    return cmocka_run_group_tests_name("items", tests, NULL, NULL);
}
