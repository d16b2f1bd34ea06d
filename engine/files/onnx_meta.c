/* What travels with a network in `metadata_props`: labels, preprocessing, how scores are made, and whatever
 * else the graph's metadata holds (lineage; keys are kept as they are). What it is used for is score's and the
 * worker's affair. Next to read: graph.h. */
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

enum { PROPS_MOST = 1024, NUMBERS_MOST = 16 };

#define KEY_LABELS  "millrace.labels"
#define KEY_MEAN    "millrace.mean"
#define KEY_STD     "millrace.std"
#define KEY_OUTPUT  "millrace.output"
#define KEY_NETWORK "millrace.network"

/* ---- reading: messages begin after the key ---- */

static int read_labels(struct graph *g, const char *text, struct fail *why)
{
    json_error_t error;
    json_t *list = json_loads(text, 0, &error);
    size_t n = json_array_size(list);
    int64_t outputs = shape_size(graph_output(g));
    const char **labels = calloc(n + 1, sizeof *labels);
    int rc = labels ? 0 : fail(why, E_MEMORY, "no memory for %zu labels", n);
    if (!rc && !json_is_array(list))
        rc = fail(why, E_FILE, "not a JSON list: %s", list ? "another value" : error.text);
    /* One output tells two classes apart. */
    if (!rc && (int64_t)n != outputs && !(n == 2 && outputs == 1))
        rc = fail(why, E_FILE, "%zu labels for %lld outputs", n, (long long)outputs);
    for (size_t i = 0; !rc && i < n; i++)
        if (!(labels[i] = json_string_value(json_array_get(list, i))))
            rc = fail(why, E_FILE, "label %zu is not a text", i);
    if (!rc)
        rc = graph_set_labels(g, (int)n, labels, why);
    free(labels);
    json_decref(list);
    return rc;
}

/* "0.5, 0.4,0.3": one number for each channel of the input, or one for all. */
static int read_numbers(const struct graph *g, const char *text, double above, float out[NUMBERS_MOST],
                        int *count, struct fail *why)
{
    const char *p = text;
    *count = 0;
    for (;;) {
        char *end;
        double v = strtod(p, &end);
        while (isspace((unsigned char)*end))
            end++;
        if (end == p || !isfinite((float)v) || !((float)v > above) || (*end && *end != ',') ||
            *count == NUMBERS_MOST)
            return fail(why, E_FILE, "\"%.100s\" is not a comma list of at most %d finite numbers%s", text,
                        NUMBERS_MOST, above >= 0 ? " above 0" : "");
        out[(*count)++] = (float)v;
        if (!*end)
            break;
        p = end + 1;
    }
    if (*count != 1 && *count != g->input.dim[0])
        return fail(why, E_FILE, "%d numbers for %lld channels", *count, (long long)g->input.dim[0]);
    return 0;
}

static int read_mean(struct graph *g, const char *text, struct fail *why)
{
    int rc = read_numbers(g, text, -HUGE_VAL, g->mean, &g->channels_normalised, why);
    for (int i = 0; !rc && i < g->channels_normalised; i++)
        g->std[i] = 1;
    return rc;
}

/* Runs after read_mean: `props` below has the order. */
static int read_std(struct graph *g, const char *text, struct fail *why)
{
    int means = g->channels_normalised;
    int rc = read_numbers(g, text, 0, g->std, &g->channels_normalised, why);
    if (!rc && means && means != g->channels_normalised)
        rc = fail(why, E_FILE, "%d numbers, " KEY_MEAN " has %d", g->channels_normalised, means);
    return rc;
}

static int read_output(struct graph *g, const char *text, struct fail *why)
{
    if (strcmp(text, "softmax") && strcmp(text, "sigmoid") && strcmp(text, "none"))
        return fail(why, E_FILE, "\"%.40s\" is not softmax, sigmoid or none", text);
    snprintf(g->output, sizeof g->output, "%s", text);
    return 0;
}

static int read_network(struct graph *g, const char *text, struct fail *why)
{
    if (!*text || strlen(text) >= sizeof g->name)
        return fail(why, E_FILE, "a name of %zu characters, expected 1 to %zu", strlen(text),
                    sizeof g->name - 1);
    snprintf(g->name, sizeof g->name, "%s", text);
    return 0;
}

/* ---- writing: NULL is "leave it out"; memory is the writer's ---- */

