/* Which schema a record was written with, and the way into ours. The registry's client is schema_client.c, the way resolver.c. */
#include "worker/codec/framing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/codec/resolver.h"

enum { NONE_MOST = 256, PAUSE_MS = 100, PAUSE_MOST_MS = 5000 };

/* What an id means for a type of record. */
struct known {
    const struct record_type *type;
    uint32_t id;
    struct resolver *resolver; /* NULL: the verdict */
    struct fail verdict;
    int64_t until_ms; /* INT64_MAX: for ever */
};

struct framing {
    const struct settings *settings;
    struct schema_client *client;
    struct known *known;
    int count, capacity, nones;
    int last; /* the one asked for last */
    int64_t next_ms, pause_ms;
    struct fail away; /* why it does not answer */
    struct bytes rewritten;
};

static int64_t clock_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool framing_is_set(const struct settings *s, const struct record_type *t)
{
    int kind = strcmp(t->topic, "inference") == 0     ? s->framing_inference
               : strcmp(t->topic, "samples") == 0     ? s->framing_samples
               : strcmp(t->topic, "jobs") == 0        ? s->framing_jobs
               : strcmp(t->topic, "predictions") == 0 ? s->framing_predictions
                                                      : FRAMING_RAW;
    return kind == FRAMING_CONFLUENT;
}

int framing_open(struct framing **out, const struct settings *s, struct fail *why)
{
    bool confluent = false;
    const struct record_type *t;
    *out = NULL;
    for (int i = 0; (t = record_type_at(i)); i++)
        confluent |= framing_is_set(s, t);
    if (!confluent)
        return 0;
    struct framing *f = calloc(1, sizeof *f);
    if (!f)
        return fail(why, E_MEMORY, "no memory for schemas");
    f->settings = s;
    int rc = schema_client_open(&f->client, s, why);
    if (rc)
        framing_close(&f);
    *out = f;
    return rc;
}

void framing_close(struct framing **f)
{
    if (!*f)
        return;
    for (int i = 0; i < (*f)->count; i++)
        resolver_close(&(*f)->known[i].resolver);
    free((*f)->known);
    bytes_free(&(*f)->rewritten);
    schema_client_close(&(*f)->client);
    free(*f);
    *f = NULL;
}

bool framing_is_confluent(const struct framing *f, const struct record_type *t)
{
    return f && framing_is_set(f->settings, t);
}

int framing_ping(struct framing *f, struct fail *why)
{
    return schema_client_ping(f->client, why);
}

/* ---- what is known ---- */

static void forget(struct framing *f, int i)
{
    f->nones -= f->known[i].until_ms != INT64_MAX;
    resolver_close(&f->known[i].resolver);
    f->known[i] = f->known[--f->count];
    f->last = 0;
}

static struct known *find(struct framing *f, const struct record_type *t, uint32_t id)
{
    for (int n = 0; n < f->count; n++) {
        int i = n == 0 ? f->last : n == f->last ? 0 : n; /* the last one first */
        struct known *k = &f->known[i];
        if (k->type != t || k->id != id)
            continue;
        f->last = i;
        if (k->until_ms == INT64_MAX || clock_now_ms() < k->until_ms)
            return k;
        forget(f, i);
        return NULL;
    }
    return NULL;
}

/* Who sends ids that are none sends many: the oldest of them makes room. */
static void make_room(struct framing *f)
{
    int oldest = -1;
    for (int i = 0; f->nones >= NONE_MOST && i < f->count; i++)
        if (f->known[i].until_ms != INT64_MAX &&
            (oldest < 0 || f->known[i].until_ms < f->known[oldest].until_ms))
            oldest = i;
    if (oldest >= 0)
        forget(f, oldest);
}

static int keep(struct framing *f, const struct known *k, struct known **out, struct fail *why)
{
    make_room(f);
    if (f->count == f->capacity) {
        int capacity = f->capacity ? 2 * f->capacity : 16;
        struct known *more = realloc(f->known, (size_t)capacity * sizeof *more);
        if (!more)
            return fail(why, E_MEMORY, "no memory for schemas");
        f->known = more;
        f->capacity = capacity;
    }
    f->last = f->count;
    f->nones += k->until_ms != INT64_MAX;
    *out = &f->known[f->count++];
    **out = *k;
    return 0;
}

