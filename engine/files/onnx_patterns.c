/* Functions that ONNX has no operator for, written as several nodes: one row a function, read and written by the
 * same text. Matching runs before the nodes are imported, from each node that may be the last of a pattern.
 * Next to read: onnx_activations.c, where a match becomes a layer. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/onnx.h"

/* x is the input; what PyTorch writes where there is a choice. */
static const struct onnx_pattern patterns[] = {
    {"silu", MAP_SILU, "Mul(x,Sigmoid(x))"},
    {"gelu", MAP_GELU, "Mul(Mul(x,Add(Erf(Div(x,1.41421354)),1)),0.5)"},
    {"gelu", MAP_GELU_TANH,
     "Mul(0.5,Mul(x,Add(1,Tanh(Mul(0.797884583,Add(x,Mul(0.044715,Mul(x,Mul(x,x)))))))))"},
    {"hard_swish", MAP_HARD_SWISH, "Div(Mul(x,Clip(Add(x,3),0,6)),6)"},
};
enum { PATTERNS = sizeof patterns / sizeof patterns[0], OPERATOR_MOST = 16, NODES_MOST = 12 };

/* The name of an operator at *text, which moves behind the bracket; false when there is none. */
static bool read_operator(const char **text, char name[OPERATOR_MOST])
{
    size_t n = strcspn(*text, "(,)");
    if ((*text)[n] != '(' || n >= OPERATOR_MOST)
        return false;
    memcpy(name, *text, n);
    name[n] = 0;
    *text += n + 1;
    return true;
}

/* Moves behind one term: x, a number, or an operator with its terms. */
static const char *skip_term(const char *text)
{
    int depth = 0;
    for (; *text; text++) {
        depth += *text == '(';
        if (!depth && (*text == ',' || *text == ')'))
            break;
        depth -= *text == ')';
    }
    return text;
}

/* ---- reading ---- */

struct match {
    const struct onnx_reader *r;
    const struct onnx_value *x; /* NULL: not met yet */
    int x_uses;
    int inner[NODES_MOST], count; /* nodes that belong to the pattern, but the last */
};

static const Onnx__NodeProto *producer(const struct match *m, const struct onnx_value *v)
{
    return v && v->producer >= 0 ? m->r->model->graph->node[v->producer] : NULL;
}

static bool match_number(const struct match *m, const struct onnx_value *v, const char *text)
{
    const Onnx__TensorProto *t = v ? v->tensor : NULL;
    const Onnx__NodeProto *n = producer(m, v);
    const Onnx__AttributeProto *a =
        n && !strcmp(onnx_text(n->op_type), "Constant") ? onnx_attribute(n, "value") : NULL;
    struct onnx_value constant = {.tensor = a ? a->t : t};
    float number;
    double want = strtod(text, NULL);
    return constant.tensor && !onnx_want_float(&constant, "", &number, NULL) &&
           fabs((double)number - want) <= 1e-5 * fabs(want);
}

static bool match_term(struct match *m, const struct onnx_value *v, const char *text);

static bool match_operands(struct match *m, const Onnx__NodeProto *n, const char *text, bool turned)
{
    for (size_t i = 0;; i++) {
        size_t at = turned ? 1 - i : i;
        if (i >= n->n_input || !match_term(m, onnx_input(m->r, n, at), text))
            return false;
        text = skip_term(text);
        if (*text++ == ')')
            return i + 1 == n->n_input;
    }
}

/* The operands as they stand, or turned where that means the same. */
static bool match_node(struct match *m, const Onnx__NodeProto *n, const char *text)
{
    char name[OPERATOR_MOST];
    struct match before = *m;
    if (!n || !read_operator(&text, name) || strcmp(name, onnx_text(n->op_type)) || *onnx_text(n->domain))
        return false;
    if (match_operands(m, n, text, false))
        return true;
    *m = before;
    bool turns = !strcmp(name, "Add") || !strcmp(name, "Mul");
    return turns && n->n_input == 2 && match_operands(m, n, text, true);
}

static bool match_term(struct match *m, const struct onnx_value *v, const char *text)
{
    if (!v)
        return false;
    if (*text == 'x') {
        m->x_uses++;
        if (!m->x)
            m->x = v;
        return m->x == v;
    }
    if (!isupper((unsigned char)*text))
        return match_number(m, v, text);
    if (v->uses != 1 || m->count == NODES_MOST || !match_node(m, producer(m, v), text))
        return false;
    m->inner[m->count++] = v->producer;
    return true;
}

int onnx_find_patterns(struct onnx_reader *r, struct fail *why)
{
    const Onnx__GraphProto *g = r->model->graph;
    if (!(r->patterns = calloc(g->n_node + 1, sizeof *r->patterns)))
        return fail(why, E_MEMORY, "%s: no memory for its graph", r->file);
    for (size_t i = 0; i < g->n_node; i++)
        for (int p = 0; p < PATTERNS && r->needed[i] && !r->patterns[i].pattern; p++) {
            struct match m = {.r = r};
            if (!match_node(&m, g->node[i], patterns[p].text) || !m.x)
                continue;
            r->patterns[i] = (struct onnx_match){&patterns[p], onnx_find(r, m.x->name)};
            r->patterns[i].x->uses -= m.x_uses - 1;
            for (int k = 0; k < m.count; k++)
                r->needed[m.inner[k]] = false;
        }
    return 0;
}

/* ---- writing ---- */

static const char *write_term(struct onnx_writer *w, int layer, const char *part, const char *x,
                              const char **text, bool last);

static const char *write_node(struct onnx_writer *w, int layer, const char *part, const char *x,
                              const char **text, bool last)
{
    char name[OPERATOR_MOST] = "";
    const char *inputs[4], *own;
    size_t count = 0;
    read_operator(text, name);
    do
        inputs[count++] = write_term(w, layer, part, x, text, false);
    while (*(*text)++ == ',');
    own = last ? part : onnx_format(w, "%s/%s%d", part, name, (int)strlen(*text));
    Onnx__NodeProto *n = own ? onnx_node(w, layer, own, name, last) : NULL;
    for (size_t i = 0; i < count; i++)
        onnx_node_input(w, n, inputs[i]);
    return n ? n->output[0] : NULL;
}

static const char *write_term(struct onnx_writer *w, int layer, const char *part, const char *x,
                              const char **text, bool last)
{
    if (isupper((unsigned char)**text))
        return write_node(w, layer, part, x, text, last);
    const char *term = *text;
    *text = skip_term(term);
    if (*term == 'x')
        return x;
    const char *name = onnx_format(w, "%s/%d", part, (int)strlen(*text));
    return name ? onnx_scalar(w, layer, name, strtof(term, NULL)) : NULL;
}

bool onnx_write_pattern(struct onnx_writer *w, int layer, const char *part, const char *x, enum map_fn fn)
{
    for (int p = 0; p < PATTERNS; p++)
        if (patterns[p].fn == fn) {
            const char *text = patterns[p].text;
            write_term(w, layer, part, x, &text, true);
            return true;
        }
    return false;
}
