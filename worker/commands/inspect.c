/* `inspect`: a file in words: networks layer by layer, checkpoints tensor by tensor, data by type, shape and
 * labels. What a file is, is told by its name; what it holds is verified by its reader.
 * Next to read: engine/graph.h, worker/data/rows.h, worker/codec/container.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"
#include "engine/layer.h"
#include "engine/net.h"
#include "engine/rng.h"
#include "worker/codec/container.h"
#include "worker/commands/command.h"
#include "worker/data/rows.h"
#include "worker/service/text.h"

struct options {
    bool plan;
    int64_t batch;
    char *backend;
};

static const struct setting options[] = {
    {"plan", SETTING_BOOL, offsetof(struct options, plan), "false", 0, 0, NULL,
     "of a network: the steps that the engine would run", false},
    {"batch", SETTING_INT, offsetof(struct options, batch), "256", 1, 65536, NULL,
     "rows that --plan plans for", false},
    {"backend", SETTING_STRING, offsetof(struct options, backend), "cpu", 1, 32, NULL,
     "what --plan plans for: cpu, ref, cuda (with the error of TF32)", false},
    {0},
};

static void print_quoted(const char *text)
{
    text_print_json(text, strlen(text), stdout);
}

static void print_shape_json(struct shape s)
{
    putchar('[');
    for (int i = 0; i < s.rank; i++)
        printf("%s%lld", i ? "," : "", (long long)s.dim[i]);
    putchar(']');
}

/* ---- networks ---- */

static int64_t node_params(const struct graph_node *n)
{
    int64_t sum = 0;
    for (int i = 0; i < n->param_count; i++)
        sum += shape_size(n->params[i].shape);
    return sum;
}

static void print_node(const struct graph *g, const struct graph_node *n)
{
    char shape[80], params[32], inputs[128] = "";
    size_t used = 0;
    bool straight = n->input_count == 1 && n->inputs[0] == (int)(n - g->nodes) - 1;
    for (int i = 0; i < n->input_count && !straight && used < sizeof inputs; i++)
        used += (size_t)snprintf(inputs + used, sizeof inputs - used, "%s%s", i ? ", " : "  from ",
                                 n->inputs[i] == GRAPH_INPUT ? "input" : g->nodes[n->inputs[i]].name);
    printf("  %-16s %-10s -> %-16s %12s%s\n", n->name, n->type->name,
           shape_text(n->shape, shape, sizeof shape),
           n->param_count ? text_count(node_params(n), params, sizeof params) : "", inputs);
}

static bool has_weights(const struct graph *g)
{
    for (int i = 0; i < g->count; i++)
        for (int p = 0; p < g->nodes[i].param_count; p++)
            if (!g->nodes[i].params[p].data)
                return false;
    return true;
}

static void print_graph(const struct graph *g)
{
    char in[80], out[80], params[32], memory[32];
    printf("network %s: input %s, output %s, %s\n", g->name, shape_text(g->input, in, sizeof in),
           shape_text(graph_output(g), out, sizeof out), has_weights(g) ? "with weights" : "fresh weights");
    for (int i = 0; i < g->count; i++)
        print_node(g, &g->nodes[i]);
    printf("parameters   %s, %s\n", text_count(graph_param_count(g), params, sizeof params),
           text_bytes((double)graph_param_count(g) * 4, memory, sizeof memory));
    printf("one row      %.4g GFLOP forward\n", graph_flops(g) / 1e9);
    printf("score        %s\n", graph_score_rule(g));
    if (g->channels_normalised) {
        printf("preprocess   (x / 255 - mean) / std, by channel:");
        for (int c = 0; c < g->channels_normalised; c++)
            printf(" %g/%g", (double)g->mean[c], (double)g->std[c]);
        putchar('\n');
    }
    for (int i = 0; i < g->label_count; i++)
        printf("%s%s%s", i ? ", " : "labels       ", g->labels[i], i + 1 == g->label_count ? "\n" : "");
    for (int i = 0; i < g->metadata_count; i++)
        printf("%-12s %.200s\n", g->metadata[2 * i], g->metadata[2 * i + 1]);
}

