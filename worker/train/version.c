/* Versions of a model: their number, their description, and who becomes champion. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/stream/reader.h"
#include "worker/train/parts.h"

static bool moved(void *src)
{
    return source_changed(src);
}

int version_registry(struct trainer *t, const char *model, struct registry **out, struct fail *why)
{
    char topic[TOPIC_NAME];
    int rc = topic_settle(t->settings, topic_full_name(t->settings, TOPIC_MODELS, topic), TRAIN_SETTLE_MS,
                          moved, t->src, why);
    if (!rc)
        rc = registry_load(out, t->settings, TRAIN_TIMEOUT_MS, why);
    return rc ? fail_prefix(why, "versions of %s", model) : 0;
}

int64_t version_next(const struct trainer *t, const struct registry *r, const char *model)
{
    int64_t known = registry_max_version(r, model), own = history_max_version(t->history, model);
    return (known > own ? known : own) + 1;
}

int version_describe(struct model_version_event *e, const struct graph *g, struct region *mem,
                     struct fail *why)
{
    e->has_input = true;
    e->input_rank = g->input.rank;
    memcpy(e->input_shape, g->input.dim, sizeof e->input_shape);
    e->mean_count = e->std_count = g->channels_normalised;
    memcpy(e->mean, g->mean, sizeof e->mean);
    memcpy(e->std, g->std, sizeof e->std);
    e->labels = region_zalloc(mem, sizeof *e->labels * (size_t)(g->label_count + 1));
    if (!e->labels)
        return fail(why, E_MEMORY, "no memory for a version");
    for (int i = 0; i < g->label_count; i++)
        if (!(e->labels[i] = region_copy(mem, g->labels[i], strlen(g->labels[i]))))
            return fail(why, E_MEMORY, "no memory for a version");
    e->label_count = g->label_count;
    return 0;
}

static double metric_of(const struct model_version_event *e, const char *name)
{
    for (int i = 0; i < e->metric_count; i++)
        if (strcmp(e->metrics[i].key, name) == 0)
            return e->metrics[i].value;
    return NAN;
}

/* The champion's metric on the rows of this run, whatever its own event says of rows that it was made with. */
static int champion_metric(struct trainer *t, struct run *run, const struct training_job *job,
                           const struct model_version_event *champion, double *out, struct fail *why)
{
    struct graph *g = NULL;
    void *bytes = NULL;
    size_t size;
    int rc =
        store_get(t->settings->models_store, champion->artifact_uri, champion->sha256, &bytes, &size, why);
    if (!rc)
        rc = onnx_parse(&g, job->model, bytes, size, why);
    if (!rc)
        rc = run_rival(run, g, job->promote_metric, out, why);
    free(bytes);
    graph_free(&g);
    return rc;
}

/* Not better than a champion that cannot be compared: people decide then. */
bool version_promotes(struct trainer *t, struct run *run, const struct registry *r,
                      const struct training_job *job, const struct model_version_event *created,
                      char reason[VERSION_REASON])
{
    const struct model_version_event *alias = registry_alias(r, job->model, "champion"), *champion;
    const char *metric = job->promote_metric;
    double new = metric_of(created, metric), old = NAN;
    struct fail why;
    *reason = 0;
    if (!job->promote_automatic || isnan(new))
        return false;
    snprintf(reason, VERSION_REASON, "%s %.6g; there is no champion", metric, new);
    if (!alias || alias->traffic <= 0)
        return true;
    champion = registry_version(r, job->model, alias->version);
    if (champion_metric(t, run, job, champion ? champion : alias, &old, &why)) {
        snprintf(reason, VERSION_REASON, "cannot be compared with the champion, version %lld: %.300s",
                 (long long)alias->version, why.text);
        return false;
    }
    double better = job->promote_minimize ? old - new : new - old; /* NaN, not known: not better */
    bool promotes = better > 0 && better >= job->promote_min_improvement;
    snprintf(reason, VERSION_REASON, "%s %.6g, the champion's, version %lld, on the same rows %.6g: %s",
             metric, new, (long long)alias->version, old,
             promotes ? "better" : "not better by what the job asks");
    return promotes;
}
