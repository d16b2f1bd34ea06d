/* The other operations at sixteen lanes. Loops over the lanes of a pixel are left to the compiler's vectoriser;
 * what looks at values one by one is the one-lane kernel over longer rows. Included last. */
#include "engine/cpu/cpu.h"
#include "engine/rng.h"

static int64_t lanes_items(const struct call *c)
{
    return lanes_blocks(c->rows);
}

/* ---- values one by one: the layout does not matter ---- */

static struct call longer(const struct call *c)
{
    struct call blocks = *c;
    blocks.row *= LANES;
    return blocks;
}

/* Values begin..end-1 of all blocks one behind another, for items begin..end-1 of VALUES of a row each. */
struct values {
    int64_t begin, end;
};

static struct values values_of(const struct call *c, int64_t begin, int64_t end)
{
    int64_t units = value_units(c), last = end % units * VALUES;
    return (struct values){(begin / units * c->row + begin % units * VALUES) * LANES,
                           (end / units * c->row + last) * LANES};
}

/* Functions of numbers that a row can have and a zero's is infinite or none. */
static bool makes_infinities(enum map_fn fn)
{
    return fn == MAP_LOG || fn == MAP_SQRT || fn == MAP_EXP;
}

static void lanes_map(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct values v = values_of(c, begin, end);
    (void)scratch;
    map_all(&c->g->map, (const float *)c->in[0] + v.begin, (float *)c->out[0] + v.begin, v.end - v.begin,
            c->add);
    if (makes_infinities(c->g->map.fn))
        clear_dead(c, v.begin / LANES, v.end / LANES);
}

static void lanes_map_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct values v = values_of(c, begin, end);
    const float *of = c->in[1] ? c->in[1] : c->in[2];
    (void)scratch;
    map_all_back(&c->g->map, (const float *)c->in[0] + v.begin, of + v.begin, (float *)c->out[0] + v.begin,
                 v.end - v.begin, c->add);
    if (makes_infinities(c->g->map.fn))
        clear_dead(c, v.begin / LANES, v.end / LANES);
}

static void lanes_copy(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct values v = values_of(c, begin, end);
    struct call all = *c;
    all.row = 1;
    cpu_copy(&all, v.begin, v.end, scratch);
}

static void lanes_dropout(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    double rate = c->g->dropout.rate;
    float scale = (float)(1 / (1 - rate));
    struct values v = values_of(c, begin, end);
    (void)scratch;
    for (int64_t at = v.begin; at < v.end; at++) {
        int64_t row = at / LANES / c->row * LANES + at % LANES, i = at / LANES % c->row;
        uint64_t place = (uint64_t)(c->first_row + row) << 32 | (uint64_t)i;
        uint64_t hash = rng_hash(c->seed, c->step, (uint64_t)c->g->dropout.layer, place);
        float *y = (float *)c->out[0] + at, x = ((const float *)c->in[0])[at];
        *y = (c->add ? *y : 0) + (formula_keeps(hash, rate) ? x * scale : 0);
    }
}

/* [channels][inner] with a last dimension of lanes is one with inner * 16. */
static struct call wider(const struct call *c, struct geometry *g)
{
    struct call blocks = longer(c);
    *g = *c->g;
    g->lrn.inner *= LANES;
    blocks.g = g;
    return blocks;
}

static void lanes_lrn(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct geometry g;
    struct call blocks = wider(c, &g);
    cpu_lrn(&blocks, begin, end, scratch);
}

static void lanes_lrn_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct geometry g;
    struct call blocks = wider(c, &g);
    cpu_lrn_back(&blocks, begin, end, scratch);
}

