/* A runner between arrays, for one test program: records go in, what the runner seals comes out, without Kafka. The model "tiny"
 * (network below, seeded weights) is known as tiny, tiny@champion and tiny@1; where line.traffic says so, another one is the
 * challenger or the shadow. follower.h's functions are answered here (they take the place of worker/models/follower.c in a
 * program that includes this). Tests on a real broker are the proof of what Kafka does with it. */
#ifndef TESTS_WORKER_INFER_LINE_H
#define TESTS_WORKER_INFER_LINE_H

#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/folder.h"
#include "worker/infer/runner.h"

enum { LINE_MOST = 256, LINE_INPUT = 3 * 8 * 8 };

static const char line_network[] =
    "network: tiny\ninput: [3, 8, 8]\nlabels: 4\nlayers:\n"
    "  - conv: {filters: 4, kernel: 3, activation: relu}\n  - dense: {units: 4}\n";

struct line_output {
    enum topic topic;
    char *key; /* 0-terminated */
    struct span value;
    struct header headers[16];
    int header_count;
};

struct line {
    struct settings settings;
    struct backend *be;
    struct model *model;
    struct model *other; /* tiny@2; NULL: the alias means what cannot be loaded */
    struct {
        double challenger, shadow; /* share of the keys that tiny@2 has as this alias; 0: it is not */
    } traffic;
    bool broken; /* tiny's champion cannot be loaded; before, it was tiny@2 */
    struct router *router;
    struct source source;
    struct sink sink;
    struct record in[LINE_MOST];
    int count, next, sealed_to;
    int seals[LINE_MOST], seal_count; /* sealed_to of each batch */
    struct line_output out[LINE_MOST];
    int out_count;
    struct batch batch;
    bool taken;
    size_t prediction_limit;
    int unknown_for;   /* the model is unknown this many times */
    int changed_after; /* source_changed says yes at this question; 0: never */
    int finds, asked;
    struct inflight *inflight;
    struct line_topic *topic; /* NULL: nothing outlives the process */
};

/* What a broker would keep when the process dies: shared memory. */
struct line_topic {
    int committed;
    int answered[LINE_MOST], dead[LINE_MOST]; /* how often, by offset */
};

/* cmocka has a macro called fail: ours is called in brackets below. */
static struct line *line; /* follower.h's functions take no context of ours */

static void line_must(int rc, const struct fail *why)
{
    if (rc)
        fail_msg("%s", why->text);
}

/* ---- follower.h ---- */

static double line_traffic(const char *alias)
{
    return strcmp(alias, "challenger") == 0 ? line->traffic.challenger
           : strcmp(alias, "shadow") == 0   ? line->traffic.shadow
                                            : 0;
}

int follower_alias(struct follower *f, const char *model, const char *alias, struct model_version_event *out,
                   struct region *mem, struct fail *why)
{
    bool champion = strcmp(alias, "champion") == 0;
    (void)f, (void)mem;
    if (strcmp(model, "tiny") != 0 || (!champion && line_traffic(alias) <= 0))
        return (fail)(why, E_UNKNOWN_MODEL, "%s has no alias %s", model, alias);
    *out = (struct model_version_event){.event_id = alias,
                                        .event = EVENT_PROMOTED,
                                        .model = "tiny",
                                        .version = champion ? 1 : 2,
                                        .alias = alias,
                                        .traffic = champion ? 1 : line_traffic(alias),
                                        .previous_version = champion && line->broken ? 2 : 0,
                                        .artifact_uri = "uri",
                                        .format = "onnx",
                                        .sha256 = "sha",
                                        .job_id = "",
                                        .dataset_sha256 = "",
                                        .reason = "",
                                        .created_by = ""};
    return 0;
}

static int line_find_other(const char *alias, struct model **out, char variant[102], struct fail *why)
{
    if (!line->other)
        return (fail)(why, E_FILE, "its artefact is broken");
    *out = model_hold(line->other);
    snprintf(variant, 102, "%s", alias);
    return 0;
}

