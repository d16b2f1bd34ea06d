/* Network files: YAML to a graph. Every error has file, line and column and the nearest known key.
 * What the layers' keys mean is their tables' affair (layers/). Next to read: network_write.c. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/layer.h"

static const char *const top_keys[] = {"network", "input",  "labels", "mean",
                                       "std",     "output", "blocks", "layers"};
enum { TOP_KEYS = sizeof top_keys / sizeof *top_keys };

static int parse_number(const struct yaml_doc *doc, const struct yaml_node *n, const char *what, double low,
                        double high, bool whole, double *out, struct fail *why)
{
    const char *text = yaml_scalar(n);
    char *end = NULL;
    double v = text ? strtod(text, &end) : NAN;
    if (!text || end == text || *end || !(v >= low && v <= high) || (whole && v != floor(v)))
        return yaml_fail(doc, n, why, "%s: expected a %snumber in %.9g..%.9g, found \"%.80s\"", what,
                         whole ? "whole " : "", low, high, text ? text : "a list or mapping");
    *out = v;
    return 0;
}

/* ---- what stands above the layers ---- */

static int check_keys(const struct yaml_doc *doc, const struct yaml_node *root, struct fail *why)
{
    if (yaml_kind(root) != YAML_MAPPING)
        return yaml_fail(doc, root, why, "expected a network: a mapping with input and layers");
    for (int i = 0; i < yaml_count(root); i++) {
        bool known = false;
        for (int k = 0; k < TOP_KEYS; k++)
            known = known || !strcmp(yaml_key(root, i), top_keys[k]);
        if (!known)
            return yaml_fail(doc, yaml_key_node(root, i), why, "unknown key %.80s, nearest is %s",
                             yaml_key(root, i), setting_nearest(yaml_key(root, i), top_keys, TOP_KEYS));
    }
    if (!yaml_get(root, "input") || !yaml_get(root, "layers"))
        return yaml_fail(doc, root, why, "key %s is missing", yaml_get(root, "input") ? "layers" : "input");
    return 0;
}

static int parse_input(const struct yaml_doc *doc, const struct yaml_node *n, struct shape *input,
                       struct fail *why)
{
    int rc;
    double v;
    if (yaml_kind(n) != YAML_LIST || yaml_count(n) < 1 || yaml_count(n) > SHAPE_DIMS - 1)
        return yaml_fail(doc, n, why, "input: expected the shape of one row, such as [3, 32, 32]");
    for (int i = 0; i < yaml_count(n); i++) {
        if ((rc = parse_number(doc, yaml_item(n, i), "input", 1, 1 << 20, true, &v, why)))
            return rc;
        input->dim[i] = (int64_t)v;
    }
    input->rank = yaml_count(n);
    return 0;
}

/* mean, std: one number, or one for each channel. */
static int parse_channels(const struct yaml_doc *doc, const struct yaml_node *root, const char *key,
                          struct graph *g, float *to, float otherwise, struct fail *why)
{
    const struct yaml_node *n = yaml_get(root, key);
    int64_t channels = g->input.dim[0];
    double v = 0;
    int rc;
    if (channels > 16)
        return yaml_fail(doc, n ? n : root, why, "mean and std take at most 16 channels");
    if (n && yaml_kind(n) == YAML_LIST && yaml_count(n) != channels)
        return yaml_fail(doc, n, why, "%s: %d numbers, the input has %lld channels", key, yaml_count(n),
                         (long long)channels);
    for (int i = 0; i < channels; i++) {
        const struct yaml_node *item = n && yaml_kind(n) == YAML_LIST ? yaml_item(n, i) : n;
        if (item && (rc = parse_number(doc, item, key, -1e6, 1e6, false, &v, why)))
            return rc;
        to[i] = item ? (float)v : otherwise;
        if (otherwise > 0 && !(to[i] > 0))
            return yaml_fail(doc, item, why, "%s: expected a number above 0", key);
    }
    g->channels_normalised = (int)channels;
    return 0;
}

static int parse_output(const struct yaml_doc *doc, const struct yaml_node *n, struct graph *g,
                        struct fail *why)
{
    static const char *const words[] = {"softmax", "sigmoid", "none"};
    const char *text = yaml_scalar(n);
    for (int i = 0; text && i < 3; i++)
        if (!strcmp(text, words[i])) {
            snprintf(g->output, sizeof g->output, "%s", text);
            return 0;
        }
    return yaml_fail(doc, n, why, "output: expected softmax, sigmoid or none");
}