static char *print_labels(struct onnx_writer *w, const struct graph *g)
{
    json_t *list = json_array();
    for (int i = 0; i < g->label_count; i++)
        json_array_append_new(list, json_string(g->labels[i]));
    char *text = g->label_count ? json_dumps(list, JSON_COMPACT) : NULL;
    char *kept = text ? onnx_format(w, "%s", text) : NULL;
    free(text);
    json_decref(list);
    return kept;
}

static char *print_numbers(struct onnx_writer *w, const float *v, int n)
{
    char text[NUMBERS_MOST * 24] = "";
    for (int i = 0, at = 0; i < n; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s%.9g", i ? "," : "", onnx_decimal(v[i]));
    return n ? onnx_format(w, "%s", text) : NULL;
}

static char *print_mean(struct onnx_writer *w, const struct graph *g)
{
    return print_numbers(w, g->mean, g->channels_normalised);
}

static char *print_std(struct onnx_writer *w, const struct graph *g)
{
    return print_numbers(w, g->std, g->channels_normalised);
}

static char *print_output(struct onnx_writer *w, const struct graph *g)
{
    return *g->output ? onnx_format(w, "%s", g->output) : NULL;
}

static char *print_network(struct onnx_writer *w, const struct graph *g)
{
    return onnx_format(w, "%s", g->name);
}

/* ---- the table, in the order of reading and writing ---- */

static const struct {
    const char *key;
    int (*read)(struct graph *g, const char *text, struct fail *why);
    char *(*print)(struct onnx_writer *w, const struct graph *g);
} props[] = {
    {KEY_NETWORK, read_network, print_network}, {KEY_LABELS, read_labels, print_labels},
    {KEY_MEAN, read_mean, print_mean},          {KEY_STD, read_std, print_std},
    {KEY_OUTPUT, read_output, print_output},
};
enum { PROPS = sizeof props / sizeof props[0] };

static bool is_prop(const char *key)
{
    for (int i = 0; i < PROPS; i++)
        if (!strcmp(props[i].key, key))
            return true;
    return false;
}

static const char *model_prop(const Onnx__ModelProto *m, const char *key)
{
    for (size_t i = 0; i < m->n_metadata_props; i++)
        if (!strcmp(onnx_text(m->metadata_props[i]->key), key))
            return onnx_text(m->metadata_props[i]->value);
    return NULL;
}

int onnx_meta_read(struct graph *g, const Onnx__ModelProto *model, struct fail *why)
{
    int rc = 0;
    if (model->n_metadata_props > PROPS_MOST)
        return fail(why, E_UNSUPPORTED, "%s: %zu metadata_props, at most %d are supported", g->file,
                    model->n_metadata_props, PROPS_MOST);
    for (int i = 0; i < PROPS; i++) {
        const char *text = model_prop(model, props[i].key);
        if (text && props[i].read(g, text, why))
            return fail_prefix(why, "%.200s: metadata %s", g->file, props[i].key);
    }
    for (size_t i = 0; i < model->n_metadata_props && !rc; i++) {
        const char *key = onnx_text(model->metadata_props[i]->key);
        if (*key && !is_prop(key))
            rc = graph_set_metadata(g, key, onnx_text(model->metadata_props[i]->value), why);
    }
    return rc;
}

static void add_prop(struct onnx_writer *w, Onnx__ModelProto *model, const char *key, char *value)
{
    Onnx__StringStringEntryProto *e = value ? onnx_alloc(w, sizeof *e) : NULL;
    if (!e)
        return;
    onnx__string_string_entry_proto__init(e);
    e->key = onnx_format(w, "%s", key);
    e->value = value;
    model->metadata_props[model->n_metadata_props++] = e;
}

void onnx_meta_write(struct onnx_writer *w, const struct graph *g, Onnx__ModelProto *model)
{
    model->metadata_props =
        onnx_alloc(w, ((size_t)g->metadata_count + PROPS) * sizeof *model->metadata_props);
    if (!model->metadata_props)
        return;
    for (int i = 0; i < PROPS; i++)
        add_prop(w, model, props[i].key, props[i].print(w, g));
    for (int i = 0; i < g->metadata_count; i++)
        if (!is_prop(g->metadata[2 * i]))
            add_prop(w, model, g->metadata[2 * i], g->metadata[2 * i + 1]);
}
