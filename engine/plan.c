/* Passes over recorded steps, and running them. Recording is recorder.c; which layers record is net_open.c.
 * Next to read: backend_ops.h. */
#include "engine/plan.h"

#include <stdlib.h>
#include <string.h>

int plan_root(const struct plan *p, struct value v)
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
    return v.id && (store == STORE_OUTPUT || store == STORE_GRADIENT || store == STORE_STATE ||
                    store == STORE_DINPUT);
}

/* Takes out the steps for which keep[i] is false. */
void plan_keep(struct plan *p, const bool *keep)
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
        plan_keep(p, keep);
    else
        p->starved = true;
    free(read);
    free(keep);
}

/* ---- pass 2: a copy that only renames, or whose source nobody wants any more, is no step ---- */

/* May y = x, step i, which later steps add to, take x's memory over? When x is not written again, and read no more
 * once the first of them writes. */
static bool takes_over(const struct plan *p, int i)
{
    const struct step *copy = &p->steps[i];
    int x = plan_root(p, copy->in[0]), next = p->count;
    if (p->values[x].store != STORE_ACTIVATION)
        return false;
    for (int j = p->count - 1; j > i; j--)
        for (int k = 0; k < OP_OUT; k++) {
            next = p->steps[j].out[k].id == copy->out[0].id ? j : next;
            if (p->steps[j].out[k].id && plan_root(p, p->steps[j].out[k]) == x)
                return false;
        }
    for (int j = next; j < p->count; j++)
        for (int k = 0; k < OP_IN; k++)
            if (p->steps[j].in[k].id && plan_root(p, p->steps[j].in[k]) == x)
                return false;
    return true;
}

/* May y = x, step i, which nothing adds to, be another name of x? When nothing that has become x's memory is
 * written as long as y is read. */
static bool renames(const struct plan *p, int i)
{
    const struct step *copy = &p->steps[i];
    int x = plan_root(p, copy->in[0]);
    bool written = false;
    for (int j = i + 1; j < p->count; j++) {
        for (int k = 0; k < OP_OUT; k++)
            written = written || (p->steps[j].out[k].id && plan_root(p, p->steps[j].out[k]) == x);
        for (int k = 0; written && k < OP_IN; k++)
            if (p->steps[j].in[k].id == copy->out[0].id)
                return false;
    }
    return true;
}

void plan_alias_copies(struct plan *p)
{
    bool *keep = calloc((size_t)p->count + 1, sizeof *keep);
    if (!keep) {
        p->starved = true;
        return;
    }
    for (int i = 0; i < p->count; i++) {
        const struct step *s = &p->steps[i];
        struct plan_value *y = &p->values[s->out[0].id];
        keep[i] = s->op != OP_COPY || s->add || y->store != STORE_ACTIVATION ||
                  !(y->writers == 1 ? renames(p, i) : takes_over(p, i));
        if (!keep[i])
            y->alias = plan_root(p, s->in[0]);
    }
    plan_keep(p, keep);
    free(keep);
}

int plan_readers(const struct plan *p, int id)
{
    int n = 0;
    for (int i = 0; i < p->count; i++)
        for (int k = 0; k < OP_IN; k++)
            n += p->steps[i].in[k].id && plan_root(p, p->steps[i].in[k]) == id;
    return n;
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
                     const struct piece *piece)
{
    if (!named.id)
        return NULL;
    const struct plan_value *v = &p->values[plan_root(p, named)];
    size_t at = v->at, size = (size_t)v->size;
    if (v->store == STORE_ACTIVATION)
        at += (size_t)piece->thread * m->activation_piece + (v->crosses ? (size_t)piece->begin * size : 0);
    if (v->store == STORE_INPUT || v->store == STORE_OUTPUT || v->store == STORE_CHOICE ||
        v->store == STORE_DINPUT || v->store == STORE_BYTES)
        at = (size_t)(piece->shard + piece->begin) * size;
    return (char *)m->store[v->store] + at * (v->store == STORE_BYTES ? 1 : element);
}

void plan_call(const struct plan *p, const struct step *s, const struct memory *m, const struct span *span,
               size_t element, const struct piece *piece, struct call *c)
{
    *c = (struct call){.g = &s->g,
                       .row = s->row,
                       .rows = piece->rows,
                       .add = s->add,
                       .seed = span->seed,
                       .step = span->step,
                       .first_row = span->first_row + piece->shard + piece->begin};
    for (int i = 0; i < OP_OUT; i++)
        c->out[i] = address(p, s->out[i], m, element, piece);
    for (int i = 0; i < OP_IN; i++)
        c->in[i] = address(p, s->in[i], m, element, piece);
}

void plan_run(struct backend *be, const struct plan *p, const struct memory *m, const struct span *s)
{
    const struct piece all = {.rows = s->rows};
    struct call c;
    for (int i = s->begin; i < s->end; i++) {
        plan_call(p, &p->steps[i], m, s, be->ops->element, &all, &c);
        be->ops->run(be, p->steps[i].op, &c, m->scratch);
    }
}

void plan_free(struct plan *p)
{
    free(p->values);
    free(p->steps);
    *p = (struct plan){0};
}