/* A list of names, or their number, which the network's outputs must then equal. */
static int parse_labels(const struct yaml_doc *doc, const struct yaml_node *n, struct graph *g,
                        struct fail *why)
{
    int64_t outputs = shape_size(graph_output(g)), count = yaml_count(n);
    double v = 0;
    int rc = 0;
    if (yaml_kind(n) == YAML_SCALAR) {
        if ((rc = parse_number(doc, n, "labels", 1, 1 << 20, true, &v, why)))
            return rc;
        count = (int64_t)v;
    }
    if (count != outputs)
        return yaml_fail(doc, n, why, "labels: %lld, but the last layer %s has %lld outputs",
                         (long long)count, g->nodes[g->count - 1].name, (long long)outputs);
    if (yaml_kind(n) == YAML_SCALAR)
        return 0;
    const char **labels = calloc((size_t)count, sizeof *labels);
    if (!labels)
        return fail(why, E_MEMORY, "no memory for labels");
    for (int i = 0; !rc && i < count; i++)
        if (!(labels[i] = yaml_scalar(yaml_item(n, i))))
            rc = yaml_fail(doc, yaml_item(n, i), why, "labels: expected a name");
    if (!rc)
        rc = graph_set_labels(g, (int)count, labels, why);
    free(labels);
    return rc;
}

/* ---- layers ---- */

/* Where a layer is written: among the network's, or in a block that is used as one. */
struct place {
    const char *block; /* the used block's name, which begins its layers' names; NULL: not in a block */
    int input;         /* the node that `in` means there */
};

/* A layer as it is written: "- conv: {...}" with name and from beside it, or "- relu". */
struct written {
    const struct yaml_node *at, *settings, *name, *from;
    const char *type;
};

static int read_written(const struct yaml_doc *doc, const struct yaml_node *item, struct written *w,
                        const struct yaml_node *blocks, struct fail *why)
{
    *w = (struct written){.at = item, .type = yaml_scalar(item)};
    if (yaml_kind(item) == YAML_LIST)
        return yaml_fail(doc, item, why, "expected a layer, such as conv: {filters: 6, kernel: 5}");
    for (int i = 0; i < yaml_count(item); i++) {
        const char *key = yaml_key(item, i);
        if (!strcmp(key, "name"))
            w->name = yaml_item(item, i);
        else if (!strcmp(key, "from"))
            w->from = yaml_item(item, i);
        else if (w->type)
            return yaml_fail(doc, yaml_key_node(item, i), why,
                             "%.80s beside %.80s: a layer is one type with name and from beside it", key,
                             w->type);
        else {
            w->type = key;
            w->at = yaml_key_node(item, i);
            w->settings = yaml_item(item, i);
        }
    }
    if (!w->type || !*w->type)
        return yaml_fail(doc, item, why, "expected a layer, such as conv: {filters: 6, kernel: 5}");
    if (!layer_find(w->type) && !(blocks && yaml_get(blocks, w->type)))
        return yaml_fail(doc, w->at, why, "unknown layer %.80s, nearest is %s", w->type,
                         layer_nearest(w->type));
    if (w->name && !yaml_scalar(w->name))
        return yaml_fail(doc, w->name, why, "name: expected a word");
    return 0;
}

/* "block.name" in a block, else the name; 0 or the failure of a name that is too long. */
static int full_name(const struct yaml_doc *doc, const struct yaml_node *n, const struct place *place,
                     char out[GRAPH_NAME], struct fail *why)
{
    const char *block = place->block ? place->block : "", *dot = place->block ? "." : "";
    int length = snprintf(out, GRAPH_NAME, "%s%s%s", block, dot, yaml_scalar(n));
    return length < GRAPH_NAME ? 0
                               : yaml_fail(doc, n, why, "a name of %d characters, expected at most %d",
                                           length, GRAPH_NAME - 1);
}

/* The node that a word of `from` means among the first `count`: in a block its input, then its own layers, then
 * any other; GRAPH_INPUT for the network's. */