/* [outputs][16] for each block; `choice`, a number a row, has the same order in both layouts. */
static void lanes_pick(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t k = c->g->pick.outputs;
    (void)scratch;
    for (int64_t i = begin * LANES; i < end * LANES; i++) {
        const float *y = (const float *)c->in[0] + i / LANES * k * LANES + i % LANES;
        float *dx = (float *)c->out[0] + i / LANES * k * LANES + i % LANES,
              choice = ((const float *)c->in[1])[i];
        int64_t chosen = choice < 0 ? 0 : (int64_t)choice;
        for (int64_t j = 1; choice < 0 && j < k; j++)
            chosen = y[j * LANES] > y[chosen * LANES] ? j : chosen;
        for (int64_t j = 0; j < k; j++)
            dx[j * LANES] = (c->add ? dx[j * LANES] : 0) + (float)(j == chosen);
    }
}

const struct kernel LANES_TABLE[OPS] = {
    [OP_CONV] = {lanes_conv, lanes_conv_items, lanes_conv_scratch},
    [OP_CONV_DX] = {lanes_conv_dx, lanes_conv_dx_items, lanes_conv_dx_scratch},
    [OP_CONV_DW] = {lanes_conv_dw, lanes_conv_dw_items, lanes_conv_dw_scratch},
    [OP_INVERTED] = {lanes_inverted, lanes_inverted_items, lanes_inverted_scratch},
    [OP_WINOGRAD] = {lanes_winograd, lanes_winograd_items, lanes_winograd_scratch},
    [OP_WINOGRAD_DX] = {lanes_winograd_dx, lanes_winograd_dx_items, lanes_winograd_dx_scratch},
    [OP_WINOGRAD_DW] = {lanes_winograd_dw, lanes_winograd_dw_items, lanes_winograd_dw_scratch},
    [OP_DENSE] = {lanes_dense, lanes_dense_items, NULL},
    [OP_DENSE_DX] = {lanes_dense_dx, lanes_dense_dx_items, lanes_dense_dx_scratch},
    [OP_DENSE_DW] = {lanes_dense_dw, lanes_dense_dw_items, lanes_dense_dw_scratch},
    [OP_MAXPOOL] = {lanes_maxpool, lanes_pool_items, NULL},
    [OP_MAXPOOL_BACK] = {lanes_maxpool_back, lanes_pool_items, NULL},
    [OP_AVGPOOL] = {lanes_avgpool, lanes_pool_items, NULL},
    [OP_AVGPOOL_BACK] = {lanes_avgpool_back, lanes_pool_items, NULL},
    [OP_NORM] = {lanes_batchnorm, cpu_channels, NULL},
    [OP_NORM_TRAIN] = {lanes_batchnorm_train, cpu_channels, NULL},
    [OP_NORM_BACK] = {lanes_batchnorm_back, cpu_channels, NULL},
    [OP_MAP] = {lanes_map, lanes_values_items, NULL},
    [OP_MAP_BACK] = {lanes_map_back, lanes_values_items, NULL},
    [OP_COPY] = {lanes_copy, lanes_values_items, NULL},
    [OP_LRN] = {lanes_lrn, lanes_items, NULL},
    [OP_LRN_BACK] = {lanes_lrn_back, lanes_items, cpu_lrn_back_scratch},
    [OP_ZIP] = {lanes_zip, lanes_items, NULL},
    [OP_ZIP_BACK] = {lanes_zip_back, lanes_items, NULL},
    [OP_ZIP_DW] = {lanes_zip_dw, lanes_zip_dw_items, NULL},
    [OP_VIEW] = {lanes_view, lanes_items, NULL},
    [OP_REDUCE] = {lanes_reduce, lanes_items, NULL},
    [OP_REDUCE_BACK] = {lanes_reduce_back, lanes_items, NULL},
    [OP_DROPOUT] = {lanes_dropout, lanes_values_items, NULL},
    [OP_SOFTMAX] = {lanes_softmax, lanes_items, NULL},
    [OP_SOFTMAX_BACK] = {lanes_softmax_back, lanes_items, NULL},
    [OP_TO_LANES] = {lanes_to, lanes_values_items, NULL},
    [OP_FROM_LANES] = {lanes_from, lanes_values_items, NULL},
    [OP_BYTES] = {lanes_bytes, lanes_values_items, NULL},
    [OP_PICK] = {lanes_pick, lanes_items, NULL},
    UPDATE_KERNELS,
};
