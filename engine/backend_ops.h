/* What a backend is made of: memory, and a kernel for each operation. Known to plan.c, net.c, optim.c and
 * the backends; everybody else opens one through backend.h.
 * A backend is a folder with one `const struct backend_ops` and a line in backend.c. */
#ifndef ENGINE_BACKEND_OPS_H
#define ENGINE_BACKEND_OPS_H

#include "engine/backend.h"
#include "engine/op.h"

struct plan;
struct memory;
struct span;

/* One operation with its addresses: what a kernel gets. Tensors are rows one behind another, a row in C
 * order; a tensor that is not wanted or not there is NULL. Outputs and inputs never overlap. */
struct call {
    void *out[OP_OUT];
    const void *in[OP_IN];
    const struct geometry *g;
    int64_t row; /* elements in a row of out[0] */
    int rows;
    bool add;            /* add to out[0] (and [1] of *_DW), else assign */
    uint64_t seed, step; /* of dropout's mask, with */
    int64_t first_row;   /* row 0's place in the optimiser step */
};

/* One row of inverted_residual as calls of conv, for backends that do one after the other. */
struct three_convs {
    struct geometry g[3];
    struct call call[3];
    int count; /* two without a projection */
};
/* scratch: three_convs_scratch(c->g) elements for what lies between. `three` holds what its calls point to. */
void three_convs(struct three_convs *three, const struct call *c, int64_t n, void *scratch, size_t element);
size_t three_convs_scratch(const struct geometry *g);

/* Work of a kernel falls into items that may be computed in any order and by any thread with the same bits:
 * rows or parts of them, except in sums over rows, where it is slices of what is summed into. A run takes neighbours,
 * however many. */
struct kernel {
    void (*run)(const struct call *c, int64_t begin, int64_t end, void *scratch);
    int64_t (*items)(const struct call *c);      /* NULL: rows */
    size_t (*scratch)(const struct geometry *g); /* bytes for each thread; NULL: none */
};

struct backend_ops {
    const char *name;
    size_t element; /* bytes of a number: 4, or 8 in the double build of ref */
    bool host;      /* its memory is the host's float32: nothing to upload */
    bool joins;     /* conv and dense add a residual and apply g->map */
    bool halves;    /* conv keeps the largest of 2x2 results */
    int shard_rows; /* inference runs all steps on so many rows at a time; 0: on all */
    int (*open)(struct backend *be, const struct backend_options *o, struct fail *why);
    void (*close)(struct backend *be);
    void *(*alloc)(struct backend *be, size_t elements, struct fail *why); /* zeroed, 64-byte aligned */
    void (*free)(struct backend *be, void *memory);
    /* Host memory that upload and download need not wait for. NULL: plain memory. */
    void *(*host_alloc)(struct backend *be, size_t bytes, struct fail *why);
    void (*host_free)(struct backend *be, void *memory);
    /* Both may return before they are done where the memory is host_alloc's: it is the backend's until sync. */
    void (*upload)(struct backend *be, void *to, const float *from, int64_t n);
    void (*upload_bytes)(struct backend *be, void *to, const unsigned char *from, int64_t n); /* NULL: host */
    void (*download)(struct backend *be, float *to, const void *from, int64_t n);
    void (*zero)(struct backend *be, void *at, int64_t elements);
    const struct kernel *kernels; /* [OPS]; run NULL: not there */
    /* Kernels at sixteen lanes on this machine, for plans all of whose operations are among them. NULL: none. */
    const struct kernel *(*lane_kernels)(const struct backend *be);
    /* One operation over all its rows. */
    void (*run)(struct backend *be, enum op op, const struct call *c, void *scratch);
    /* Steps of a plan in order. */
    void (*steps)(struct backend *be, const struct plan *plan, const struct memory *m, const struct span *s);
    /* Waits, and reports the first error since the last sync. NULL: kernels are done when they return. */
    int (*sync)(struct backend *be, struct fail *why);
    bool (*use)(const struct backend *be, struct backend_use *use); /* any thread; NULL: not known */
};

struct backend {
    const struct backend_ops *ops;
    int threads;
    void *context;        /* the backend's own */
    void *plugin;         /* the library that ops come from; NULL: this program */
    char text[512];       /* for logs */
    char arithmetic[128]; /* what decides bits: libraries, instruction set; part of a plan's digest */
};

/* ---- plugins: a backend in a library of its own, made from the same sources ---- */

/* Differs between sources whose structures differ. */
static inline uint64_t backend_abi(void)
{
    const size_t sizes[] = {sizeof(struct backend_ops),
                            sizeof(struct backend),
                            sizeof(struct call),
                            sizeof(struct geometry),
                            OPS,
                            MAP_FNS,
                            sizeof(struct fail)};
    uint64_t abi = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        abi = abi * 1000003 + sizes[i];
    return abi;
}

/* What such a library has under the name BACKEND_ENTRY. NULL: made from other sources. */
#define BACKEND_ENTRY "millrace_backend"
typedef const struct backend_ops *backend_entry(uint64_t abi);

#endif