static int parse_one_from(const struct yaml_doc *doc, const struct yaml_node *n, const struct graph *g,
                          const struct place *place, int count, int *out, struct fail *why)
{
    const char *name = yaml_scalar(n);
    char full[GRAPH_NAME];
    if (!name)
        return yaml_fail(doc, n, why, "from: expected a layer's name");
    int rc = full_name(doc, n, place, full, why);
    if (rc)
        return rc;
    *out = graph_index(g, full);
    if (place->block && *out < 0 && !strcmp(name, "in")) {
        *out = place->input;
        return 0;
    }
    if (*out < 0)
        *out = graph_index(g, name);
    if (*out < 0 && strcmp(name, "input"))
        return yaml_fail(doc, n, why, "from: no earlier layer is called %.80s (the network's input is input)",
                         name);
    if (*out >= count)
        return yaml_fail(doc, n, why, "from: %.80s is this layer itself", name);
    *out = *out < 0 ? GRAPH_INPUT : *out;
    return 0;
}

static int parse_from(const struct yaml_doc *doc, const struct yaml_node *n, const struct graph *g,
                      const struct place *place, struct graph_node *node, struct fail *why)
{
    int rc = 0, last = g->count - 1;
    node->input_count = 1;
    if (yaml_kind(n) == YAML_SCALAR)
        return parse_one_from(doc, n, g, place, last, &node->inputs[0], why);
    if (yaml_kind(n) != YAML_LIST || !yaml_count(n))
        return yaml_fail(doc, n, why, "from: expected a list of layers' names");
    if (yaml_count(n) > GRAPH_INPUTS)
        return yaml_fail(doc, yaml_item(n, GRAPH_INPUTS), why, "from: more than %d names", GRAPH_INPUTS);
    node->input_count = yaml_count(n);
    for (int i = 0; !rc && i < yaml_count(n); i++)
        rc = parse_one_from(doc, yaml_item(n, i), g, place, last, &node->inputs[i], why);
    return rc;
}

static int parse_settings(const struct yaml_doc *doc, const struct written *w, struct graph_node *node,
                          struct fail *why)
{
    static const struct setting no_settings[] = {{0}};
    const struct yaml_node *n = w->settings;
    if (n && yaml_kind(n) == YAML_SCALAR && *yaml_scalar(n))
        return yaml_fail(doc, n, why, "%s: expected settings, such as {key: value}", w->type);
    for (const struct setting *s = node->type->settings; !n && s && s->key; s++)
        if (!s->fallback)
            return yaml_fail(doc, w->at, why, "%s: key %s is missing: %s", w->type, s->key, s->help);
    return n ? setting_read(node->type->settings ? node->type->settings : no_settings, node->settings, doc, n,
                            why)
             : 0;
}

static int add_layer(const struct yaml_doc *doc, const struct written *w, const struct place *place,
                     struct graph *g, struct fail *why)
{
    struct graph_node *node;
    struct fail inner;
    char name[GRAPH_NAME];
    int rc = w->name ? full_name(doc, w->name, place, name, why) : 0;
    if (rc)
        return rc;
    if (w->name && (!strcmp(name, "input") || graph_index(g, name) >= 0))
        return yaml_fail(doc, w->name, why, "the name %.80s is taken", name);
    if ((rc = graph_add(&node, g, w->type, w->name ? name : NULL, &inner)))
        return rc == -E_MEMORY ? fail(why, E_MEMORY, "%s", inner.text)
                               : yaml_fail(doc, w->name ? w->name : w->at, why, "%s", inner.text);
    node->line = yaml_line(w->at);
    if ((rc = parse_settings(doc, w, node, why)))
        return rc;
    return w->from ? parse_from(doc, w->from, g, place, node, why) : 0;
}

/* The layers of a block, with the values that this use of it gives. Its first layer reads what the use is from. */
static int add_block(const struct yaml_doc *doc, const struct written *use, const struct yaml_node *block,
                     struct graph *g, struct fail *why)
{
    struct place place = {use->name ? yaml_scalar(use->name) : NULL, g->count ? g->count - 1 : GRAPH_INPUT};
    const struct yaml_node *values =
        use->settings && yaml_kind(use->settings) == YAML_MAPPING ? use->settings : use->at;
    int rc = 0;
    if (!place.block)
        return yaml_fail(doc, use->at, why, "%s: a block needs a name, which begins those of its layers",
                         use->type);
    if (yaml_kind(block) != YAML_LIST || !yaml_count(block))
        return yaml_fail(doc, block, why, "blocks: %s: expected a list of layers", use->type);
    for (int i = 0; i < yaml_count(values); i++)
        if (!yaml_has_blank(block, yaml_key(values, i)))
            return yaml_fail(doc, yaml_key_node(values, i), why, "unknown key %.80s: block %s has no $%.80s",
                             yaml_key(values, i), use->type, yaml_key(values, i));
    if (use->from &&
        (rc = parse_one_from(doc, use->from, g, &(struct place){0}, g->count, &place.input, why)))
        return rc;
    for (int i = 0; !rc && i < yaml_count(block); i++) {
        struct yaml_node *item = NULL;
        struct written w;
        if (!(rc = yaml_fill(&item, doc, yaml_item(block, i), values, why)) &&
            !(rc = read_written(doc, item, &w, NULL, why)) && !(rc = add_layer(doc, &w, &place, g, why)) &&
            i == 0 && !w.from)
            g->nodes[g->count - 1].inputs[0] = place.input;
        yaml_node_free(item);
    }
    return rc;
}

