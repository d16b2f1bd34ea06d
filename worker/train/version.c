/* Versions of a model: their number, their description, and who becomes champion. */
#include <math.h>
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

bool version_promotes(const struct registry *r, const struct training_job *job,
                      const struct model_version_event *created)
{
    const struct model_version_event *alias = registry_alias(r, job->model, "champion");
    double new = metric_of(created, job->promote_metric);
    if (!job->promote_automatic || isnan(new))
        return false;
    if (!alias || alias->traffic <= 0)
        return true;
    const struct model_version_event *champion = registry_version(r, job->model, alias->version);
    double old = metric_of(champion ? champion : alias, job->promote_metric);
    double better = job->promote_minimize ? old - new : new - old; /* NaN, not known: not better */
    return better > 0 && better >= job->promote_min_improvement;
}
