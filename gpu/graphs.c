/* Captures, keeps and launches the graphs of graphs.h. What runs inside is backend.c's. */
#include "gpu/graphs.h"

#include <stdlib.h>

enum { KEPT = 16 };

/* What has run, and its graph from the second time on. */
struct kept {
    const struct plan *plan;
    const struct memory *memory;
    int begin, end, rows;
    cudaGraphExec_t exec; /* NULL: has run once */
    uint64_t used;        /* when last */
};

struct graphs {
    struct kept kept[KEPT];
    uint64_t runs;
};

int graphs_open(struct graphs **out, struct fail *why)
{
    *out = calloc(1, sizeof **out);
    return *out ? 0 : fail(why, E_MEMORY, "no memory for graphs");
}

static void drop(struct kept *k)
{
    if (k->exec)
        cudaGraphExecDestroy(k->exec);
    *k = (struct kept){0};
}

void graphs_drop(struct graphs *g)
{
    for (int i = 0; i < KEPT; i++)
        drop(&g->kept[i]);
}

void graphs_close(struct graphs **g)
{
    if (*g)
        graphs_drop(*g);
    free(*g);
    *g = NULL;
}

static bool is(const struct kept *k, const struct plan *p, const struct memory *m, const struct span *s)
{
    return k->plan == p && k->memory == m && k->begin == s->begin && k->end == s->end && k->rows == s->rows;
}

/* The run's place, or, for a new one, that of the run longest ago. */
static struct kept *find(struct graphs *g, const struct plan *p, const struct memory *m, const struct span *s,
                         bool *is_new)
{
    struct kept *oldest = &g->kept[0];
    for (int i = 0; i < KEPT; i++) {
        if (is(&g->kept[i], p, m, s))
            return &g->kept[i];
        if (g->kept[i].used < oldest->used)
            oldest = &g->kept[i];
    }
    drop(oldest);
    *oldest = (struct kept){.plan = p, .memory = m, .begin = s->begin, .end = s->end, .rows = s->rows};
    *is_new = true;
    return oldest;
}

/* Queues the steps into a graph instead of onto the stream. */
static void capture(struct kept *k, struct backend *be, const struct plan *p, const struct memory *m,
                    const struct span *s)
{
    struct device *d = be->context;
    cudaGraph_t graph = NULL;
    device_check(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), "beginning a graph");
    if (d->first.code)
        return;
    plan_run(be, p, m, s);
    device_check(d, cudaStreamEndCapture(d->stream, &graph), "ending a graph");
    if (!d->first.code)
        device_check(d, cudaGraphInstantiate(&k->exec, graph, 0), "making a graph");
    if (graph)
        cudaGraphDestroy(graph);
}

void graphs_run(struct backend *be, const struct plan *p, const struct memory *m, const struct span *s)
{
    struct device *d = be->context;
    bool is_new = false;
    if (d->first.code)
        return;
    struct kept *k = find(d->graphs, p, m, s, &is_new);
    k->used = ++d->graphs->runs;
    if (is_new) {
        plan_run(be, p, m, s);
        return;
    }
    if (!k->exec)
        capture(k, be, p, m, s);
    if (k->exec)
        device_check(d, cudaGraphLaunch(k->exec, d->stream), "launching a graph");
}
