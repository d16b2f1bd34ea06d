/* Rows that ask for saliency go through a net of their own, a few at a time. Which output is explained is read from the
 * outputs that answer, so that map and label speak of the same. Next to read: engine/net.h. */
#include "worker/infer/explain.h"

#include <stdlib.h>
#include <string.h>

#include "worker/infer/answer.h"
#include "worker/service/log.h"

enum { EXPLAINED_ROWS = 64 };

struct explainer {
    struct net *net;
    float *maps; /* [EXPLAINED_ROWS][input] */
    int count;
    struct place places[EXPLAINED_ROWS];
    int32_t outputs[EXPLAINED_ROWS];
};

void explainer_close(struct explainer **e)
{
    if (!*e)
        return;
    net_close(&(*e)->net);
    free((*e)->maps);
    free(*e);
    *e = NULL;
}

static int explainer_open(struct explainer **out, const struct served *s, struct fail *why)
{
    struct net_options options = {.mode = NET_EXPLAIN, .max_rows = EXPLAINED_ROWS, .seed = 1};
    struct explainer *e = calloc(1, sizeof *e);
    size_t floats = (size_t)s->inputs * EXPLAINED_ROWS;
    int rc =
        e ? net_open(&e->net, s->be, s->model->graph, &options, why) : fail(why, E_MEMORY, "an explainer");
    if (!rc && !(e->maps = calloc(floats, sizeof *e->maps)))
        rc = fail(why, E_MEMORY, "maps of %d rows", EXPLAINED_ROWS);
    if (rc)
        explainer_close(&e);
    *out = e;
    return rc;
}

int explain_prepare(struct served *s, struct fail *why)
{
    if (!s->explainer && !s->unexplained.code && explainer_open(&s->explainer, s, &s->unexplained) &&
        explainer_open(&s->explainer, s, &s->unexplained)) { /* memory may be short for a moment: once more */
        fail_prefix(&s->unexplained, "explain: %s@%lld", s->model->name, (long long)s->model->version);
        s->unexplained.code = E_BAD_REQUEST;
        log_event(LOG_ERROR, "a model cannot be explained", "text", s->unexplained.text, NULL);
    }
    if (s->explainer)
        return 0;
    *why = s->unexplained;
    return -(int)why->code;
}

static int32_t largest(const float *y, int64_t count)
{
    int32_t best = 0;
    for (int32_t k = 1; k < count; k++)
        best = y[k] > y[best] ? k : best;
    return best;
}

static int compute(struct explainer *e, struct fail *why)
{
    int64_t n = net_input_size(e->net);
    int rc = net_explain(e->net, e->count, e->outputs, e->maps, why);
    for (int i = 0; !rc && i < e->count; i++)
        memcpy(e->places[i].answer->saliency + e->places[i].row * n, e->maps + i * n,
               (size_t)n * sizeof *e->maps);
    e->count = 0;
    return rc;
}

/* Row i of an intake as floats. */
static void copy_row(const struct served *s, const struct intake *in, int i, float *to)
{
    if (net_input_bytes(in->net))
        normalise_row(&s->model->normalise, DTYPE_UINT8, net_input_bytes(in->net) + i * s->inputs, to);
    else
        memcpy(to, net_input(in->net) + i * s->inputs, (size_t)s->inputs * sizeof *to);
}

int explain_rows(struct served *s, const struct intake *in, struct fail *why)
{
    struct explainer *e = s->explainer;
    int rc = 0;
    for (int i = 0; !rc && i < in->rows; i++) {
        if (!in->places[i].answer->saliency)
            continue;
        copy_row(s, in, i, net_input(e->net) + e->count * s->inputs);
        e->outputs[e->count] = largest(net_output(in->net) + i * s->outputs, s->outputs);
        e->places[e->count++] = in->places[i];
        if (e->count == EXPLAINED_ROWS)
            rc = compute(e, why);
    }
    return rc || !e->count ? rc : compute(e, why);
}
