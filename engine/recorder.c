/* The recorder: calls of operations become steps. plan.c makes a plan of them. Operations over loop nests:
 * recorder_nest.c. */
#include <stdlib.h>

#include "engine/formula.h"
#include "engine/plan.h"

const char *op_name(enum op op)
{
    static const char *const names[OPS] = {
#define X(name, text) [OP_##name] = text,
        OP_TABLE(X)
#undef X
    };
    return (unsigned)op < OPS ? names[op] : "?";
}

bool record_training(const struct recorder *r)
{
    return r->training;
}

/* Room for one more of an array; 0 or the recorder's failure. */
static int grow(struct recorder *r, void **array, int count, int *capacity, size_t item)
{
    if (r->rc || count < *capacity)
        return r->rc;
    int more = *capacity ? 2 * *capacity : 64;
    void *grown = realloc(*array, (size_t)more * item);
    if (!grown)
        return r->rc = fail(r->why, E_MEMORY, "no memory for a plan");
    *array = grown;
    *capacity = more;
    return 0;
}

struct value plan_value(struct recorder *r, struct shape row, enum store store, size_t at)
{
    struct plan *p = r->plan;
    if (grow(r, (void **)&p->values, p->value_count + 1, &p->value_capacity, sizeof *p->values))
        return (struct value){0};
    if (!p->value_count)
        p->values[p->value_count++] = (struct plan_value){0};
    p->values[p->value_count] =
        (struct plan_value){.row = row, .store = store, .at = at, .size = shape_size(row)};
    return (struct value){p->value_count++};
}

struct value record_temp(struct recorder *r, struct shape row)
{
    return plan_value(r, row, STORE_ACTIVATION, 0);
}

struct step *plan_record(struct recorder *r, enum op op, const struct value outs[OP_OUT],
                         const struct value in[OP_IN], const struct geometry *g)
{
    struct plan *p = r->plan;
    bool add = false, wanted = false;
    if (r->rc || grow(r, (void **)&p->steps, p->count, &p->capacity, sizeof *p->steps))
        return NULL;
    for (int i = 0; i < OP_OUT; i++) {
        struct plan_value *v = &p->values[outs[i].id];
        if (!outs[i].id)
            continue;
        if (!wanted)
            add = v->writers || v->store == STORE_GRADIENT;
        wanted = true;
        v->writers++;
    }
    if (!wanted)
        return NULL;
    struct step *s = &p->steps[p->count++];
    *s = (struct step){.op = op, .g = *g, .add = add, .node = r->node, .row = p->values[outs[0].id].size};
    for (int i = 0; i < OP_OUT; i++)
        s->out[i] = outs[i];
    for (int i = 0; i < OP_IN; i++)
        s->in[i] = in[i];
    return s;
}

static void record(struct recorder *r, enum op op, struct value out, struct value out2,
                   const struct value in[OP_IN], const struct geometry *g)
{
    plan_record(r, op, (const struct value[OP_OUT]){out, out2}, in, g);
}

static const struct value none;

#define IN(...) ((const struct value[OP_IN]){__VA_ARGS__})

static void record_window(struct recorder *r, enum op op, struct value out, struct value out2,
                          const struct value in[OP_IN], const struct window *win)
{
    record(r, op, out, out2, in, &(struct geometry){.window = *win});
}

void record_conv(struct recorder *r, struct value y, struct value x, struct value w, struct value b,
                 const struct window *win)
{
    record_window(r, OP_CONV, y, none, IN(x, w, b), win);
}

void record_conv_dx(struct recorder *r, struct value dx, struct value dy, struct value w,
                    const struct window *win)
{
    record_window(r, OP_CONV_DX, dx, none, IN(dy, w), win);
}

void record_conv_dw(struct recorder *r, struct value dw, struct value db, struct value dy, struct value x,
                    const struct window *win)
{
    record_window(r, OP_CONV_DW, dw, db, IN(dy, x), win);
}

static struct geometry dense(int64_t in, int64_t out)
{
    return (struct geometry){.dense = {in, out}};
}

void record_dense(struct recorder *r, struct value y, struct value x, struct value w, struct value b,
                  int64_t in, int64_t out)
{
    struct geometry g = dense(in, out);
    record(r, OP_DENSE, y, none, IN(x, w, b), &g);
}

void record_dense_dx(struct recorder *r, struct value dx, struct value dy, struct value w, int64_t in,
                     int64_t out)
{
    struct geometry g = dense(in, out);
    record(r, OP_DENSE_DX, dx, none, IN(dy, w), &g);
}

void record_dense_dw(struct recorder *r, struct value dw, struct value db, struct value dy, struct value x,
                     int64_t in, int64_t out)
{
    struct geometry g = dense(in, out);
    record(r, OP_DENSE_DW, dw, db, IN(dy, x), &g);
}

