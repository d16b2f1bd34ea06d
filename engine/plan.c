/* Passes over recorded steps, and running them. Recording is recorder.c; which layers record is net_open.c.
 * Next to read: backend_ops.h. */
#include "engine/plan.h"

#include <stdlib.h>
#include <string.h>

/* Plan time: step i is at 2 i; the loss, between forward and backward, at 2 forward - 1. */
static int time_of(int step)
{
    return 2 * step;
}

static int root(const struct plan *p, struct value v)
{
    int id = v.id;
    while (p->values[id].alias)
        id = p->values[id].alias;
    return id;
}

/* ---- pass 1: drop what nothing reads ---- */

static bool is_result(const struct plan *p, struct value v)
{
    enum store store = p->values[v.id].store;
    return v.id && (store == STORE_OUTPUT || store == STORE_GRADIENT || store == STORE_STATE);
}

/* Takes out the steps for which keep[i] is false. */
static void keep_steps(struct plan *p, const bool *keep)
{
    int count = 0, forward = 0;
    for (int i = 0; i < p->count; i++) {
        if (!keep[i])
            continue;
        forward += i < p->forward;
        p->steps[count++] = p->steps[i];
    }
    p->count = count;
    p->forward = forward;
}

void plan_drop_unread(struct plan *p)
{
    bool *read = calloc((size_t)p->value_count, sizeof *read);
    bool *keep = calloc((size_t)p->count + 1, sizeof *keep);
    for (int i = p->count - 1; read && keep && i >= 0; i--) {
        struct step *s = &p->steps[i];
        for (int k = 0; k < OP_OUT; k++)
            keep[i] = keep[i] || is_result(p, s->out[k]) || read[s->out[k].id];
        for (int k = 0; keep[i] && k < OP_IN; k++)
            read[s->in[k].id] = s->in[k].id != 0;
    }
    if (read && keep)
        keep_steps(p, keep);
    free(read);
    free(keep);
}

/* ---- pass 2: a copy that only renames is no step ---- */

void plan_alias_copies(struct plan *p)
{
    bool *keep = calloc((size_t)p->count + 1, sizeof *keep);
    if (!keep)
        return;
    for (int i = 0; i < p->count; i++) {
        const struct step *s = &p->steps[i];
        struct plan_value *y = &p->values[s->out[0].id];
        keep[i] = s->op != OP_COPY || s->add || y->writers != 1 || y->store != STORE_ACTIVATION;
        if (!keep[i])
            y->alias = root(p, s->in[0]);
    }
    keep_steps(p, keep);
    free(keep);
}

/* ---- pass 3: conv or dense, then a function of its output alone ---- */

static int readers(const struct plan *p, int id)
{
    int n = 0;
    for (int i = 0; i < p->count; i++)
        for (int k = 0; k < OP_IN; k++)
            n += p->steps[i].in[k].id && root(p, p->steps[i].in[k]) == id;
    return n;
}

void plan_join(struct plan *p)
{
    bool *keep = calloc((size_t)p->count + 1, sizeof *keep);
    if (!keep)
        return;
    for (int i = 0; i < p->count; i++) {
        struct step *s = &p->steps[i], *map = s + 1;
        keep[i] = true;
        if ((s->op != OP_CONV && s->op != OP_DENSE) || s->add || i + 1 >= p->forward || map->op != OP_MAP ||
            map->add || map->in[0].id != s->out[0].id || readers(p, s->out[0].id) != 1)
            continue;
        s->out[0] = map->out[0];
        s->g.fn = map->g.fn;
        keep[++i] = false;
    }
    keep_steps(p, keep);
    free(keep);
}

/* ---- pass 5: place activations by first and last use ---- */

static void touch(struct plan *p, struct value v, int time)
{
    struct plan_value *held = &p->values[root(p, v)];
    if (!v.id)
        return;
    if (held->first < 0)
        held->first = time;
    held->last = time;
}

static void find_lives(struct plan *p)
{
    for (int i = 1; i < p->value_count; i++)
        p->values[i].first = p->values[i].last = -1;
    for (int i = 0; i < p->count; i++) {
        if (i == p->forward) /* the loss writes the output's gradient */
            touch(p, p->doutput, time_of(i) - 1);
        for (int k = 0; k < OP_OUT; k++)
            touch(p, p->steps[i].out[k], time_of(i));
        for (int k = 0; k < OP_IN; k++)
            touch(p, p->steps[i].in[k], time_of(i));
    }
    if (p->forward == p->count) /* nothing to train: the loss writes all the same */
        touch(p, p->doutput, time_of(p->count) - 1);
}

static int64_t room_of(const struct plan_value *v)
{
    return (v->size + 15) / 16 * 16;
}

/* The lowest place where v meets none of the placed values that live at the same time. */
static int64_t lowest_place(const struct plan *p, const int *placed, int count, const struct plan_value *v)
{
    int64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < count; i++) {
            const struct plan_value *o = &p->values[placed[i]];
            bool together = o->first <= v->last && v->first <= o->last;
            if (together && at < (int64_t)o->at + room_of(o) && (int64_t)o->at < at + room_of(v)) {
                at = (int64_t)o->at + room_of(o);
                moved = true;
            }
        }
    }
    return at;
}

