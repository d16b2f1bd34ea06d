/* Records of a trainer into a batch. When they are committed: trainer.c. */
#include "worker/train/publish.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

int64_t publish_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Copies key and encoded value into the batch and frees the value. */
static int publish(struct batch *b, enum topic topic, const struct record *from, const char *key,
                   struct bytes *value, struct fail *why)
{
    struct span k = {NULL, strlen(key)}, v = {NULL, value->size};
    if (!value->failed) {
        k.data = region_copy(&b->mem, key, k.size);
        v.data = region_copy(&b->mem, value->data, v.size);
    }
    bytes_free(value);
    if (!k.data || !v.data)
        return fail(why, E_MEMORY, "no memory for a record of %zu bytes", v.size);
    return batch_derived(b, topic, from, k, v, why);
}

int publish_metric(struct batch *b, const struct record *from, const struct loss_metric *m, struct fail *why)
{
    struct bytes value = {0};
    loss_metric_encode(&value, m);
    return publish(b, TOPIC_METRICS, from, m->job_id, &value, why);
}

int publish_checkpoint(struct batch *b, const struct record *from, const struct job_checkpoint *c,
                       struct fail *why)
{
    struct bytes value = {0};
    job_checkpoint_encode(&value, c);
    return publish(b, TOPIC_CHECKPOINTS, from, c->job_id, &value, why);
}

const char *publish_key(const struct model_version_event *e, char out[PUBLISH_KEY])
{
    if (e->event == EVENT_PROMOTED || e->event == EVENT_ROLLED_BACK)
        snprintf(out, PUBLISH_KEY, "%s@%s", e->model, e->alias);
    else
        snprintf(out, PUBLISH_KEY, "%s@%lld", e->model, (long long)e->version);
    return out;
}

int publish_event(struct batch *b, const struct record *from, const struct model_version_event *e,
                  struct fail *why)
{
    char key[PUBLISH_KEY];
    struct bytes value = {0};
    model_version_event_encode(&value, e);
    return publish(b, TOPIC_MODELS, from, publish_key(e, key), &value, why);
}

struct model_version_event publish_alias(const struct model_version_event *version, enum version_event kind,
                                         const char *alias, const struct model_version_event *before)
{
    struct model_version_event e = *version;
    e.event = kind;
    e.alias = alias;
    e.traffic = 1;
    e.previous_version = before && before->traffic > 0 ? before->version : 0;
    if (before &&
        before->version == version->version) /* again the same: a rollback still finds the one before */
        e.previous_version = before->previous_version;
    e.reason = "";
    e.tags = NULL;
    e.tag_count = 0;
    e.at = publish_now_ms();
    return e;
}
