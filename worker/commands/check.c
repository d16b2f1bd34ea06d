/* `check`: whether a worker with this configuration would be well, a line each: what was looked at, ok or
 * not, and in the words of whoever refused, what to do. Of topics and rights those of worker.roles.
 * Next to read: worker/stream/topics.h, worker/models/store.h. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/backend.h"
#include "worker/codec/record.h"
#include "worker/codec/schema_client.h"
#include "worker/commands/command.h"
#include "worker/commands/roles.h"
#include "worker/models/store.h"
#include "worker/service/text.h"
#include "worker/stream/reader.h"
#include "worker/stream/rights.h"

struct options {
    bool print;
};

static const struct setting options[] = {
    {"print", SETTING_BOOL, offsetof(struct options, print), "false", 0, 0, NULL,
     "print the effective settings as YAML, secrets masked, and check nothing more", false},
    {0},
};

struct checker {
    const struct context *cx;
    int lines, bad;
    enum fail_code worst; /* E_UNREACHABLE when a server was missing, else E_CONFIG */
};

static void line(struct checker *c, const char *what, bool ok, const char *detail)
{
    if (c->cx->json) {
        fputs(c->lines ? ",\n{\"check\":" : "[{\"check\":", stdout);
        text_print_json(what, strlen(what), stdout);
        printf(",\"ok\":%s,\"detail\":", ok ? "true" : "false");
        text_print_json(detail, strlen(detail), stdout);
        putchar('}');
    } else {
        printf("%-7s %-28s %s\n", ok ? "ok" : "not ok", what, detail);
    }
    fflush(stdout); /* what follows may wait */
    c->lines++;
    c->bad += !ok;
}

/* A line from what a function returned; true when it was well. */
static bool outcome(struct checker *c, const char *what, int rc, const struct fail *why, const char *detail)
{
    line(c, what, rc == 0, rc ? why->text : detail);
    if (rc == -E_UNREACHABLE)
        c->worst = E_UNREACHABLE;
    return rc == 0;
}

static void check_schemas(struct checker *c)
{
    struct fail why;
    int count = 0, rc = 0;
    char detail[100];
    const struct record_type *t;
    for (int i = 0; !rc && (t = record_type_at(i)); i++)
        for (int version = 1; !rc && version <= t->version; version++, count++) {
            const char *text = record_schema(t, version);
            json_t *schema = text ? json_loads(text, 0, NULL) : NULL;
            if (!schema)
                rc = fail(&why, E_CONFIG, "%s version %d: %s", t->name, version,
                          text ? "no JSON" : "not in this binary");
            json_decref(schema);
        }
    snprintf(detail, sizeof detail, "%d record types in this binary", count);
    outcome(c, "schemas", rc, &why, detail);
}

/* A store is a folder that can be made and written: so is the state folder. */
static void check_folders(struct checker *c)
{
    const struct settings *s = &c->cx->settings;
    char here[2048] = "", state[STORE_URI + sizeof here];
    struct fail why;
    if (*s->worker_state_dir != '/' && !getcwd(here, sizeof here))
        *here = 0;
    snprintf(state, sizeof state, "file://%s%s%s", here, *here ? "/" : "", s->worker_state_dir);
    int rc = store_check(state, &why);
    outcome(c, "worker.state_dir", rc, &why, s->worker_state_dir);
    rc = store_check(s->models_store, &why);
    outcome(c, "models.store", rc, &why, s->models_store);
}

static void check_engine(struct checker *c)
{
    const struct settings *s = &c->cx->settings;
    struct backend *be = NULL;
    struct fail why;
    struct backend_options engine = settings_engine(s, (int)s->engine_threads);
    int rc = backend_open_with(&be, s->engine_backend, &engine, &why);
    outcome(c, "engine.backend", rc, &why, rc ? "" : backend_describe(be));
    backend_close(&be);
}

/* *partitions becomes what a topic has that is not in the list of all: asked for by its name, the broker says whether it is
 * hidden or missing. */