static void print_graph_json(const struct graph *g)
{
    fputs("{\"kind\":\"network\",\"name\":", stdout);
    print_quoted(g->name);
    fputs(",\"input\":", stdout);
    print_shape_json(g->input);
    fputs(",\"output\":", stdout);
    print_shape_json(graph_output(g));
    printf(",\"parameters\":%lld,\"gflop\":%.9g,\"weights\":%s,\"score\":\"%s\",\"layers\":[",
           (long long)graph_param_count(g), graph_flops(g) / 1e9, has_weights(g) ? "true" : "false",
           graph_score_rule(g));
    for (int i = 0; i < g->count; i++) {
        const struct graph_node *n = &g->nodes[i];
        fputs(i ? ",{\"name\":" : "{\"name\":", stdout);
        print_quoted(n->name);
        printf(",\"type\":\"%s\",\"parameters\":%lld,\"shape\":", n->type->name, (long long)node_params(n));
        print_shape_json(n->shape);
        putchar('}');
    }
    fputs("],\"labels\":[", stdout);
    for (int i = 0; i < g->label_count; i++) {
        fputs(i ? "," : "", stdout);
        print_quoted(g->labels[i]);
    }
    fputs("],\"metadata\":{", stdout);
    for (int i = 0; i < g->metadata_count; i++) {
        fputs(i ? "," : "", stdout);
        print_quoted(g->metadata[2 * i]);
        putchar(':');
        print_quoted(g->metadata[2 * i + 1]);
    }
    puts("}}");
}

/* The outputs of rows of noise, those of one precision. */
static int outputs_of(const struct graph *g, int rows, bool tf32, float *outputs, struct fail *why)
{
    struct backend_options bo = {.threads = 1, .cuda_workspace_mb = CUDA_WORKSPACE_MB, .cuda_tf32 = tf32};
    struct net_options no = {.mode = NET_INFER, .max_rows = rows, .seed = 1};
    struct rng noise = rng_seed(1);
    struct backend *be = NULL;
    struct net *net = NULL;
    int rc = backend_open_with(&be, "cuda", &bo, why);
    if (!rc)
        rc = net_open(&net, be, g, &no, why);
    for (int64_t i = 0; !rc && i < rows * net_input_size(net); i++)
        net_input(net)[i] = (float)rng_uniform(&noise);
    if (!rc)
        rc = net_forward(net, rows, why);
    if (!rc)
        memcpy(outputs, net_output(net), sizeof *outputs * (size_t)(rows * net_output_size(net)));
    net_close(&net);
    backend_close(&be);
    return rc;
}

/* What engine.cuda_tf32 costs this network on this device, measured. */
static int print_tf32(const struct graph *g, int rows, struct fail *why)
{
    int64_t n = rows * shape_size(graph_output(g));
    float *exact = calloc((size_t)n, sizeof *exact), *cut = calloc((size_t)n, sizeof *cut);
    double largest = 0, error = 0;
    int rc = exact && cut ? 0 : fail(why, E_MEMORY, "no memory for %lld outputs", (long long)n);
    if (!rc)
        rc = outputs_of(g, rows, false, exact, why);
    if (!rc)
        rc = outputs_of(g, rows, true, cut, why);
    for (int64_t i = 0; !rc && i < n; i++) {
        largest = fmax(largest, fabs((double)exact[i]));
        error = fmax(error, fabs((double)cut[i] - (double)exact[i]));
    }
    if (!rc)
        printf(
            "TF32         with engine.cuda_tf32 outputs are up to %.2g of the largest one off float32's (%d "
            "rows of noise%s)\n",
            largest > 0 ? error / largest : 0, rows, has_weights(g) ? "" : ", fresh weights");
    free(exact);
    free(cut);
    return rc;
}