int follower_find(struct follower *f, struct span spec, struct model **out, char variant[102],
                  struct fail *why)
{
    static const char *const names[] = {"tiny", "tiny@champion", "tiny@1"};
    (void)f;
    *out = NULL;
    if (spec.size == 4 && memcmp(spec.data, "boom", 4) == 0)
        raise(SIGSEGV);
    bool known = line->finds++ >= line->unknown_for;
    if (line->broken)
        return spec.size == 6 && memcmp(spec.data, "tiny@2", 6) == 0
                   ? line_find_other("", out, variant, why)
                   : (fail)(why, E_FILE, "its artefact is broken");
    for (int i = 0; known && i < 3; i++)
        if (spec.size == strlen(names[i]) && memcmp(spec.data, names[i], spec.size) == 0) {
            *out = model_hold(line->model);
            snprintf(variant, 102, "champion");
            return 0;
        }
    for (const char *alias = "challenger"; alias; alias = strcmp(alias, "shadow") ? "shadow" : NULL)
        if (spec.size > 5 && spec.size - 5 == strlen(alias) &&
            memcmp(spec.data + 5, alias, spec.size - 5) == 0 && line_traffic(alias) > 0)
            return line_find_other(alias, out, variant, why);
    return (fail)(why, E_UNKNOWN_MODEL, "model %.*s is unknown", (int)spec.size, spec.data);
}

int follower_catch_up(struct follower *f, int timeout_ms, struct fail *why)
{
    (void)f, (void)timeout_ms, (void)why;
    return 0;
}

void follower_prepare(struct follower *f, void (*prepare)(void *arg, struct model *m), void *arg)
{
    (void)f, (void)prepare, (void)arg;
}

uint64_t follower_changes(struct follower *f)
{
    (void)f;
    return (uint64_t)line->finds; /* every question may have another answer */
}

/* ---- source and sink ---- */

static int line_next(struct source *src, struct record *out, int timeout_ms, struct fail *why)
{
    (void)src, (void)timeout_ms, (void)why;
    if (line->next == line->count)
        return SOURCE_END;
    *out = line->in[line->next++];
    return SOURCE_RECORD;
}

static int line_seal(struct source *src, struct batch *b, enum seal how, struct fail *why)
{
    (void)src, (void)b, (void)why;
    line->sealed_to = how == SEAL_UNCHANGED ? line->next - 1 : line->next;
    if (line->seal_count < LINE_MOST)
        line->seals[line->seal_count++] = line->sealed_to;
    return 0;
}

static int64_t line_position(struct source *src, int32_t partition)
{
    (void)src;
    return partition == 2 ? line->next : SOURCE_NOT_OURS;
}

static bool line_changed(struct source *src)
{
    (void)src;
    return line->changed_after && ++line->asked == line->changed_after;
}

static int line_take(struct sink *sink, struct batch **out, struct fail *why)
{
    (void)sink;
    if (line->taken)
        return (fail)(why, E_FAILED, "a second batch");
    line->taken = true;
    *out = &line->batch;
    return 0;
}

static struct span line_copy(struct span s)
{
    char *copy = s.data ? malloc(s.size + 1) : NULL;
    if (copy)
        memcpy(copy, s.data, s.size), copy[s.size] = 0;
    return (struct span){copy, s.size};
}

static void line_keep(const struct output *o)
{
    struct line_output *to = &line->out[line->out_count++];
    assert_true(line->out_count <= LINE_MOST && o->header_count <= 16);
    *to = (struct line_output){
        .topic = o->topic, .value = line_copy(o->value), .header_count = o->header_count};
    to->key = (char *)(uintptr_t)line_copy(o->key).data;
    for (int i = 0; i < o->header_count; i++)
        to->headers[i] = (struct header){strdup(o->headers[i].name), line_copy(o->headers[i].value)};
}

static void line_commit(const struct batch *b)
{
    for (int i = 0; i < b->output_count; i++) {
        int offset = atoi(b->outputs[i].key.data);
        (b->outputs[i].topic == TOPIC_PREDICTIONS ? line->topic->answered : line->topic->dead)[offset]++;
    }
    line->topic->committed = line->sealed_to;
}

static int line_put_batch(struct sink *sink, struct batch **b, struct fail *why)
{
    (void)sink, (void)why;
    for (int i = 0; i < (*b)->output_count; i++)
        line_keep(&(*b)->outputs[i]);
    if (line->topic)
        line_commit(*b);
    batch_reset(*b);
    line->taken = false;
    *b = NULL;
    return 0;
}

static int line_wait(struct sink *sink, struct fail *why)
{
    (void)sink, (void)why;
    return 0;
}

static size_t line_limit(struct sink *sink, enum topic topic)
{
    (void)sink;
    return topic == TOPIC_PREDICTIONS ? line->prediction_limit : (size_t)17 << 20;
}

/* ---- the life of a line ---- */

