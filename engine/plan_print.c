/* A plan in text: for people, with shapes, kernels, arithmetic and memory, and as the list that a plan's digest is
 * made of, with all that decides bits. Making plans is plan.c. */
#include <string.h>

#include "engine/plan.h"

enum { TEXT = 160 };

/* ---- arithmetic ---- */

static double window_flops(const struct window *w)
{
    return 2.0 * w->K * w->P * w->Q * (w->C / w->groups) * w->R * w->S;
}

double plan_step_flops(const struct step *s)
{
    switch (s->op) {
    case OP_CONV:
    case OP_CONV_DX:
    case OP_CONV_DW:
    case OP_WINOGRAD:
    case OP_WINOGRAD_DX:
    case OP_WINOGRAD_DW:
        return window_flops(&s->g.window);
    case OP_INVERTED:
        return window_flops(&s->g.window) + window_flops(&s->g.inverted.depth) +
               (s->in[5].id ? window_flops(&s->g.inverted.project) : 0);
    case OP_DENSE:
    case OP_DENSE_DX:
    case OP_DENSE_DW:
        return 2.0 * (double)s->g.dense.in * (double)s->g.dense.out;
    default:
        return 0; /* a few for each value: memory is what these cost */
    }
}

/* ---- words ---- */

static const char *const functions[] = {
    [MAP_RELU] = "relu",
    [MAP_TANH] = "tanh",
    [MAP_SIGMOID] = "sigmoid",
    [MAP_RELU6] = "relu6",
    [MAP_HARD_SWISH] = "hard_swish",
    [MAP_GELU] = "gelu",
    [MAP_GELU_TANH] = "gelu_tanh",
    [MAP_SOFTPLUS] = "softplus",
    [MAP_SILU] = "silu",
    [MAP_LEAKY_RELU] = "leaky_relu",
    [MAP_ELU] = "elu",
    [MAP_CLIP] = "clip",
    [MAP_HARD_SIGMOID] = "hard_sigmoid",
    [MAP_EXP] = "exp",
    [MAP_LOG] = "log",
    [MAP_SQRT] = "sqrt",
    [MAP_ABS] = "abs",
    [MAP_NEG] = "neg",
};
_Static_assert(sizeof functions / sizeof *functions == MAP_FNS, "a name for every function");

static const char *const stores[] = {
    [STORE_ACTIVATION] = "activations",
    [STORE_INPUT] = "input",
    [STORE_OUTPUT] = "output",
    [STORE_PARAM] = "parameters",
    [STORE_STATE] = "state",
    [STORE_GRADIENT] = "gradients",
    [STORE_CHOICE] = "choice",
    [STORE_DINPUT] = "input's gradient",
    [STORE_BYTES] = "input's bytes",
    [STORE_TABLE] = "table",
};
_Static_assert(sizeof stores / sizeof *stores == STORES, "a name for every store");

const char *plan_store_name(enum store store)
{
    return stores[store];
}

const char *plan_bytes_text(double bytes, char *out, size_t size)
{
    if (bytes < 1024)
        snprintf(out, size, "%.0f B", bytes);
    else if (bytes < 1024 * 1024)
        snprintf(out, size, "%.1f KiB", bytes / 1024);
    else
        snprintf(out, size, "%.1f MiB", bytes / (1024 * 1024));
    return out;
}

/* "winograd + relu", "conv_dw +=": the kernel, what is joined to it, and whether it adds to what is there. */
static void kernel_text(const struct step *s, char *out, size_t size)
{
    bool alone = s->op == OP_MAP || s->op == OP_MAP_BACK, mapped = s->g.map.fn != MAP_IDENTITY;
    bool conv = s->op == OP_CONV || s->op == OP_WINOGRAD || s->op == OP_DENSE;
    snprintf(out, size, "%s%s%s%s", op_name(s->op),
             (conv && s->in[3].id) || (s->op == OP_INVERTED && s->in[7].id) ? " + residual" : "",
             !mapped ? ""
             : alone ? " "
                     : " + ",
             mapped ? functions[s->g.map.fn] : "");
    if ((s->op == OP_CONV || s->op == OP_WINOGRAD) && s->g.window.halve)
        strncat(out, " + maxpool", size - strlen(out) - 1);
    if (s->add)
        strncat(out, " +=", size - strlen(out) - 1);
}

/* Tensors of a step, "3x32x32, 6x3x5x5, 6": the shape of a row, or of a whole parameter. */
static const char *values_text(const struct plan *p, const struct value *v, int count, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (int k = 0; k < count; k++) {
        const struct shape *s = &p->values[v[k].id].row;
        for (int d = 0; v[k].id && d < s->rank && used + 24 < size; d++)
            used += (size_t)snprintf(out + used, size - used, "%s%lld",
                                     d      ? "x"
                                     : used ? ", "
                                            : "",
                                     (long long)s->dim[d]);
    }
    return out;
}

/* Bytes that the step's results take in a thread's piece of the activations. */
static double result_bytes(const struct plan *p, const struct step *s, size_t element)
{
    double bytes = 0;
    for (int k = 0; k < OP_OUT; k++) {
        const struct plan_value *v = &p->values[plan_root(p, s->out[k])];
        if (s->out[k].id && v->store == STORE_ACTIVATION)
            bytes += (double)v->size * v->rows * (double)element;
    }
    return bytes;
}

