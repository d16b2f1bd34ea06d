/* A plan: what the layers recorded, as an array of steps over placed tensors. Made once by net_open, run by
 * the backend, a pure function of shapes, rows and settings. Internal to the engine and its tests. */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include <stdio.h>

#include "engine/backend_ops.h"
#include "engine/layer.h"

/* Which block of memory a value lies in. */
enum store {
    STORE_ACTIVATION, /* placed by first and last use */
    STORE_INPUT,
    STORE_OUTPUT,
    STORE_PARAM,
    STORE_STATE,
    STORE_GRADIENT, /* of a parameter: zeroed by the caller, added to by steps */
    STORE_CHOICE,   /* of NET_EXPLAIN nets: which output, a number a row */
    STORE_DINPUT,   /* of NET_EXPLAIN nets: the input's gradient */
    STORE_BYTES,    /* the input as UINT8: its elements are bytes */
    STORE_TABLE,    /* what they become */
    STORES
};

struct plan_value {
    struct shape row; /* of one row, or of the whole parameter */
    enum store store;
    size_t at;                /* elements into the store; of activations: into a thread's piece */
    int64_t size;             /* elements (of one row) */
    int alias;                /* id of the value whose memory this is; 0: its own */
    int writers, first, last; /* when it is written and read, in plan time */
    bool crosses;             /* lives in several segments: holds all rows of a shard */
    int rows;                 /* that it holds */
};

struct step {
    enum op op;
    struct value out[OP_OUT], in[OP_IN];
    struct geometry g;
    int64_t row;
    bool add;
    int node;
    int rows; /* at a time; neighbours with as many are a segment */
};

struct plan {
    struct plan_value *values; /* [0] is "none" */
    int value_count, value_capacity;
    struct step *steps; /* forward ones first */
    int count, capacity;
    int forward; /* number of forward steps */
    struct value input, output, doutput;
    int64_t activations; /* elements for each thread, with reuse */
    int rows;            /* of a shard: that crossing values hold, for each thread */
    int lanes;           /* 1: rows one behind another; 16: activations lie as [N/16][C][H][W][16] */
    bool starved;        /* a pass had no memory: another plan than this machine's own must not be used */
};

/* The stores' addresses. Activations and scratch have one piece for each thread, `piece` elements and bytes
 * apart. */
struct memory {
    void *store[STORES];
    size_t activation_piece, scratch_piece;
    void *scratch;
};

/* Rows that go through a step at a time: `rows` from begin on of the shard that begins at row `shard`, with the
 * memory of `thread`. */
struct piece {
    int thread, shard, begin, rows;
};

/* Which steps to run over how many rows, and dropout's seeds. */
struct span {
    int begin, end, rows;
    uint64_t seed, step;
    int64_t first_row;
};

struct recorder {
    struct plan *plan;
    bool training;
    int node;
    int rc; /* the first failure; recording goes on without effect */
    struct fail *why;
};

/* ---- recording ---- */
struct value plan_value(struct recorder *r, struct shape row, enum store store, size_t at);
/* Appends a step unless nobody wants its outputs. A first writer of the first output that is wanted assigns, later
 * ones add; sums into parameter gradients always add. NULL: not appended. */
struct step *plan_record(struct recorder *r, enum op op, const struct value outs[OP_OUT],
                         const struct value in[OP_IN], const struct geometry *g);

/* ---- passes, in this order ---- */
void plan_drop_unread(struct plan *p);
void plan_join(struct plan *p); /* plan_join.c */
void plan_alias_copies(struct plan *p);
void plan_choose(struct plan *p, const struct backend *be); /* Winograd or direct; needs rows */
void plan_join_pools(struct plan *p);                       /* plan_join.c */
void plan_join_inverted(struct plan *p);
void plan_segment(struct plan *p, bool shards); /* false: every step takes all rows */
int plan_place(struct plan *p, struct fail *why);

void plan_keep(struct plan *p, const bool *keep);    /* takes out the steps for which it is false */
int plan_readers(const struct plan *p, int id);      /* how many times steps read it, under any name */
int plan_root(const struct plan *p, struct value v); /* whose memory it is */
/* The end of the segment that begins at step `begin`, `end` at most. */
int plan_segment_end(const struct plan *p, int begin, int end);

/* Every operation must be in the backend: E_UNSUPPORTED names the layer and the backend. */
/* The kernels for the plan's lanes. */
const struct kernel *plan_kernels(const struct plan *p, const struct backend *be);
int plan_check(const struct plan *p, const struct backend *be, const struct graph *g, struct fail *why);
size_t plan_scratch(const struct plan *p, const struct backend *be);

/* Addresses of a step for a piece of the rows. */
void plan_call(const struct plan *p, const struct step *s, const struct memory *m, const struct span *span,
               size_t element, const struct piece *piece, struct call *c);
/* One step after another over all rows, for backends with nothing better. */
void plan_run(struct backend *be, const struct plan *p, const struct memory *m, const struct span *s);

/* ---- plan_print.c ---- */
double
plan_step_flops(const struct step *s); /* multiplications and additions of a row; 0: too few to count */
const char *plan_store_name(enum store store);
const char *plan_bytes_text(double bytes, char *out, size_t size); /* "1.2 MiB"; returns out */
/* For people: steps with kernels, shapes, arithmetic and memory. */
void plan_print(const struct plan *p, const struct graph *g, const struct backend *be, FILE *out);
/* All that decides bits, for the plan's digest. */
void plan_list(const struct plan *p, const struct graph *g, FILE *out);

void plan_free(struct plan *p);

#endif