static int print_plan(const struct options *o, const struct graph *g, struct fail *why)
{
    struct backend *be = NULL;
    struct net *net = NULL;
    struct net_options no = {.mode = NET_INFER, .max_rows = (int)o->batch, .seed = 1};
    char digest[65], memory[32];
    int rc = backend_open(&be, o->backend, 1, why);
    if (!rc)
        rc = net_open(&net, be, g, &no, why);
    if (!rc) {
        net_digest(net, digest);
        rc = *digest ? 0 : fail(why, E_MEMORY, "no memory for the plan's digest");
    }
    if (!rc) {
        printf("\nplan for %lld rows on %s, %s in all, digest %.12s\n", (long long)o->batch, backend_name(be),
               text_bytes((double)net_memory(net), memory, sizeof memory), digest);
        net_print_plan(net, stdout);
    }
    bool cuda = !rc && strcmp(backend_name(be), "cuda") == 0;
    net_close(&net);
    backend_close(&be);
    return cuda ? print_tf32(g, (int)o->batch, why) : rc;
}

static int inspect_network(const struct context *cx, const char *path, struct fail *why)
{
    const struct options *o = cx->options;
    struct graph *g = NULL;
    int rc = graph_read(&g, path, why);
    if (!rc)
        (cx->json ? print_graph_json : print_graph)(g);
    if (!rc && o->plan)
        rc = print_plan(o, g, why);
    graph_free(&g);
    return rc;
}

/* ---- checkpoints ---- */

static int read_whole(const char *path, void **bytes, size_t *size, struct fail *why)
{
    FILE *f = fopen(path, "re");
    long n = -1;
    if (f && fseek(f, 0, SEEK_END) == 0)
        n = ftell(f);
    int rc = 0;
    *bytes = NULL;
    if (n < 0)
        rc = fail(why, E_FILE, "%s: %s", path, strerror(errno));
    else if (!(*bytes = malloc((size_t)n + 1)))
        rc = fail(why, E_MEMORY, "%s: %ld bytes", path, n);
    else if (fseek(f, 0, SEEK_SET) || fread(*bytes, 1, (size_t)n, f) != (size_t)n)
        rc = fail(why, E_FILE, "%s: could not be read whole", path);
    *size = (size_t)(n > 0 ? n : 0);
    if (f)
        fclose(f);
    return rc;
}

static void print_tensors(const struct safetensors *st, bool json)
{
    int64_t numbers = 0;
    fputs(json ? "{\"kind\":\"safetensors\",\"tensors\":[" : "", stdout);
    for (int i = 0; i < safetensors_count(st); i++) {
        struct shape s = safetensors_shape(st, i);
        char text[80];
        const char *type = dtype_name(safetensors_dtype(st, i));
        numbers += shape_size(s);
        if (json) {
            fputs(i ? ",{\"name\":" : "{\"name\":", stdout);
            print_quoted(safetensors_name(st, i));
            printf(",\"dtype\":\"%s\",\"shape\":", type);
            print_shape_json(s);
            putchar('}');
        } else {
            printf("  %-32s %-5s %s\n", safetensors_name(st, i), type, shape_text(s, text, sizeof text));
        }
    }
    if (json)
        printf("],\"numbers\":%lld}\n", (long long)numbers);
    else
        printf("%d tensors, %lld numbers\n", safetensors_count(st), (long long)numbers);
}

static int inspect_safetensors(const struct context *cx, const char *path, struct fail *why)
{
    struct safetensors *st = NULL;
    void *bytes = NULL;
    size_t size;
    int rc = read_whole(path, &bytes, &size, why);
    if (!rc)
        rc = safetensors_parse(&st, path, bytes, size, why);
    if (!rc)
        print_tensors(st, cx->json);
    safetensors_free(&st);
    free(bytes);
    return rc;
}

/* ---- record files ---- */

