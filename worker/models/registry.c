/* The model registry as a sorted list of keys, each with its newest event. Decoding is record.h's, reading
 * the topic reader.h's. Next to read: follower.c, which keeps one of these for the runner. */
#include "worker/models/registry.h"

#include <stdlib.h>
#include <string.h>

#include "worker/codec/model_spec.h"
#include "worker/models/store.h"
#include "worker/service/log.h"
#include "worker/stream/payload.h"
#include "worker/stream/scan.h"

enum { KEY = 256 };

struct entry {
    char key[KEY]; /* "digits@3", "digits@champion" */
    struct region mem;
    struct model_version_event event;
};

struct registry {
    struct entry **entries; /* in order of key */
    int count, capacity;
};

int registry_new(struct registry **out, struct fail *why)
{
    *out = calloc(1, sizeof **out);
    return *out ? 0 : fail(why, E_MEMORY, "model registry: no memory");
}

static void entry_free(struct entry *e)
{
    if (e)
        region_free(&e->mem);
    free(e);
}

void registry_free(struct registry **r)
{
    if (!*r)
        return;
    for (int i = 0; i < (*r)->count; i++)
        entry_free((*r)->entries[i]);
    free((*r)->entries);
    free(*r);
    *r = NULL;
}

/* The place of a key: where it is, or where it would be put. */
static int registry_place(const struct registry *r, const char *key, bool *found)
{
    int low = 0, high = r->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(r->entries[middle]->key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < r->count && strcmp(r->entries[low]->key, key) == 0;
    return low;
}

static const struct model_version_event *registry_find(const struct registry *r, const char *key)
{
    bool found;
    int at = registry_place(r, key, &found);
    return found ? &r->entries[at]->event : NULL;
}

static void registry_remove(struct registry *r, const char *key)
{
    bool found;
    int at = registry_place(r, key, &found);
    if (!found)
        return;
    entry_free(r->entries[at]);
    memmove(r->entries + at, r->entries + at + 1, sizeof *r->entries * (size_t)(r->count - at - 1));
    r->count--;
}

/* Takes e; it replaces what the key had. */
static int registry_put(struct registry *r, struct entry *e, struct fail *why)
{
    bool found;
    int at = registry_place(r, e->key, &found);
    if (found) {
        entry_free(r->entries[at]);
        r->entries[at] = e;
        return 0;
    }
    if (r->count == r->capacity) {
        int capacity = r->capacity ? 2 * r->capacity : 64;
        struct entry **grown = realloc(r->entries, sizeof *grown * (size_t)capacity);
        if (!grown) {
            entry_free(e);
            return fail(why, E_MEMORY, "model registry: no memory for %d keys", capacity);
        }
        r->entries = grown;
        r->capacity = capacity;
    }
    memmove(r->entries + at + 1, r->entries + at, sizeof *r->entries * (size_t)(r->count - at));
    r->entries[at] = e;
    r->count++;
    return 0;
}

static bool event_of_alias(enum version_event e)
{
    return e == EVENT_PROMOTED || e == EVENT_ROLLED_BACK;
}

/* The key that an event belongs to must be the key it came under: a mix-up would serve the wrong weights. */
static int entry_check(const struct entry *e, struct fail *why)
{
    const struct model_version_event *v = &e->event;
    char own[KEY + 128];
    if (v->event == EVENT_UNKNOWN || v->version < 1)
        return fail(why, E_BAD_REQUEST, "event %s of version %lld", version_event_name(v->event),
                    (long long)v->version);
    if (model_name_check(v->model, why))
        return -E_BAD_REQUEST;
    if (event_of_alias(v->event))
        snprintf(own, sizeof own, "%s@%.100s", v->model, v->alias);
    else
        snprintf(own, sizeof own, "%s@%lld", v->model, (long long)v->version);
    if (strcmp(own, e->key) != 0)
        return fail(why, E_BAD_REQUEST, "%s belongs to the key %s", version_event_name(v->event), own);
    return 0;
}

int registry_apply(struct registry *r, struct span key, struct span value, struct fail *why)
{
    if (!key.data || !key.size || key.size >= KEY || memchr(key.data, 0, key.size))
        return fail(why, E_BAD_REQUEST,
                    "models topic: a key of %zu bytes; model@version or model@alias is expected",
                    key.data ? key.size : 0);
    struct entry *e = calloc(1, sizeof *e);
    if (!e)
        return fail(why, E_MEMORY, "model registry: no memory");
    memcpy(e->key, key.data, key.size);
    if (!value.data) {
        registry_remove(r, e->key);
        entry_free(e);
        return 0;
    }
    int rc = model_version_event_decode(&e->event, value, &e->mem, why);
    if (!rc)
        rc = entry_check(e, why);
    if (rc) {
        rc = fail_prefix(why, "models topic: key %s", e->key);
        entry_free(e);
        return rc;
    }
    return registry_put(r, e, why);
}

const struct model_version_event *registry_version(const struct registry *r, const char *model,
                                                   int64_t version)
{
    char key[KEY];
    snprintf(key, sizeof key, "%.200s@%lld", model, (long long)version);
    return registry_find(r, key);
}

const struct model_version_event *registry_alias(const struct registry *r, const char *model,
                                                 const char *alias)
{
    char key[KEY];
    snprintf(key, sizeof key, "%.120s@%.120s", model, alias);
    const struct model_version_event *e = registry_find(r, key);
    return e && event_of_alias(e->event) ? e : NULL;
}

int64_t registry_max_version(const struct registry *r, const char *model)
{
    int64_t max = 0;
    for (int i = 0; i < r->count; i++) {
        const struct model_version_event *e = &r->entries[i]->event;
        if (strcmp(e->model, model) == 0 && e->version > max)
            max = e->version;
    }
    return max;
}

const struct model_version_event *registry_at(const struct registry *r, int i, const char **key)
{
    if (i < 0 || i >= r->count)
        return NULL;
    if (key)
        *key = r->entries[i]->key;
    return &r->entries[i]->event;
}

static int unknown(struct span spec, const char *what, struct fail *why)
{
    int n = spec.size < 220 ? (int)spec.size : 220;
    return fail(why, E_UNKNOWN_MODEL, "\"%.*s\": %s (millrace models lists what there is)", n,
                spec.data ? spec.data : "", what);
}

int registry_resolve(const struct registry *r, struct span text, const struct model_version_event **version,
                     const char **variant, struct fail *why)
{
    struct model_spec spec;
    char name[KEY], alias[KEY] = "champion";
    int rc = model_spec_parse(&spec, text, why);
    if (rc)
        return rc;
    snprintf(name, sizeof name, "%.*s", (int)spec.name.size, spec.name.data);
    if (spec.version) {
        const struct model_version_event *v = registry_version(r, name, spec.version);
        if (!v)
            return unknown(text, "there is no such version", why);
        *version = v;
        *variant = "";
        return 0;
    }
    if (spec.alias.data)
        snprintf(alias, sizeof alias, "%.*s", (int)spec.alias.size, spec.alias.data);
    const struct model_version_event *a = registry_alias(r, name, alias);
    if (!a || a->traffic <= 0)
        return unknown(text, spec.alias.data ? "the model has no such alias" : "the model has no champion",
                       why);
    const struct model_version_event *v = registry_version(r, name, a->version);
    *version = v ? v : a; /* an alias's event repeats the version's artefact */
    *variant = a->alias;
    return 0;
}

int registry_apply_record(struct registry *r, const struct record *record, struct fail *why)
{
    struct span payload = record->value;
    int rc = 0;
    if (payload.data)
        rc = record_payload(record, record_type_find("ModelVersionEvent"), &payload, why);
    return rc ? rc : registry_apply(r, record->key, payload, why);
}

/* One record of the topic; what cannot be read is logged and left out, as the follower does. */
static int registry_take(void *arg, const struct record *rec, struct fail *why)
{
    struct fail local;
    int rc = registry_apply_record(arg, rec, &local);
    if (rc == -E_MEMORY) {
        *why = local;
        return rc;
    }
    if (rc)
        log_event(LOG_WARN, "a record of the models topic was left out", "offset",
                  log_text("%lld", (long long)rec->offset), "reason", local.text, NULL);
    return 0;
}

int registry_load(struct registry **out, const struct settings *s, int timeout_ms, struct fail *why)
{
    char topic[TOPIC_NAME];
    struct registry *r = NULL;
    int rc = registry_new(&r, why);
    if (!rc)
        rc = topic_scan(s, topic_full_name(s, TOPIC_MODELS, topic), timeout_ms, registry_take, r, why);
    if (rc)
        registry_free(&r);
    else
        *out = r;
    return rc;
}
