/* One operation on a backend, or by kernels at sixteen lanes, against ref: tensors made from a seed, compared as the
 * case says (op_cases.h). Included by the tests of backends. */
#ifndef TESTS_ENGINE_OPTEST_H
#define TESTS_ENGINE_OPTEST_H

#include "tests/engine/op_cases.h"

static void fill(float *v, int64_t n, struct rng *r, enum special special)
{
    for (int64_t i = 0; i < n; i++) {
        v[i] = (float)(2 * rng_uniform(r) - 1);
        if (special == WIDE) /* kinks too: halves */
            v[i] = rng_below(r, 3) ? 10 * v[i] : (float)((int)rng_below(r, 33) - 16) / 2;
        if (special == EQUALS)
            v[i] = (float)rng_below(r, 2);
        if (special == NANS && rng_below(r, 9) == 0)
            v[i] = NAN;
        if (special == FAR)
            v[i] += 1000;
        if (special == INFS && rng_below(r, 2) == 0)
            v[i] = -INFINITY;
    }
}

static bool is_loss(enum op op)
{
    return op == OP_CROSS_ENTROPY || op == OP_MSE || op == OP_LOG_LOSS;
}

/* Labels are class indices, targets lie in 0..1. */
static void fill_targets(const struct op_case *t, float *v, int64_t n, struct rng *r)
{
    uint32_t classes = t->g.loss.outputs == 1 ? 2 : (uint32_t)t->g.loss.outputs;
    for (int64_t i = 0; i < n; i++)
        v[i] = t->g.loss.labels ? (float)rng_below(r, classes) : (float)rng_uniform(r);
}

/* Every output, and -1 for the largest. */
static void fill_choices(const struct op_case *t, float *v, int64_t n, struct rng *r)
{
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)rng_below(r, (uint32_t)t->g.pick.outputs + 1) - 1;
}

/* Copies of all tensors in the backend's memory, for backends whose memory is not the host's. */
static void run_away(struct backend *be, const struct op_case *t, const struct sizes *size, struct call *c)
{
    const struct backend_ops *ops = be->ops;
    struct call away = *c;
    struct fail why;
    for (int i = 0; i < OP_OUT + OP_IN; i++) {
        int64_t n = i < OP_OUT ? size->out[i] : size->in[i - OP_OUT];
        void *copy = n ? ops->alloc(be, (size_t)n, &why) : NULL;
        if (n)
            ops->upload(be, copy, i < OP_OUT ? c->out[i] : c->in[i - OP_OUT], n);
        if (i < OP_OUT)
            away.out[i] = copy;
        else
            away.in[i - OP_OUT] = copy;
    }
    ops->run(be, t->op, &away, NULL);
    for (int i = 0; i < OP_OUT; i++)
        ops->download(be, c->out[i], away.out[i], size->out[i]);
    if (ops->sync(be, &why))
        fail_msg("%s, %s: %s", op_name(t->op), t->name, why.text);
    for (int i = 0; i < OP_OUT; i++)
        ops->free(be, away.out[i]);
    for (int i = 0; i < OP_IN; i++)
        ops->free(be, (void *)(uintptr_t)away.in[i]);
}

static void run_on(struct backend *be, const struct op_case *t, const struct sizes *size, struct call *c)
{
    const struct kernel *k = &be->ops->kernels[t->op];
    if (be->ops->sync) {
        run_away(be, t, size, c);
        return;
    }
    void *scratch = calloc(1, (k->scratch ? k->scratch(&t->g) : 0) + 64);
    assert_non_null(scratch);
    be->ops->run(be, t->op, c, scratch);
    free(scratch);
}

struct verdict {
    bool ok;
    int64_t at;
    double most;
};

/* max |a - b| <= t max |b|; NaN only beside NaN, infinities equal. */
static struct verdict agrees(const struct op_case *t, const float *a, const float *b, int64_t n)
{
    /* infinities may leave a few results that nearly cancel: what counts is the size of the inputs, 1 */
    struct verdict v = {.most = t->special == INFS ? 1 : 0};
    double d = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(b[i]) && fabs((double)b[i]) > v.most)
            v.most = fabs((double)b[i]);
    for (int64_t i = 0; i < n; i++) {
        if ((isnan(a[i]) && isnan(b[i])) || a[i] == b[i])
            continue;
        double e = fabs((double)a[i] - (double)b[i]);
        if (isnan(d) || e <= d)
            continue;
        d = e;
        v.at = i;
    }
    v.ok = d <= t->tolerance * v.most;
    return v;
}

static void compare(const char *subject, const struct op_case *t, const struct call *c, int which,
                    const float *a, const float *b, int64_t n)
{
    struct verdict v = agrees(t, a, b, n);
    if (!v.ok)
        fail_msg("%s: %s, %s, %d rows%s: output %d differs at %lld: %.9g, ref %.9g (largest %.3g)", subject,
                 op_name(t->op), t->name, c->rows, c->add ? ", added" : "", which, (long long)v.at,
                 (double)a[v.at], (double)b[v.at], v.most);
}

