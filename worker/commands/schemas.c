/* `schemas`: our schemas in a schema registry: put there, or held against what is there in both directions.
 * Next to read: worker/codec/schema_client.h, worker/codec/resolver.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/codec/framing.h"
#include "worker/codec/resolver.h"
#include "worker/commands/command.h"
#include "worker/service/text.h"
#include "worker/stream/topics.h"

enum { VERSIONS = 1000, DETAIL = 600 };

struct schemas {
    const struct context *cx;
    struct schema_client *client;
    int lines, bad;
};

struct row {
    const char *topic; /* short name */
    char subject[300];
    int version; /* of the subject; 0: none */
    uint32_t id; /* 0: none */
    bool ok;
    char detail[DETAIL];
};

static void print_row(struct schemas *s, const struct row *r)
{
    if (s->cx->json) {
        fputs(s->lines ? ",\n{\"topic\":" : "[{\"topic\":", stdout);
        text_print_json(r->topic, strlen(r->topic), stdout);
        fputs(",\"subject\":", stdout);
        text_print_json(r->subject, strlen(r->subject), stdout);
        if (r->version)
            printf(",\"version\":%d", r->version);
        if (r->id)
            printf(",\"id\":%u", r->id);
        printf(",\"ok\":%s,\"detail\":", r->ok ? "true" : "false");
        text_print_json(r->detail, strlen(r->detail), stdout);
        putchar('}');
    } else {
        printf("%-7s %-36s %s\n", r->ok ? "ok" : "not ok", r->subject, r->detail);
    }
    s->lines++;
    s->bad += !r->ok;
}

static int do_register(struct schemas *s, const struct record_type *t, struct row *r, struct fail *why)
{
    const char *schema = record_schema(t, t->version);
    int rc = schema_client_find(s->client, r->subject, schema, &r->id, why);
    bool there = !rc;
    if (rc == -E_UNKNOWN_SCHEMA)
        rc = schema_client_register(s->client, r->subject, schema, &r->id, why);
    if (rc && rc != -E_FAILED)
        return rc;
    r->ok = !rc;
    if (rc) /* it refuses this schema: the others may go */
        snprintf(r->detail, sizeof r->detail, "%s", why->text);
    else
        snprintf(r->detail, sizeof r->detail, "id %u, %s", r->id, there ? "was there" : "registered");
    print_row(s, r);
    return 0;
}

/* Every record of one can be read as the other says. */
static bool reads(const char *writer, const char *reader, const char *who, char detail[DETAIL])
{
    struct resolver *r = NULL;
    struct fail why = {0};
    int rc = resolver_open(&r, text_span(writer), reader, &why);
    const char *gap = rc ? why.text : resolver_gap(r);
    if (*gap)
        snprintf(detail, DETAIL, "%s: %s", who, gap);
    bool well = !*gap;
    resolver_close(&r);
    return well;
}

static int check_version(struct schemas *s, const struct record_type *t, struct row *r, struct fail *why)
{
    char *theirs = NULL;
    const char *ours = record_schema(t, t->version);
    int rc = schema_client_version(s->client, r->subject, r->version, &theirs, &r->id, why);
    if (rc && rc != -E_UNKNOWN_SCHEMA)
        return rc;
    if (rc)
        snprintf(r->detail, sizeof r->detail, "%s", why->text);
    r->ok = !rc && reads(theirs, ours, "we cannot read its records", r->detail) &&
            reads(ours, theirs, "it cannot read ours", r->detail);
    if (r->ok)
        snprintf(r->detail, sizeof r->detail, "version %d, id %u: each reads the other", r->version, r->id);
    free(theirs);
    print_row(s, r);
    return 0;
}

/* FULL_TRANSITIVE: against every version there is. */
static int do_check(struct schemas *s, const struct record_type *t, struct row *r, struct fail *why)
{
    static const char wanted[] = "FULL_TRANSITIVE";
    int versions[VERSIONS], count = 0;
    char level[32] = "";
    int rc = schema_client_versions(s->client, r->subject, versions, VERSIONS, &count, why);
    if (rc && rc != -E_UNKNOWN_SCHEMA)
        return rc;
    if (count == 0) {
        r->ok = true;
        snprintf(r->detail, sizeof r->detail, "nothing is registered yet: millrace schemas register");
        print_row(s, r);
        return 0;
    }
    rc = schema_client_level(s->client, r->subject, level, why);
    for (int i = 0; !rc && i < count; i++) {
        r->version = versions[i];
        rc = check_version(s, t, r, why);
    }
    if (!rc && strcmp(level, wanted) != 0)
        fprintf(stderr, "%s: the schema registry holds it to %s; %s would refuse what breaks readers\n",
                r->subject, level, wanted);
    return rc;
}

static int each(struct schemas *s, bool is_register, enum topic topic, struct fail *why)
{
    char full[TOPIC_NAME];
    const struct record_type *t = record_type_of_topic(topic_short_name(topic));
    struct row r = {.topic = topic_short_name(topic)};
    if (!t)
        return fail(why, E_USAGE, "%s holds records of any schema", topic_short_name(topic));
    framing_subject(topic_full_name(&s->cx->settings, topic, full), r.subject);
    return is_register ? do_register(s, t, &r, why) : do_check(s, t, &r, why);
}

/* Those that are named, else those with confluent framing. */
static int all(struct schemas *s, bool is_register, struct fail *why)
{
    const struct settings *settings = &s->cx->settings;
    int rc = 0, done = 0;
    for (int i = 1; !rc && i < s->cx->argc; i++, done++) {
        int topic = topic_find(settings, s->cx->argv[i]);
        rc = topic < 0 ? fail(why, E_USAGE, "%s is none of millrace's topics", s->cx->argv[i])
                       : each(s, is_register, (enum topic)topic, why);
    }
    for (int topic = 0; !rc && s->cx->argc == 1 && topic < TOPICS; topic++) {
        const struct record_type *t = record_type_of_topic(topic_short_name((enum topic)topic));
        if (!t || !framing_is_set(settings, t))
            continue;
        rc = each(s, is_register, (enum topic)topic, why);
        done++;
    }
    return rc || done
               ? rc
               : fail(why, E_USAGE, "no topic has confluent framing: name one, or set framing.inference");
}

static int run(const struct context *cx, struct fail *why)
{
    struct schemas s = {.cx = cx};
    bool is_register = strcmp(cx->argv[0], "register") == 0;
    if (!is_register && strcmp(cx->argv[0], "check") != 0)
        return command_unknown_word("schemas", cx->argv[0], "register|check", why);
    int rc = schema_client_open(&s.client, &cx->settings, why);
    if (!rc)
        rc = all(&s, is_register, why);
    if (cx->json)
        puts(s.lines ? "]" : "[]");
    schema_client_close(&s.client);
    if (!rc && s.bad)
        return fail(why, is_register ? E_FAILED : E_CONFIG, "%d of %d not ok", s.bad, s.lines);
    return rc;
}

const struct command command_schemas = {
    .name = "schemas",
    .operands = "register|check [TOPIC...]",
    .min_operands = 1,
    .max_operands = -1,
    .summary = "our schemas in a schema registry: register them, check them against what is there",
    .text = "TOPIC is a full or a short name; without one those with confluent framing. register puts a\n"
            "topic's schema, as it was published, into the subject <topic>-value, unless it is there.\n"
            "check holds it against every version of the subject, in both directions\n"
            "(FULL_TRANSITIVE): exit 3 where one cannot read the other. Exit 4 when no schema\n"
            "registry answers.",
    .needs_settings = true,
    .run = run,
};
