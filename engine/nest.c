/* Making loop nests of shapes; nest.h says what they are. */
#include "engine/nest.h"

struct nest nest_over(struct shape s)
{
    struct nest n = {.rank = s.rank, .kept = s.rank};
    for (int d = 0; d < s.rank; d++)
        n.dim[d] = s.dim[d];
    return n;
}

struct nest_operand nest_broadcast(struct shape s, struct shape over)
{
    struct nest_operand o = {.row = shape_size(s)};
    int64_t stride = 1;
    for (int d = s.rank - 1; d >= 0; d--) {
        o.stride[d + over.rank - s.rank] = s.dim[d] == 1 ? 0 : stride;
        stride *= s.dim[d];
    }
    return o;
}

bool nest_common(struct shape a, struct shape b, struct shape *out)
{
    int rank = a.rank > b.rank ? a.rank : b.rank;
    *out = (struct shape){.rank = rank};
    for (int d = 0; d < rank; d++) {
        int64_t x = d < rank - a.rank ? 1 : a.dim[d - (rank - a.rank)];
        int64_t y = d < rank - b.rank ? 1 : b.dim[d - (rank - b.rank)];
        if (x != y && x != 1 && y != 1)
            return false;
        out->dim[d] = x == 1 ? y : x;
    }
    return true;
}

/* The operands of a nest by number. */
static struct nest_operand *operand(struct nest *n, int i)
{
    return i ? &n->in[i - 1] : &n->out;
}

static void set_dim(struct nest *n, int d, const struct nest *from, int e)
{
    struct nest copy = *from; /* operand() takes no const */
    n->dim[d] = copy.dim[e];
    for (int i = 0; i <= NEST_INPUTS; i++)
        operand(n, i)->stride[d] = operand(&copy, i)->stride[e];
}

void nest_sum(struct nest *n, const bool *sum)
{
    struct nest was = *n;
    int d = 0;
    for (int e = 0; e < was.rank; e++)
        if (!sum[e])
            set_dim(n, d++, &was, e);
    n->kept = d;
    for (int e = 0; e < was.rank; e++)
        if (sum[e])
            set_dim(n, d++, &was, e);
}

/* Do all operands walk dimension e right after the last of d? */
static bool follow(struct nest *n, int d, int e)
{
    for (int i = 0; i <= NEST_INPUTS; i++)
        if (operand(n, i)->stride[d] != operand(n, i)->stride[e] * n->dim[e])
            return false;
    return true;
}

/* Appends dimensions from..to-1 of `was`, joined where they can be; at least one. */
static void append(struct nest *n, struct nest *was, int from, int to)
{
    int first = n->rank;
    for (int e = from; e < to; e++) {
        if (was->dim[e] == 1)
            continue;
        set_dim(n, n->rank, was, e);
        if (n->rank > first && follow(n, n->rank - 1, n->rank)) {
            int64_t joined = n->dim[n->rank - 1] * n->dim[n->rank];
            set_dim(n, n->rank - 1, was, e);
            n->dim[n->rank - 1] = joined;
        } else
            n->rank++;
    }
    if (n->rank == first) {
        n->dim[n->rank] = 1;
        for (int i = 0; i <= NEST_INPUTS; i++)
            operand(n, i)->stride[n->rank] = 0;
        n->rank++;
    }
}

void nest_merge(struct nest *n)
{
    struct nest was = *n;
    n->rank = 0;
    append(n, &was, 0, was.kept);
    n->kept = n->rank;
    append(n, &was, was.kept, was.rank);
}