static void check_topic(struct checker *c, enum topic t, int *partitions)
{
    const struct context *cx = c->cx;
    struct fail why;
    int64_t start = 0, end = 0, held = 0;
    int rc = 0;
    char name[TOPIC_NAME], detail[120];
    topic_full_name(&cx->settings, t, name);
    if (!*partitions)
        rc = topic_partitions(&cx->settings, name, cx->timeout_ms, partitions, &why);
    if (!rc && t == TOPIC_MODELS && *partitions != 1)
        rc = fail(&why, E_CONFIG, "has %d partitions, must have one: it is read as one log", *partitions);
    for (int p = 0; !rc && p < *partitions && p < 4; p++) {
        rc = topic_offsets(&cx->settings, name, p, cx->timeout_ms, &start, &end, &why);
        held += end - start;
    }
    snprintf(detail, sizeof detail, "%d partition%s, %lld offset%s in %s", *partitions,
             *partitions == 1 ? "" : "s", (long long)held, held == 1 ? "" : "s",
             *partitions > 4 ? "the first four" : "use");
    outcome(c, name, rc, &why, detail);
}

static unsigned role_topics(const struct session_role *role)
{
    return 1u << role->input | role->reads | role->outputs;
}

/* What a role may do, by doing it: a line for what it reads, one for what it commits. */
static void check_rights(struct checker *c, const struct session_role *role, const int partitions[TOPICS])
{
    const struct context *cx = c->cx;
    struct fail why;
    char what[40];
    int rc = 0;
    for (enum topic t = 0; t < TOPICS; t++)
        if (!partitions[t] && role_topics(role) & 1u << t)
            return; /* it was said */
    for (enum topic t = 0; !rc && t < TOPICS; t++)
        if ((role->reads | 1u << role->input) & 1u << t)
            rc = rights_read(&cx->settings, t, cx->timeout_ms, &why);
    snprintf(what, sizeof what, "%s: reading", role->name);
    outcome(c, what, rc, &why, "its topics can be read");
    rc = rights_write(&cx->settings, role, partitions, cx->timeout_ms, &why);
    snprintf(what, sizeof what, "%s: committing", role->name);
    outcome(c, what, rc, &why, "a transaction over its topics and its group was made and aborted");
}

static void check_kafka(struct checker *c)
{
    const struct context *cx = c->cx;
    const struct settings *s = &cx->settings;
    const char *servers = setting_map_get(&s->kafka, "bootstrap.servers");
    const struct session_role *roles[] = {s->worker_roles & ROLE_INFER ? &role_infer : NULL,
                                          s->worker_roles & ROLE_TRAIN ? &role_train : NULL};
    unsigned topics = 0;
    int partitions[TOPICS];
    struct fail why;
    int rc = topics_look(s, cx->timeout_ms, partitions, &why);
    if (!outcome(c, "broker", rc, &why, servers ? servers : "answers"))
        return;
    for (int i = 0; i < 2; i++)
        topics |= roles[i] ? role_topics(roles[i]) : 0;
    for (enum topic t = 0; t < TOPICS && !command_stop; t++)
        if (topics & 1u << t)
            check_topic(c, t, &partitions[t]);
    for (int i = 0; i < 2 && !command_stop; i++)
        if (roles[i])
            check_rights(c, roles[i], partitions);
}

static void check_schema_registry(struct checker *c)
{
    const struct settings *s = &c->cx->settings;
    struct schema_client *client = NULL;
    struct fail why;
    if (!*s->registry_url)
        return;
    int rc = schema_client_open(&client, s, &why);
    if (!rc)
        rc = schema_client_ping(client, &why);
    outcome(c, "schema registry", rc, &why, s->registry_url);
    schema_client_close(&client);
}

static int run(const struct context *cx, struct fail *why)
{
    const struct options *o = cx->options;
    struct checker c = {.cx = cx, .worst = E_CONFIG};
    if (o->print) {
        settings_print(&cx->settings, stdout);
        return 0;
    }
    line(&c, "configuration", true, "every key is known and within its bounds");
    check_schemas(&c);
    check_folders(&c);
    check_engine(&c);
    check_schema_registry(&c);
    check_kafka(&c);
    if (cx->json)
        puts("]");
    if (command_stop)
        return fail(why, E_INTERRUPTED, "stopped before all was looked at");
    if (c.bad)
        return fail(why, c.worst, "%d of %d not ok", c.bad, c.lines);
    return 0;
}

const struct command command_check = {
    .name = "check",
    .max_operands = 0,
    .summary = "configuration, model store, broker and topics: well or not, in words",
    .text = "Exit status 3 when something is not well, 4 when no broker answers within --timeout.",
    .options = options,
    .options_size = sizeof(struct options),
    .needs_settings = true,
    .run = run,
};
