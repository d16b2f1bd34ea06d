/* `models promote` and `models rollback`: what an alias means from now on. */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/rng.h"
#include "worker/codec/model_spec.h"
#include "worker/commands/models_view.h"
#include "worker/stream/writer.h"
#include "worker/train/publish.h"

static const char *event_id_make(char out[40])
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t a = rng_hash((uint64_t)t.tv_nsec, (uint64_t)t.tv_sec, (uint64_t)getpid(), 1);
    uint64_t b = rng_hash(a, (uint64_t)t.tv_nsec, (uint64_t)getpid(), 2);
    snprintf(out, 40, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
    return out;
}

int models_event_write(const struct context *cx, struct model_version_event *e, struct fail *why)
{
    const struct passwd *user = getpwuid(getuid());
    char id[40];
    e->event_id = event_id_make(id);
    e->created_by = user ? user->pw_name : "";
    e->at = publish_now_ms();
    char topic[TOPIC_NAME], key[PUBLISH_KEY];
    struct writer *w = NULL;
    struct written at = {.partition = -1};
    struct bytes value = {0};
    publish_key(e, key);
    topic_full_name(&cx->settings, TOPIC_MODELS, topic);
    model_version_event_encode(&value, e);
    int rc = value.failed ? fail(why, E_MEMORY, "no memory for an event")
                          : writer_open(&w, &cx->settings, cx->timeout_ms, why);
    if (!rc)
        rc = writer_put(w, topic, 0, text_span(key), (struct span){(char *)value.data, value.size}, NULL, 0,
                        &at, why);
    if (!rc)
        rc = writer_flush(w, cx->timeout_ms, why);
    if (!rc)
        rc = writer_wait_stable(&cx->settings, topic, &at, cx->timeout_ms, why);
    writer_close(&w);
    bytes_free(&value);
    return rc;
}

int alias_write(const struct context *cx, const struct registry *r, const struct model_version_event *version,
                enum version_event kind, struct fail *why)
{
    const struct models_options *o = cx->options;
    const struct model_version_event *before = registry_alias(r, version->model, o->alias);
    struct model_version_event e = publish_alias(version, kind, o->alias, before);
    e.traffic = o->traffic;
    int rc = models_event_write(cx, &e, why);
    if (rc)
        return rc;
    if (cx->json)
        printf(
            "{\"event\":\"%s\",\"model\":\"%s\",\"alias\":\"%s\",\"version\":%lld,\"previous_version\":%lld,"
            "\"traffic\":%.9g}\n",
            version_event_name(kind), e.model, e.alias, (long long)e.version, (long long)e.previous_version,
            e.traffic);
    else if (e.traffic <= 0)
        printf("%s@%s means nothing any more\n", e.model, e.alias);
    else if (e.previous_version)
        printf("%s@%s means version %lld now, before %lld\n", e.model, e.alias, (long long)e.version,
               (long long)e.previous_version);
    else
        printf("%s@%s means version %lld now\n", e.model, e.alias, (long long)e.version);
    return 0;
}

int models_operand(const struct context *cx, char name[128], int64_t *version, struct fail *why)
{
    const struct models_options *o = cx->options;
    const char *text = cx->argv[1];
    struct model_spec spec;
    int rc = model_spec_parse(&spec, text_span(text), why);
    if (!rc && (spec.alias.data || !model_alias_valid(text_span(o->alias))))
        rc = fail(why, E_USAGE, "NAME or NAME@VERSION and --alias NAME are expected, not %.100s and %.100s",
                  text, o->alias);
    if (rc) {
        why->code = E_USAGE;
        return -E_USAGE;
    }
    snprintf(name, 128, "%.*s", (int)spec.name.size, spec.name.data);
    *version = spec.version;
    return 0;
}

int models_version_find(const struct registry *r, const char *model, int64_t version,
                        const struct model_version_event **out, struct fail *why)
{
    *out = registry_version(r, model, version);
    if (!*out)
        return fail(why, E_FAILED, "there is no version %s@%lld (millrace models lists them)", model,
                    (long long)version);
    if ((*out)->event == EVENT_REJECTED || (*out)->event == EVENT_RETIRED)
        return fail(why, E_FAILED, "%s@%lld is %s", model, (long long)version,
                    version_event_name((*out)->event));
    return 0;
}

int models_promote(const struct context *cx, struct fail *why)
{
    const struct model_version_event *v;
    struct registry *r = NULL;
    char model[128];
    int64_t version;
    int rc = models_operand(cx, model, &version, why);
    if (rc || (rc = registry_load(&r, &cx->settings, cx->timeout_ms, why)))
        return rc;
    if (!version && !(version = registry_max_version(r, model)))
        rc = fail(why, E_FAILED, "there is no model %s (millrace models lists them)", model);
    if (!rc)
        rc = models_version_find(r, model, version, &v, why);
    if (!rc)
        rc = alias_write(cx, r, v, EVENT_PROMOTED, why);
    registry_free(&r);
    return rc;
}

int models_rollback(const struct context *cx, struct fail *why)
{
    const struct models_options *o = cx->options;
    const struct model_version_event *v, *now;
    struct registry *r = NULL;
    char model[128];
    int64_t version;
    int rc = models_operand(cx, model, &version, why);
    if (rc || (rc = registry_load(&r, &cx->settings, cx->timeout_ms, why)))
        return rc;
    now = registry_alias(r, model, o->alias);
    if (!now)
        rc = fail(why, E_FAILED, "%s has no alias %s to roll back", model, o->alias);
    else if (!version && !(version = now->previous_version))
        rc = fail(why, E_FAILED, "%s@%s meant nothing before version %lld: name the version to go back to",
                  model, o->alias, (long long)now->version);
    if (!rc)
        rc = models_version_find(r, model, version, &v, why);
    if (!rc)
        rc = alias_write(cx, r, v, EVENT_ROLLED_BACK, why);
    registry_free(&r);
    return rc;
}