/* yaml: settings, as in a configuration file. */
static void line_open(struct line *l, const char *folder, const char *yaml)
{
    static const struct source_ops source_ops = {line_next, line_seal, line_changed, line_position, NULL};
    static const struct sink_ops sink_ops = {line_take, line_put_batch, line_wait, line_limit};
    static const char *const slow[] = {
        "commit.max_delay_ms=5000"}; /* what closes a batch is never how slow the machine is */
    struct fail why = {0};
    const char *config = folder_path(folder, "m.yaml"), *network = folder_path(folder, "tiny.yaml");
    *l =
        (struct line){.source.ops = &source_ops, .sink.ops = &sink_ops, .prediction_limit = (size_t)17 << 20};
    line = l;
    folder_write(config, yaml, strlen(yaml));
    folder_write(network, line_network, strlen(line_network));
    line_must(settings_load(&l->settings, config, slow, 1, &why), &why);
    line_must(backend_open(&l->be, "cpu", 1, &why), &why);
    line_must(model_read(&l->model, network, &why), &why);
    l->model->version = 1;
    line_must(router_open(&l->router, l->be, (int)l->settings.batch_max_rows, NULL, NULL, NULL, &why), &why);
}

static void line_empty(struct line *l)
{
    for (int i = 0; i < l->out_count; i++) {
        free(l->out[i].key);
        free((void *)(uintptr_t)l->out[i].value.data);
        for (int k = 0; k < l->out[i].header_count; k++) {
            free((void *)(uintptr_t)l->out[i].headers[k].name);
            free((void *)(uintptr_t)l->out[i].headers[k].value.data);
        }
    }
    for (int i = 0; i < l->count; i++) {
        free((void *)(uintptr_t)l->in[i].key.data);
        free((void *)(uintptr_t)l->in[i].value.data);
    }
    l->count = l->next = l->out_count = l->sealed_to = l->finds = l->asked = 0;
}

static void line_close(struct line *l)
{
    line_empty(l);
    router_close(&l->router);
    model_release(&l->model);
    model_release(&l->other);
    backend_close(&l->be);
    region_free(&l->batch.mem);
    settings_free(&l->settings);
}

/* Headers are borrowed. */
static void line_add(struct line *l, const char *key, struct span value, const struct header *headers,
                     int header_count)
{
    assert_true(l->count < LINE_MOST);
    l->in[l->count] = (struct record){.topic = "m.inference",
                                      .partition = 2,
                                      .offset = l->count,
                                      .timestamp_ms = 1000,
                                      .key = line_copy(text_span(key)),
                                      .value = line_copy(value),
                                      .headers = headers,
                                      .header_count = header_count};
    l->count++;
}

/* A second version of the same weights, whose bias for `label` is larger by `bias`. */
static inline void line_other(struct line *l, const char *folder, int label, float bias)
{
    struct fail why;
    line_must(model_read(&l->other, folder_path(folder, "tiny.yaml"), &why), &why);
    struct graph *g = l->other->graph;
    line_must(graph_init(g, 1, &why), &why); /* as the router's nets draw */
    struct graph_node *last = &g->nodes[g->count - 1];
    assert_int_equal(last->params[1].shape.dim[0], 4);
    last->params[1].data[label] += bias;
    l->other->version = 2;
    snprintf(l->other->sha256, sizeof l->other->sha256, "another");
}

/* Runs to the end of what was added; returns the runner's code. */
static int line_run(struct line *l, struct fail *why)
{
    struct runner_options options = {
        .settings = &l->settings, .router = l->router, .inflight = l->inflight, .stop_at_end = true};
    return runner_work(&l->source, &l->sink, &options, why);
}

/* ---- what came out ---- */

static const struct line_output *line_find(struct line *l, const char *key)
{
    for (int i = 0; i < l->out_count; i++)
        if (strcmp(l->out[i].key, key) == 0)
            return &l->out[i];
    fail_msg("nothing was answered to %s", key);
    return NULL;
}

/* An output as its topic's record; json_decref it. */
static json_t *line_json(const struct line_output *o)
{
    struct bytes text = {0};
    struct fail why;
    line_must(record_print_json(&text, record_type_of_topic(topic_short_name(o->topic)), 1, o->value, &why),
              &why);
    json_t *j = json_loadb((char *)text.data, text.size, 0, NULL);
    assert_non_null(j);
    bytes_free(&text);
    return j;
}

/* The Prediction to this request; json_decref it. */
static inline json_t *line_prediction(struct line *l, const char *key)
{
    const struct line_output *o = line_find(l, key);
    if (o->topic != TOPIC_PREDICTIONS)
        fail_msg("%s went to %s", key, topic_short_name(o->topic));
    return line_json(o);
}

static struct span line_header(const struct line_output *o, const char *name)
{
    struct record r = {.headers = o->headers, .header_count = o->header_count};
    return record_header(&r, name);
}

#endif
