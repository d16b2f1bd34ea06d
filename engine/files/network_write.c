/* A graph as a network file, which network.c reads back as an equal graph. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/layer.h"

static char *print_to_text(const struct setting *s, const void *from)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    setting_print(s, from, true, out);
    return fclose(out) ? NULL : text;
}

/* The settings that differ from their defaults: "{filters: 6, kernel: 5}". */
static int write_settings(const struct graph_node *n, FILE *out, struct fail *why)
{
    const struct setting *table = n->type->settings;
    const char *comma = "";
    void *defaults = table ? calloc(1, n->type->settings_size) : NULL;
    int rc = 0;
    if (table && (!defaults || setting_defaults(table, defaults, why)))
        rc = fail(why, E_MEMORY, "no memory for settings");
    fputc('{', out);
    for (const struct setting *s = table; !rc && s && s->key; s++) {
        char *is = print_to_text(s, n->settings), *was = print_to_text(s, defaults);
        if (!is || !was)
            rc = fail(why, E_MEMORY, "no memory for settings");
        else if (!s->fallback || strcmp(is, was)) {
            fprintf(out, "%s%s: %s", comma, s->key, is);
            comma = ", ";
        }
        free(is);
        free(was);
    }
    fputs("}\n", out);
    if (defaults && !rc)
        setting_free(table, defaults);
    free(defaults);
    return rc;
}

/* In double quotes, so that any name is read back as it is. */
static void write_text(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        if ((unsigned char)*text < 0x20)
            fprintf(out, "\\x%02X", (unsigned char)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static int write_node(const struct graph *g, int index, FILE *out, struct fail *why)
{
    const struct graph_node *n = &g->nodes[index];
    fprintf(out, "  - %s: ", n->type->name);
    int rc = write_settings(n, out, why);
    fputs("    name: ", out);
    write_text(n->name, out);
    fputc('\n', out);
    if (n->input_count == 1 && n->inputs[0] == index - 1) /* the layer before, or the input for the first */
        return rc;
    fputs("    from: [", out);
    for (int i = 0; i < n->input_count; i++) {
        fputs(i ? ", " : "", out);
        write_text(n->inputs[i] == GRAPH_INPUT ? "input" : g->nodes[n->inputs[i]].name, out);
    }
    fputs("]\n", out);
    return rc;
}

static void write_head(const struct graph *g, FILE *out)
{
    char text[128];
    fputs("network: ", out);
    write_text(g->name, out);
    fprintf(out, "\ninput: %s\n", shape_text(g->input, text, sizeof text));
    for (int k = 0; g->channels_normalised && k < 2; k++) {
        fputs(k ? "std: [" : "mean: [", out);
        for (int i = 0; i < g->channels_normalised; i++)
            fprintf(out, "%s%.9g", i ? ", " : "", (double)(k ? g->std : g->mean)[i]);
        fputs("]\n", out);
    }
    if (*g->output)
        fprintf(out, "output: %s\n", g->output);
    if (!g->labels) {
        fprintf(out, "labels: %lld\n", (long long)shape_size(graph_output(g)));
        return;
    }
    fputs("labels: [", out);
    for (int i = 0; i < g->label_count; i++) {
        fputs(i ? ", " : "", out);
        write_text(g->labels[i], out);
    }
    fputs("]\n", out);
}

int network_write(const struct graph *g, const char *path, struct fail *why)
{
    FILE *out = fopen(path, "w");
    int rc = 0;
    if (!out)
        return fail(why, E_IO, "%s: %s", path, strerror(errno));
    write_head(g, out);
    fputs("layers:\n", out);
    for (int i = 0; !rc && i < g->count; i++)
        rc = write_node(g, i, out, why);
    if (ferror(out) && !rc)
        rc = fail(why, E_IO, "%s: %s", path, strerror(errno));
    if (fclose(out) && !rc)
        rc = fail(why, E_IO, "%s: %s", path, strerror(errno));
    return rc;
}
