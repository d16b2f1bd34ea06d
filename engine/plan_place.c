/* The plan's last two passes: how many rows go through a step at a time, and where values lie. Every thread of
 * inference takes a shard of rows; steps in a row that take as many blocks of it at a time are a segment, which
 * runs once for each of its turns. What lives within a segment needs room for one turn only.
 * Next to read: plan.c, which runs it. */
#include <stdlib.h>

#include "engine/plan.h"

/* Plan time: step i is at 2 i; the loss, between forward and backward, at 2 forward - 1. */
static int time_of(int step)
{
    return 2 * step;
}

/* ---- pass 4: rows of a turn ---- */

/* Elements of the step's weights, and of one row of what else it touches. */
static void weigh(const struct plan *p, const struct step *s, int64_t *weights, int64_t *row)
{
    *weights = *row = 0;
    for (int k = 0; k < OP_OUT + OP_IN; k++) {
        struct value named = k < OP_OUT ? s->out[k] : s->in[k - OP_OUT];
        const struct plan_value *v = &p->values[plan_root(p, named)];
        if (named.id && (v->store == STORE_ACTIVATION || v->store == STORE_INPUT || v->store == STORE_BYTES ||
                         v->store == STORE_OUTPUT))
            *row += v->size;
        else if (named.id)
            *weights += v->size;
    }
}

/* The fewest blocks whose activations outweigh the weights, so that reading those anew for each turn costs little;
 * more would only push activations out of the cache. A power of two, the whole shard at most. */
static int rows_of_turn(const struct plan *p, const struct step *s)
{
    int64_t weights, row;
    int rows = p->lanes;
    weigh(p, s, &weights, &row);
    while (2 * rows <= p->rows && weights > rows * row)
        rows *= 2;
    return rows < p->rows ? rows : p->rows;
}

void plan_segment(struct plan *p, bool shards)
{
    for (int i = 0; i < p->count; i++)
        p->steps[i].rows = shards ? rows_of_turn(p, &p->steps[i]) : p->rows;
}

int plan_segment_end(const struct plan *p, int begin, int end)
{
    int i = begin + 1;
    while (i < end && p->steps[i].rows == p->steps[begin].rows)
        i++;
    return i;
}

/* ---- pass 5: place activations by first and last use ---- */

/* Steps begin..end-1 are a segment. */
static void touch(struct plan *p, struct value named, int step, int begin, int end)
{
    struct plan_value *v = &p->values[plan_root(p, named)];
    if (!named.id)
        return;
    if (v->first < 0)
        v->first = time_of(step);
    v->crosses = v->crosses || v->first < time_of(begin);
    v->last = time_of(step);
    if (v->crosses) /* later turns of this segment read or write it too */
        v->last = time_of(end - 1);
}

/* A value that a later segment reads lives from the first turn of the segment that writes it. */
static void stretch(struct plan *p, int begin, int end)
{
    for (int i = 1; i < p->value_count; i++) {
        struct plan_value *v = &p->values[i];
        if (v->crosses && v->first >= time_of(begin) && v->first < time_of(end))
            v->first = time_of(begin);
    }
}

static void find_lives(struct plan *p)
{
    struct plan_value *dy = &p->values[p->doutput.id];
    for (int i = 1; i < p->value_count; i++)
        p->values[i].first = p->values[i].last = -1;
    for (int begin = 0, end; begin < p->count; begin = end) {
        end = plan_segment_end(p, begin, p->count);
        for (int i = begin; i < end; i++) {
            for (int k = 0; k < OP_OUT; k++)
                touch(p, p->steps[i].out[k], i, begin, end);
            for (int k = 0; k < OP_IN; k++)
                touch(p, p->steps[i].in[k], i, begin, end);
        }
    }
    for (int begin = 0, end; begin < p->count; begin = end) {
        end = plan_segment_end(p, begin, p->count);
        stretch(p, begin, end);
    }
    if (p->doutput.id) { /* the loss writes it before the first step back, even where nothing is trained */
        dy->first = time_of(p->forward) - 1;
        dy->last = dy->last < dy->first ? dy->first : dy->last;
    }
}

/* Rows that a value must hold. */
static int rows_held(const struct plan *p, const struct plan_value *v)
{
    return v->crosses ? p->rows : p->steps[v->last / 2].rows;
}

static int64_t room_of(const struct plan_value *v)
{
    return (v->size * v->rows + 15) / 16 * 16;
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
        if (!best || room_of(v) > room_of(&p->values[best]))
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
    for (int i = 1; i < p->value_count; i++)
        if (p->values[i].first >= 0)
            p->values[i].rows = rows_held(p, &p->values[i]);
    p->activations = 0;
    while (!rc && (id = next_to_place(p, done))) {
        struct plan_value *v = &p->values[id];
        int64_t at = lowest_place(p, placed, count, v);
        v->at = (size_t)at;
        done[id] = true;
        placed[count++] = id;
        if (at + room_of(v) > p->activations)
            p->activations = at + room_of(v);
    }
    free(placed);
    free(done);
    return rc;
}