/* ---- the same at sixteen lanes, on every instruction set that this machine has ---- */

/* Values of a tensor's rows: 0 for parameters, which have no rows. */
static int64_t row_size(int64_t one, int64_t two)
{
    return two == 2 * one ? one : 0;
}

/* [rows][size] to [blocks][size][16], garbage beyond the rows (zeros in gradients); or a copy of parameters. */
static float *lane_copy(const float *x, int64_t n, int64_t row, int rows, float beyond)
{
    size_t room = row ? (size_t)lanes_blocks(rows) * LANES * (size_t)row : (size_t)n;
    float *y = malloc(room * sizeof *y);
    assert_non_null(y);
    if (!row)
        memcpy(y, x, room * sizeof *y);
    for (int64_t r = 0; row && r < (int64_t)lanes_blocks(rows) * LANES; r++)
        for (int64_t i = 0; i < row; i++)
            y[(r / LANES * row + i) * LANES + r % LANES] = r < rows ? x[r * row + i] : beyond;
    return y;
}

static void lane_uncopy(const float *y, float *x, int64_t n, int64_t row, int rows)
{
    if (!row)
        memcpy(x, y, (size_t)n * sizeof *x);
    for (int64_t r = 0; row && r < rows; r++)
        for (int64_t i = 0; i < row; i++)
            x[r * row + i] = y[(r / LANES * row + i) * LANES + r % LANES];
}

static bool sums_over_rows(enum op op)
{
    return op == OP_CONV_DW || op == OP_WINOGRAD_DW || op == OP_DENSE_DW;
}

/* Runs c at sixteen lanes and brings its outputs back to rows. TO_LANES, BYTES and FROM_LANES change the
 * layout themselves. */
static void run_lanes(const struct kernel *k, const struct op_case *t, const struct sizes *size,
                      struct call *c)
{
    struct sizes one = sizes_of(t, 1), two = sizes_of(t, 2);
    struct call lanes = *c;
    float *out[OP_OUT] = {0}, *in[OP_IN] = {0};
    void *scratch = calloc(1, (k->scratch ? k->scratch(&t->g) : 0) + 64);
    assert_non_null(scratch);
    for (int i = 0; i < OP_IN; i++) {
        int64_t row = t->op == OP_TO_LANES || t->op == OP_BYTES ? 0 : row_size(one.in[i], two.in[i]);
        if (size->in[i])
            lanes.in[i] = in[i] =
                lane_copy(c->in[i], size->in[i], row, c->rows, sums_over_rows(t->op) ? 0 : 7);
    }
    for (int i = 0; i < OP_OUT; i++) {
        int64_t row = t->op == OP_FROM_LANES ? 0 : row_size(one.out[i], two.out[i]);
        if (size->out[i])
            lanes.out[i] = out[i] = lane_copy(c->out[i], size->out[i], row, c->rows, 0);
    }
    for (int64_t item = 0; item < k->items(&lanes); item++) /* one by one, as threads may */
        k->run(&lanes, item, item + 1, scratch);
    for (int i = 0; i < OP_OUT; i++) {
        int64_t row = t->op == OP_FROM_LANES ? 0 : row_size(one.out[i], two.out[i]);
        if (size->out[i])
            lane_uncopy(out[i], c->out[i], size->out[i], row, c->rows);
        free(out[i]);
    }
    for (int i = 0; i < OP_IN; i++)
        free(in[i]);
    free(scratch);
}

static bool relays(enum op op)
{
    return op == OP_TO_LANES || op == OP_FROM_LANES;
}

/* What is compared with ref: a backend, or kernels at sixteen lanes. */
struct subject {
    const char *name;
    struct backend *be;           /* NULL: */
    const struct kernel *kernels; /* at sixteen lanes */
    const struct row_code *rows;  /* of the same instruction set, at one lane */
};

static float *random_values(int64_t n, struct rng *r, enum special special)
{
    float *v = malloc((size_t)n * sizeof *v);
    assert_non_null(v);
    fill(v, n, r, special);
    return v;
}

/* Is input i what is divided by? */
static bool divides(const struct op_case *t, int i)
{
    bool back = t->op == OP_ZIP_BACK || t->op == OP_ZIP_DW;
    return (back || t->op == OP_ZIP) && t->g.zip.fn == ZIP_DIV && t->special == PLAIN && i == (back ? 2 : 1);
}