void record_maxpool(struct recorder *r, struct value y, struct value x, const struct window *win)
{
    record_window(r, OP_MAXPOOL, y, none, IN(x), win);
}

void record_maxpool_back(struct recorder *r, struct value dx, struct value dy, struct value x, struct value y,
                         const struct window *win)
{
    (void)y; /* which value was the largest is found again in x */
    record_window(r, OP_MAXPOOL_BACK, dx, none, IN(dy, x), win);
}

void record_avgpool(struct recorder *r, struct value y, struct value x, const struct window *win)
{
    record_window(r, OP_AVGPOOL, y, none, IN(x), win);
}

void record_avgpool_back(struct recorder *r, struct value dx, struct value dy, const struct window *win)
{
    record_window(r, OP_AVGPOOL_BACK, dx, none, IN(dy), win);
}

void record_batchnorm(struct recorder *r, struct value y, struct value stats, struct value x,
                      const struct value *w, const struct norm *norm)
{
    struct geometry g = {.norm = *norm};
    if (r->training)
        plan_record(r, OP_NORM_TRAIN, (const struct value[OP_OUT]){y, stats, w[2], w[3]}, IN(x, w[0], w[1]),
                    &g);
    else
        record(r, OP_NORM, y, none, IN(x, w[0], w[1], w[2], w[3]), &g);
}

/* Without training, y = x w deviation + constants: its back is the same operation without the constants. */
void record_batchnorm_back(struct recorder *r, struct value dx, const struct value *dw, struct value dy,
                           struct value stats, struct value x, const struct value *w, const struct norm *norm)
{
    struct geometry g = {.norm = *norm};
    if (r->training)
        plan_record(r, OP_NORM_BACK, (const struct value[OP_OUT]){dx, dw[0], dw[1]},
                    IN(dy, x, w[0], w[1], stats), &g);
    else
        record(r, OP_NORM, dx, none, IN(dy, w[0], none, none, w[3]), &g);
}

enum map_slope map_slope(const struct map *map)
{
    return formula_slope(map);
}

void record_map(struct recorder *r, struct value y, struct value x, const struct map *map)
{
    if (map->fn == MAP_IDENTITY)
        record_copy(r, y, x);
    else
        record(r, OP_MAP, y, none, IN(x), &(struct geometry){.map = *map});
}

void record_map_back(struct recorder *r, struct value dx, struct value dy, struct value x, struct value y,
                     const struct map *map)
{
    bool of_x = map_slope(map) == SLOPE_OF_X;
    if (map->fn == MAP_IDENTITY)
        record_copy(r, dx, dy);
    else
        record(r, OP_MAP_BACK, dx, none, IN(dy, of_x ? x : none, of_x ? none : y),
               &(struct geometry){.map = *map});
}

void record_copy(struct recorder *r, struct value y, struct value x)
{
    record(r, OP_COPY, y, none, IN(x), &(struct geometry){0});
}

void record_to_lanes(struct recorder *r, struct value y, struct value x)
{
    record(r, OP_TO_LANES, y, none, IN(x), &(struct geometry){0});
}

void record_from_lanes(struct recorder *r, struct value y, struct value x)
{
    record(r, OP_FROM_LANES, y, none, IN(x), &(struct geometry){0});
}

void record_bytes(struct recorder *r, struct value y, struct value x, struct value table,
                  const struct byte_rows *bytes)
{
    record(r, OP_BYTES, y, none, IN(x, table), &(struct geometry){.bytes = *bytes});
}

void record_pick(struct recorder *r, struct value dx, struct value y, struct value choice, int64_t outputs)
{
    record(r, OP_PICK, dx, none, IN(y, choice), &(struct geometry){.pick = {outputs}});
}

void record_dropout(struct recorder *r, struct value y, struct value x, double rate, int layer)
{
    record(r, OP_DROPOUT, y, none, IN(x), &(struct geometry){.dropout = {rate, layer}});
}

void record_lrn(struct recorder *r, struct value y, struct value x, const struct lrn *lrn)
{
    record(r, OP_LRN, y, none, IN(x), &(struct geometry){.lrn = *lrn});
}

void record_lrn_back(struct recorder *r, struct value dx, struct value dy, struct value x,
                     const struct lrn *lrn)
{
    record(r, OP_LRN_BACK, dx, none, IN(dy, x), &(struct geometry){.lrn = *lrn});
}

void record_softmax(struct recorder *r, struct value y, struct value x, int64_t classes, int64_t inner,
                    bool log)
{
    record(r, OP_SOFTMAX, y, none, IN(x), &(struct geometry){.softmax = {classes, inner, log}});
}

void record_softmax_back(struct recorder *r, struct value dx, struct value dy, struct value y,
                         int64_t classes, int64_t inner, bool log)
{
    record(r, OP_SOFTMAX_BACK, dx, none, IN(dy, y), &(struct geometry){.softmax = {classes, inner, log}});
}