static int put_off(struct framing *f, const struct fail *reason, struct fail *why)
{
    f->away = *reason;
    f->pause_ms = f->pause_ms ? f->pause_ms * 2 : PAUSE_MS;
    f->pause_ms = f->pause_ms < PAUSE_MOST_MS ? f->pause_ms : PAUSE_MOST_MS;
    f->next_ms = clock_now_ms() + f->pause_ms;
    return fail(why, E_RETRY, "%s", reason->text);
}

/* Asks the registry. A schema that cannot be resolved will not be another one tomorrow: that is kept for ever. */
static int learn(struct framing *f, const struct record_type *t, uint32_t id, const struct schema_stop *stop,
                 struct known **out, struct fail *why)
{
    struct known k = {.type = t, .id = id, .until_ms = INT64_MAX};
    struct fail reason = {0};
    char *schema = NULL;
    if (clock_now_ms() < f->next_ms)
        return fail(why, E_RETRY, "%s", f->away.text);
    schema_client_stop(f->client, stop);
    int rc = schema_client_get(f->client, id, &schema, &reason);
    schema_client_stop(f->client, NULL);
    if (rc && rc != -E_UNKNOWN_SCHEMA && rc != -E_INTERRUPTED && rc != -E_MEMORY)
        return put_off(f, &reason, why);
    f->next_ms = f->pause_ms = 0;
    if (rc == -E_UNKNOWN_SCHEMA) {
        k.until_ms = clock_now_ms() + FRAMING_NONE_S * 1000;
        k.verdict = reason;
        rc = 0;
    } else if (!rc) {
        rc = resolver_open(&k.resolver, text_span(schema), record_schema(t, t->version), &k.verdict);
        if (rc == -E_UNKNOWN_SCHEMA)
            rc = fail_prefix(&k.verdict, "schema id %u", id), rc = 0;
        reason = k.verdict;
    }
    free(schema);
    if (!rc)
        rc = keep(f, &k, out, &reason);
    if (rc) {
        resolver_close(&k.resolver);
        *why = reason;
    }
    return rc;
}

int framing_unwrap(struct framing *f, const struct record_type *t, struct span value,
                   struct span schema_header, const struct schema_stop *stop, struct span *payload,
                   struct fail *why)
{
    const unsigned char *at = (const unsigned char *)value.data;
    struct fail own;
    why = why ? why : &own;
    if (!framing_is_confluent(f, t))
        return record_unframe(value, schema_header, t, payload, why);
    int rc = record_unframe(value, (struct span){0}, t, payload, why);
    if (rc)
        return rc;
    if (value.size < FRAME_BYTES || at[0] != 0)
        return fail(why, E_BAD_FRAME,
                    "%zu bytes that begin with %d; expected 0, a schema id of 4 bytes, and a %s", value.size,
                    at[0], t->name);
    if (value.size == FRAME_BYTES)
        return fail(why, E_TRUNCATED, "nothing follows the schema id; expected a %s", t->name);
    uint32_t id = (uint32_t)at[1] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 8 | at[4];
    struct known *k = find(f, t, id);
    if (!k && (rc = learn(f, t, id, stop, &k, why)))
        return rc;
    if (!k->resolver) {
        *why = k->verdict;
        return -(int)why->code;
    }
    *payload = (struct span){value.data + FRAME_BYTES, value.size - FRAME_BYTES};
    return resolver_run(k->resolver, *payload, &f->rewritten, payload, why);
}

/* ---- what we write ---- */

void framing_subject(const char *topic, char out[300])
{
    snprintf(out, 300, "%s-value", topic);
}

int framing_frame(struct framing *f, const struct record_type *t, const char *topic,
                  const struct schema_stop *stop, unsigned char frame[FRAME_BYTES], struct fail *why)
{
    char subject[300];
    uint32_t id = 0;
    framing_subject(topic, subject);
    const char *schema = record_schema(t, t->version);
    schema_client_stop(f->client, stop);
    int rc = f->settings->registry_auto_register
                 ? schema_client_register(f->client, subject, schema, &id, why)
                 : schema_client_find(f->client, subject, schema, &id, why);
    schema_client_stop(f->client, NULL);
    if (rc == -E_UNKNOWN_SCHEMA)
        return fail(why, E_FAILED, "%s is not in the schema registry's subject %s: millrace schemas register",
                    t->name, subject);
    frame[0] = 0;
    for (int i = 0; i < 4; i++)
        frame[1 + i] = (unsigned char)(id >> (24 - 8 * i));
    return rc;
}