static int parse_layers(const struct yaml_doc *doc, const struct yaml_node *root, struct graph *g,
                        struct fail *why)
{
    const struct yaml_node *n = yaml_get(root, "layers"), *blocks = yaml_get(root, "blocks");
    int rc = 0;
    if (yaml_kind(n) != YAML_LIST || !yaml_count(n))
        return yaml_fail(doc, n, why, "layers: expected a list of layers");
    if (blocks && yaml_kind(blocks) != YAML_MAPPING)
        return yaml_fail(doc, blocks, why, "blocks: expected a mapping of names to lists of layers");
    for (int i = 0; blocks && i < yaml_count(blocks); i++)
        if (layer_find(yaml_key(blocks, i)))
            return yaml_fail(doc, yaml_key_node(blocks, i), why, "blocks: %s is a layer's name",
                             yaml_key(blocks, i));
    for (int i = 0; !rc && i < yaml_count(n); i++) {
        struct written w;
        if ((rc = read_written(doc, yaml_item(n, i), &w, blocks, why)))
            return rc;
        const struct yaml_node *block = blocks ? yaml_get(blocks, w.type) : NULL;
        rc = block ? add_block(doc, &w, block, g, why) : add_layer(doc, &w, &(struct place){0}, g, why);
    }
    return rc;
}

/* "config/lenet.yaml" -> "lenet" */
static void base_name(const char *path, char *out, size_t size)
{
    const char *slash = strrchr(path, '/');
    snprintf(out, size, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(out, '.');
    if (dot && dot != out)
        *dot = 0;
}

static int parse_root(const struct yaml_doc *doc, const char *file, struct graph **out, struct fail *why)
{
    const struct yaml_node *root = yaml_root(doc), *name, *n;
    struct shape input = {0};
    char base[GRAPH_NAME];
    int rc = check_keys(doc, root, why);
    if (rc || (rc = parse_input(doc, yaml_get(root, "input"), &input, why)))
        return rc;
    if ((name = yaml_get(root, "network")) && !yaml_scalar(name))
        return yaml_fail(doc, name, why, "network: expected a name");
    base_name(file, base, sizeof base);
    if ((rc = graph_new(out, name ? yaml_scalar(name) : base, input, why)))
        return rc;
    snprintf((*out)->file, sizeof(*out)->file, "%s", file);
    if ((yaml_get(root, "mean") || yaml_get(root, "std")) &&
        ((rc = parse_channels(doc, root, "mean", *out, (*out)->mean, 0, why)) ||
         (rc = parse_channels(doc, root, "std", *out, (*out)->std, 1, why))))
        return rc;
    if ((n = yaml_get(root, "output")) && (rc = parse_output(doc, n, *out, why)))
        return rc;
    if ((rc = parse_layers(doc, root, *out, why)) || (rc = graph_finish(*out, why)))
        return rc;
    n = yaml_get(root, "labels");
    return n ? parse_labels(doc, n, *out, why) : 0;
}

int network_parse(struct graph **out, const char *name, const char *yaml, size_t size, struct fail *why)
{
    struct yaml_doc *doc = NULL;
    struct graph *g = NULL;
    struct fail inner = {0};
    int rc = yaml_parse(&doc, name, yaml, size, false, &inner);
    if (!rc)
        rc = parse_root(doc, name, &g, &inner);
    yaml_doc_free(&doc);
    if (rc) {
        graph_free(&g);
        /* A bad network fails the job that brought it, not the worker. */
        return fail(why, inner.code == E_CONFIG ? E_NETWORK : inner.code, "%s", inner.text);
    }
    *out = g;
    return 0;
}
