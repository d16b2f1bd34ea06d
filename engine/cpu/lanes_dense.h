/* Dense layers at sixteen lanes: convolutions of one pixel. Included after lanes_gradient.h. */

static struct call as_conv(const struct call *c, struct geometry *g)
{
    struct call as = *c;
    *g = (struct geometry){.map = c->g->map,
                           .window = {.C = (int)c->g->dense.in,
                                      .K = (int)c->g->dense.out,
                                      .H = 1,
                                      .W = 1,
                                      .R = 1,
                                      .S = 1,
                                      .P = 1,
                                      .Q = 1,
                                      .stride_h = 1,
                                      .stride_w = 1,
                                      .dilation_h = 1,
                                      .dilation_w = 1,
                                      .groups = 1}};
    as.g = g;
    return as;
}

static void lanes_dense(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct geometry g;
    struct call as = as_conv(c, &g);
    lanes_conv(&as, begin, end, scratch);
}

/* dx[i] = sum over o of w[o][i] dy[o]: the same tile over inputs, whose weights lie side by side. */
static void lanes_dense_dx(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    int64_t in = c->g->dense.in, out = c->g->dense.out;
    (void)scratch;
    for (int64_t n = begin; n < end; n++)
        for (int part = 0; part < LANES; part += LANES_WIDTH) {
            struct tile t = {.x = (const float *)c->in[0] + n * out * LANES + part,
                             .y = (float *)c->out[0] + n * in * LANES + part,
                             .w = c->in[1],
                             .C = (int)out,
                             .R = 1,
                             .S = 1,
                             .channel = LANES,
                             .tap_w = in,
                             .filter_w = 1,
                             .filter_y = LANES,
                             .add = c->add};
            tile_row(t, (int)in, 1);
        }
}

static int64_t lanes_dense_dw_items(const struct call *c)
{
    struct geometry g;
    struct call as = as_conv(c, &g);
    return lanes_conv_dw_items(&as);
}

static void lanes_dense_dw(const struct call *c, int64_t begin, int64_t end, void *scratch)
{
    struct geometry g;
    struct call as = as_conv(c, &g);
    lanes_conv_dw(&as, begin, end, scratch);
}