/* The largest value not yet placed, the earliest of equals: large ones first leaves small gaps. */
static int next_to_place(const struct plan *p, const bool *done)
{
    int best = 0;
    for (int i = 1; i < p->value_count; i++) {
        const struct plan_value *v = &p->values[i];
        if (done[i] || v->alias || v->store != STORE_ACTIVATION || v->first < 0)
            continue;
        if (!best || v->size > p->values[best].size)
            best = i;
    }
    return best;
}

int plan_place(struct plan *p, struct fail *why)
{
    int *placed = calloc((size_t)p->value_count, sizeof *placed), count = 0, id;
    bool *done = calloc((size_t)p->value_count, sizeof *done);
    int rc = placed && done ? 0 : fail(why, E_MEMORY, "no memory for a plan");
    find_lives(p);
    p->row_activations = 0;
    while (!rc && (id = next_to_place(p, done))) {
        struct plan_value *v = &p->values[id];
        int64_t at = lowest_place(p, placed, count, v);
        v->at = (size_t)at;
        done[id] = true;
        placed[count++] = id;
        if (at + room_of(v) > p->row_activations)
            p->row_activations = at + room_of(v);
    }
    free(placed);
    free(done);
    return rc;
}

/* ---- running ---- */

const struct kernel *plan_kernels(const struct plan *p, const struct backend *be)
{
    return p->lanes > 1 ? be->ops->lane_kernels(be) : be->ops->kernels;
}

int plan_check(const struct plan *p, const struct backend *be, const struct graph *g, struct fail *why)
{
    for (int i = 0; i < p->count; i++)
        if (!plan_kernels(p, be)[p->steps[i].op].run)
            return fail(why, E_UNSUPPORTED, "%s: backend %s has no operation %s",
                        g->nodes[p->steps[i].node].name, be->ops->name, op_name(p->steps[i].op));
    return 0;
}

size_t plan_scratch(const struct plan *p, const struct backend *be)
{
    size_t most = 0;
    for (int i = 0; i < p->count; i++) {
        const struct kernel *k = &plan_kernels(p, be)[p->steps[i].op];
        size_t bytes = k->scratch ? k->scratch(&p->steps[i].g) : 0;
        if (bytes > most)
            most = bytes;
    }
    return (most + 63) / 64 * 64;
}

static void *address(const struct plan *p, struct value named, const struct memory *m, size_t element,
                     int thread, int first)
{
    if (!named.id)
        return NULL;
    const struct plan_value *v = &p->values[root(p, named)];
    size_t at = v->at;
    if (v->store == STORE_ACTIVATION)
        at = (size_t)thread * m->activation_piece + v->at * (size_t)p->rows;
    if (v->store == STORE_INPUT || v->store == STORE_OUTPUT)
        at = (size_t)first * (size_t)v->size;
    return (char *)m->store[v->store] + at * element;
}

void plan_call(const struct plan *p, const struct step *s, const struct memory *m, const struct span *span,
               size_t element, int thread, int first, int rows, struct call *c)
{
    *c = (struct call){.g = &s->g,
                       .row = s->row,
                       .rows = rows,
                       .add = s->add,
                       .seed = span->seed,
                       .step = span->step,
                       .first_row = span->first_row + first};
    for (int i = 0; i < OP_OUT; i++)
        c->out[i] = address(p, s->out[i], m, element, thread, first);
    for (int i = 0; i < OP_IN; i++)
        c->in[i] = address(p, s->in[i], m, element, thread, first);
}

void plan_run(struct backend *be, const struct plan *p, const struct memory *m, const struct span *s)
{
    struct call c;
    for (int i = s->begin; i < s->end; i++) {
        plan_call(p, &p->steps[i], m, s, be->ops->element, 0, 0, s->rows, &c);
        be->ops->run(be, p->steps[i].op, &c, m->scratch);
    }
}

static void print_value(const struct plan *p, struct value v, FILE *out)
{
    char text[64];
    static const char *const stores[STORES] = {"", "input ", "output ", "param ", "state ", "gradient "};
    const struct plan_value *named = &p->values[v.id], *held = &p->values[root(p, v)];
    fprintf(out, " %s%s@%zu", stores[held->store], shape_text(named->row, text, sizeof text), held->at);
}

void plan_print(const struct plan *p, const struct graph *g, FILE *out)
{
    for (int i = 0; i < p->count; i++) {
        const struct step *s = &p->steps[i];
        fprintf(out, "%3d %-12s %-13s", i, g->nodes[s->node].name, op_name(s->op));
        for (int k = 0; k < OP_OUT; k++)
            if (s->out[k].id)
                print_value(p, s->out[k], out);
        fputs(s->add ? " +=" : " =", out);
        for (int k = 0; k < OP_IN; k++)
            if (s->in[k].id)
                print_value(p, s->in[k], out);
        if (s->g.fn)
            fprintf(out, ", fn %d", s->g.fn);
        fputc('\n', out);
    }
}

void plan_free(struct plan *p)
{
    free(p->values);
    free(p->steps);
    *p = (struct plan){0};
}