/* The tensors of a call: inputs, and outputs with something in them to add to. */
static void make_call(const struct op_case *t, const struct sizes *size, struct rng *r, struct call *c)
{
    for (int i = 0; i < OP_IN; i++) {
        if (!size->in[i])
            continue;
        float *in = random_values(size->in[i], r, t->special);
        for (int64_t k = 0; t->op == OP_NORM && i == 4 && k < size->in[i]; k++)
            in[k] = in[k] * in[k]; /* a variance */
        for (int64_t k = 0; divides(t, i) && k < size->in[i]; k++)
            in[k] += in[k] < 0 ? -0.1f : 0.1f; /* the square of nearly nothing has no digits left */
        if (is_loss(t->op) && i == 1)
            fill_targets(t, in, size->in[i], r);
        if (t->op == OP_PICK && i == 1)
            fill_choices(t, in, size->in[i], r);
        c->in[i] = in;
    }
    for (int i = 0; i < OP_OUT; i++) {
        if (!size->out[i])
            continue;
        float *out = random_values(size->out[i], r, is_update(t->op) && i == 2 ? t->special : PLAIN);
        for (int64_t e = 0; is_update(t->op) && i == 1 && e < size->out[i]; e++)
            out[e] = 0.5f + 0.01f * out[e]; /* squares, larger than the mean's square */
        c->out[i] = out;
    }
}

/* The same call with outputs of its own. */
static struct call copy_outputs(const struct call *c, const struct sizes *size)
{
    struct call copy = *c;
    for (int i = 0; i < OP_OUT; i++)
        if (size->out[i]) {
            copy.out[i] = malloc((size_t)size->out[i] * sizeof(float));
            assert_non_null(copy.out[i]);
            memcpy(copy.out[i], c->out[i], (size_t)size->out[i] * sizeof(float));
        }
    return copy;
}

static void free_outputs(struct call *c)
{
    for (int i = 0; i < OP_OUT; i++)
        free(c->out[i]);
}

static bool can_run(const struct subject *s, const struct op_case *t, bool add)
{
    bool halved = (t->op == OP_CONV || t->op == OP_WINOGRAD) && t->g.window.halve;
    if (s->be)
        return s->be->ops->kernels[t->op].run && (!halved || s->be->ops->halves);
    return (s->kernels[t->op].run && !(add && relays(t->op)));
}

/* The convolution of single rows, which backend cpu runs by the best instruction set alone. */
static void check_rows(const struct subject *s, const struct op_case *t, const struct sizes *size,
                       const struct call *c, const float *expected)
{
    struct call got = copy_outputs(c, size);
    void *scratch = calloc(1, s->rows->scratch(c->g) + 64);
    assert_non_null(scratch);
    s->rows->conv(&got, 0, got.rows, scratch);
    compare(s->name, t, &got, 0, got.out[0], expected, size->out[0]);
    free(scratch);
    free_outputs(&got);
}

/* One call on ref, and by every subject. */
static void check_case(const struct subject *subjects, int count, struct backend *ref,
                       const struct op_case *t, int rows, bool add)
{
    struct sizes size = sizes_of(t, rows);
    struct rng r = rng_seed(rng_hash((uint64_t)t->op, (uint64_t)rows, add, 77));
    struct geometry g = t->g;
    struct call c = {
        .g = &g, .row = size.out[0] / rows, .rows = rows, .add = add, .seed = 5, .step = 7, .first_row = 11};
    if (!strcmp(t->name, "conv and relu") || (t->op == OP_WINOGRAD && has_residual(t)))
        g.map.fn = MAP_RELU;
    make_call(t, &size, &r, &c);
    struct call expected = copy_outputs(&c, &size);
    run_on(ref, t, &size, &expected);
    for (const struct subject *s = subjects; s < subjects + count; s++) {
        if (!can_run(s, t, add))
            continue;
        struct call got = copy_outputs(&c, &size);
        if (s->be)
            run_on(s->be, t, &size, &got);
        else
            run_lanes(&s->kernels[t->op], t, &size, &got);
        for (int i = 0; i < OP_OUT; i++)
            compare(s->name, t, &got, i, got.out[i], expected.out[i], size.out[i]);
        free_outputs(&got);
        if (s->rows && t->op == OP_CONV)
            check_rows(s, t, &size, &c, expected.out[0]);
    }
    free_outputs(&expected);
    free_outputs(&c);
    for (int i = 0; i < OP_IN; i++)
        free((void *)(uintptr_t)c.in[i]);
}

static bool sums_into_parameters(enum op op)
{
    return op == OP_CONV_DW || op == OP_WINOGRAD_DW || op == OP_DENSE_DW || op == OP_ZIP_DW || is_update(op);
}

static bool only_assigns(const struct op_case *t)
{
    return is_loss(t->op) || t->op == OP_SQUARES || t->op == OP_BYTES ||
           ((t->op == OP_CONV || t->op == OP_WINOGRAD) && t->g.window.halve);
}

#endif