/* What the step reads again and again for all rows. */
static double weight_bytes(const struct plan *p, const struct step *s, size_t element)
{
    double bytes = 0;
    for (int k = 0; k < OP_IN; k++) {
        const struct plan_value *v = &p->values[s->in[k].id];
        if (s->in[k].id && (v->store == STORE_PARAM || v->store == STORE_STATE))
            bytes += (double)v->size * (double)element;
    }
    return bytes;
}

static const char *lanes_text(const struct plan *p, const struct step *s, char *out, size_t size)
{
    int before = s->op == OP_TO_LANES || s->op == OP_BYTES ? 1 : p->lanes,
        after = s->op == OP_FROM_LANES ? 1 : p->lanes;
    snprintf(out, size, before == after ? "%d" : "%d>%d", before, after);
    return out;
}

static void print_step(const struct plan *p, int i, const struct graph *g, const struct backend *be,
                       FILE *out)
{
    const struct step *s = &p->steps[i];
    const struct kernel *k = &plan_kernels(p, be)[s->op];
    char kernel[64], in[TEXT], to[TEXT], flops[32] = "-", result[32], weights[32], scratch[32], lanes[32];
    size_t element = be->ops->element;
    kernel_text(s, kernel, sizeof kernel);
    if (plan_step_flops(s) > 0)
        snprintf(flops, sizeof flops, "%.6f", plan_step_flops(s) / 1e9);
    fprintf(out, "%4d  %-18s  %-24s  %5s  %11s  %10s  %10s  %10s  %s -> %s\n", i, g->nodes[s->node].name,
            kernel, lanes_text(p, s, lanes, sizeof lanes), flops,
            plan_bytes_text(weight_bytes(p, s, element), weights, sizeof weights),
            plan_bytes_text(result_bytes(p, s, element), result, sizeof result),
            plan_bytes_text(k->scratch ? (double)k->scratch(&s->g) : 0, scratch, sizeof scratch),
            values_text(p, s->in, OP_IN, in, sizeof in), values_text(p, s->out, OP_OUT, to, sizeof to));
}

void plan_print(const struct plan *p, const struct graph *g, const struct backend *be, FILE *out)
{
    double flops = 0;
    fprintf(out, "%4s  %-18s  %-24s  %5s  %11s  %10s  %10s  %10s  %s\n", "step", "layer", "kernel", "lanes",
            "GFLOP a row", "weights", "result", "scratch", "shapes: of rows and of parameters");
    for (int begin = 0, end; begin < p->count; begin = end) {
        end = plan_segment_end(p, begin, p->count);
        fprintf(out, "      %d rows at a time:\n", p->steps[begin].rows);
        for (int i = begin; i < end; i++) {
            print_step(p, i, g, be, out);
            flops += plan_step_flops(&p->steps[i]);
        }
    }
    fprintf(out, "      %d steps, %.6f GFLOP a row\n", p->count, flops / 1e9);
}

/* ---- the list ---- */

static void list_values(const struct plan *p, const struct value *v, int count, FILE *out)
{
    char text[TEXT];
    for (int k = 0; k < count; k++) {
        const struct plan_value *named = &p->values[v[k].id], *held = &p->values[plan_root(p, v[k])];
        if (v[k].id)
            fprintf(out, " %d:%s %s@%zu", k, stores[held->store], shape_text(named->row, text, sizeof text),
                    held->at);
    }
}

static void list_window(const struct window *w, FILE *out)
{
    fprintf(
        out, ", window %d %d %d %d by %d %d, stride %d %d, padding %d %d %d %d, dilation %d %d, groups %d%s",
        w->K, w->P, w->Q, w->C, w->R, w->S, w->stride_h, w->stride_w, w->pad_top, w->pad_left, w->pad_bottom,
        w->pad_right, w->dilation_h, w->dilation_w, w->groups, w->count_padding ? ", counted" : "");
}

static void list_map(const struct map *map, FILE *out)
{
    fprintf(out, ", map %d %a %a", map->fn, (double)map->a, (double)map->b);
}

void plan_list(const struct plan *p, const struct graph *g, FILE *out)
{
    for (int i = 0; i < p->count; i++) {
        const struct step *s = &p->steps[i];
        fprintf(out, "%d %s %s by %d rows:", i, g->nodes[s->node].name, op_name(s->op), s->rows);
        list_values(p, s->out, OP_OUT, out);
        fputs(s->add ? " +=" : " =", out);
        list_values(p, s->in, OP_IN, out);
        if (plan_step_flops(s) > 0 && s->op != OP_DENSE && s->op != OP_DENSE_DX && s->op != OP_DENSE_DW)
            list_window(&s->g.window, out);
        if (s->op == OP_INVERTED) {
            list_map(&s->g.inverted.expanded, out);
            list_window(&s->g.inverted.depth, out);
            list_map(&s->g.inverted.filtered, out);
            list_window(&s->g.inverted.project, out);
        }
        list_map(&s->g.map, out);
        fputc('\n', out);
    }
}