static int inspect_records(const struct context *cx, const char *path, struct fail *why)
{
    struct container *c = NULL;
    struct span value;
    struct fail bad = {0};
    int64_t records = 0, bytes = 0, refused = 0;
    char size[32];
    int rc = container_open(&c, path, NULL, why);
    while (!rc && (rc = container_next(c, &value, why)) == 1) {
        struct fail one;
        rc = command_stop ? fail(why, E_INTERRUPTED, "%s: stopped", path) : 0;
        records++;
        bytes += (int64_t)value.size;
        if (container_type(c)->validate(value, &one) && !refused++)
            bad = one;
    }
    if (!rc && cx->json)
        printf("{\"kind\":\"records\",\"type\":\"%s\",\"version\":%d,\"records\":%lld,\"bytes\":%lld,"
               "\"refused\":%lld}\n",
               container_type(c)->name, container_version(c), (long long)records, (long long)bytes,
               (long long)refused);
    else if (!rc)
        printf("%lld %s records (schema version %d), %s\n", (long long)records, container_type(c)->name,
               container_version(c), text_bytes((double)bytes, size, sizeof size));
    if (!rc && refused)
        fprintf(stderr, "%lld would be refused; the first: %s: %s\n", (long long)refused, fail_name(bad.code),
                bad.text);
    container_close(&c);
    return rc;
}

/* ---- data ---- */

static void print_classes(const struct rows *r)
{
    enum { SHOWN = 16 };
    int64_t of[SHOWN] = {0}, others = 0;
    for (int64_t i = 0; i < r->count; i++) {
        if (r->labels[i] >= 0 && r->labels[i] < SHOWN)
            of[r->labels[i]]++;
        else
            others++;
    }
    printf("labels      ");
    for (int i = 0; i < SHOWN; i++)
        if (of[i])
            printf(" %d: %lld", i, (long long)of[i]);
    if (others)
        printf(" others: %lld", (long long)others);
    putchar('\n');
}

static int inspect_rows(const struct context *cx, const char *path, struct fail *why)
{
    struct rows r = {0};
    char shape[80], size[32];
    int rc = rows_read(&r, path, why);
    if (rc)
        return rc;
    if (cx->json) {
        printf(
            "{\"kind\":\"rows\",\"rows\":%lld,\"dtype\":\"%s\",\"labels\":%s,\"target_size\":%lld,\"shape\":",
            (long long)r.count, dtype_name(r.dtype), r.labels ? "true" : "false",
            (long long)(r.targets ? r.target_size : 0));
        print_shape_json(r.row_shape);
        puts("}");
    } else {
        printf("%lld rows of %s %s, %s\n", (long long)r.count, dtype_name(r.dtype),
               shape_text(r.row_shape, shape, sizeof shape),
               text_bytes((double)r.row_size * (double)r.count, size, sizeof size));
        if (r.labels)
            print_classes(&r);
        if (r.targets)
            printf("targets      %lld numbers a row\n", (long long)r.target_size);
    }
    rows_close(&r);
    return rc;
}

/* ---- which is which ---- */

static const struct {
    const char *ending;
    int (*inspect)(const struct context *cx, const char *path, struct fail *why);
} kinds[] = {
    {".onnx", inspect_network}, {".yaml", inspect_network},
    {".yml", inspect_network},  {".safetensors", inspect_safetensors},
    {".avro", inspect_records},
};

static int run(const struct context *cx, struct fail *why)
{
    const char *path = cx->argv[0];
    const struct options *o = cx->options;
    size_t n = strlen(path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t m = strlen(kinds[i].ending);
        if (n < m || strcmp(path + n - m, kinds[i].ending) != 0)
            continue;
        if (o->plan && (cx->json || kinds[i].inspect != inspect_network))
            return fail(why, E_USAGE, "--plan is for networks (.onnx, .yaml) and prints words, no JSON");
        return kinds[i].inspect(cx, path, why);
    }
    if (o->plan)
        return fail(why, E_USAGE, "--plan is for networks: .onnx and .yaml");
    return inspect_rows(cx, path, why);
}

const struct command command_inspect = {
    .name = "inspect",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "a model, checkpoint, record or data file in words",
    .text =
        "FILE by its extension: networks .onnx and .yaml, tensors .safetensors, records .avro, data .npy,\n"
        ".npz, MNIST idx (also .gz), CIFAR-10 .bin.",
    .options = options,
    .options_size = sizeof(struct options),
    .run = run,
};
