/* Softmax and its logarithm at sixteen lanes: over classes that lie `inner` apart, for each of a row's other places.
 * Included by lanes_*.c before lanes_other.h. */

/* Where the classes of place i of block n begin, and how far they are apart, in floats. */
static int64_t classes_at(const struct call *c, int64_t n, int64_t i)
{
    int64_t classes = c->g->softmax.classes, inner = c->g->softmax.inner;
    return (n * c->row + i / inner * classes * inner + i % inner) * LANES;
}

static int64_t classes_apart(const struct call *c)
{
    return c->g->softmax.inner * LANES;
}

INLINE vec most_of(const float *x, int64_t classes, int64_t apart)
{
    vec most = load(x);
    for (int64_t j = 1; j < classes; j++)
        most = choose(load(x + j * apart) > most, load(x + j * apart), most);
    return most;
}

/* The sum of e^(x - most), in four parts so that rounding stays small over many classes. */
INLINE vec exp_sum(const float *x, int64_t classes, int64_t apart, vec most)
{
    vec sum[4] = {{0}};
    for (int64_t j = 0; j < classes; j++)
        sum[j % 4] += vec_exp(load(x + j * apart) - most);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static void softmax_place(const float *x, float *y, int64_t classes, int64_t apart, bool log, bool add)
{
    vec most = most_of(x, classes, apart), sum = exp_sum(x, classes, apart, most);
    if (log)
        sum = vec_map(&(struct map){.fn = MAP_LOG}, sum);
    for (int64_t j = 0; j < classes; j++) {
        vec v = load(x + j * apart) - most;
        if (log)
            vec_put(y + j * apart, v - sum, add);
        else
            vec_put(y + j * apart, vec_exp(v) / sum, add);
    }
}

static void lanes_softmax(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t places = c->row / c->g->softmax.classes;
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t i = 0; i < places; i++)
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                int64_t at = classes_at(c, n, i) + part;
                softmax_place((const float *)c->in[0] + at, (float *)c->out[0] + at, c->g->softmax.classes,
                              classes_apart(c), c->g->softmax.log, c->add);
            }
}

/* dx = y (dy - sum of dy y), of the logarithm dy - e^y sum of dy */
static void softmax_place_back(const float *dy, const float *y, float *dx, int64_t classes, int64_t apart,
                               bool log, bool add)
{
    vec sum = {0};
    for (int64_t j = 0; j < classes; j++) {
        vec d = load(dy + j * apart);
        if (!log)
            d *= load(y + j * apart);
        sum += d;
    }
    for (int64_t j = 0; j < classes; j++) {
        vec v = load(y + j * apart), d = load(dy + j * apart);
        if (log)
            vec_put(dx + j * apart, d - vec_exp(v) * sum, add);
        else
            vec_put(dx + j * apart, v * (d - sum), add);
    }
}

static void lanes_softmax_back(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t places = c->row / c->g->softmax.classes;
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int64_t i = 0; i < places; i++)
            for (int part = 0; part < LANES; part += LANES_WIDTH) {
                int64_t at = classes_at(c, n, i) + part;
                softmax_place_back((const float *)c->in[0] + at, (const float *)c->in[1] + at,
                                   (float *)c->out[0] + at, c->g->softmax.classes, classes_apart(c),
                                   c->g->softmax.log, c->add);
            }
}
