/* Backend "cpu" at one lane: NCHW, convolution and dense through OpenBLAS. Opening, memory, and how threads
 * share a plan's steps: training goes step by step, each split into items; inference gives every thread
 * shards of rows, which it takes through all steps while they are in its cache.
 * Next to read: conv.c. */
#include "engine/cpu/cpu.h"

#include <cblas.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cpu/pool.h"
#include "engine/plan.h"

enum { SHARD_ROWS = 16, PIECE_ROWS = 4 };

static const struct kernel kernels[OPS] = {
    [OP_CONV] = {cpu_conv, NULL, cpu_conv_scratch},
    [OP_CONV_DX] = {cpu_conv_dx, NULL, cpu_conv_scratch},
    [OP_CONV_DW] = {cpu_conv_dw, cpu_conv_slices, cpu_conv_scratch},
    [OP_DENSE] = {cpu_dense, NULL, NULL},
    [OP_DENSE_DX] = {cpu_dense_dx, NULL, NULL},
    [OP_DENSE_DW] = {cpu_dense_dw, cpu_dense_slices, NULL},
    [OP_MAXPOOL] = {cpu_maxpool, NULL, NULL},
    [OP_MAXPOOL_BACK] = {cpu_maxpool_back, NULL, NULL},
    [OP_AVGPOOL] = {cpu_avgpool, NULL, NULL},
    [OP_AVGPOOL_BACK] = {cpu_avgpool_back, NULL, NULL},
    [OP_MAP] = {cpu_map, NULL, NULL},
    [OP_MAP_BACK] = {cpu_map_back, NULL, NULL},
    [OP_COPY] = {cpu_copy, NULL, NULL},
    [OP_DROPOUT] = {cpu_dropout, NULL, NULL},
    [OP_SOFTMAX] = {cpu_softmax, NULL, NULL},
    [OP_SOFTMAX_BACK] = {cpu_softmax_back, NULL, NULL},
    [OP_CROSS_ENTROPY] = {cpu_cross_entropy, NULL, NULL},
    [OP_MSE] = {cpu_mse, NULL, NULL},
    [OP_LOG_LOSS] = {cpu_log_loss, NULL, NULL},
    [OP_SGD] = {cpu_sgd, cpu_update_slices, NULL},
};

static int usable_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

static int cpu_open(struct backend *be, int threads, struct fail *why)
{
    be->threads = threads ? threads : usable_cores();
    openblas_set_num_threads(1); /* the pool splits the work */
    const char *config = openblas_get_config();
    int version = (int)strcspn(config, " "); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." */
    if (config[version])
        version += 1 + (int)strcspn(config + version + 1, " ");
    snprintf(be->arithmetic, sizeof be->arithmetic, "cpu, %.*s %s", version, config, openblas_get_corename());
    snprintf(be->text, sizeof be->text, "cpu: %d thread%s, %.*s %s", be->threads, be->threads == 1 ? "" : "s",
             version, config, openblas_get_corename());
    return pool_open((struct pool **)&be->context, be->threads, why);
}

static void cpu_close(struct backend *be)
{
    pool_close((struct pool **)&be->context);
}

static void *cpu_alloc(struct backend *be, size_t elements, struct fail *why)
{
    void *memory = NULL;
    size_t bytes = elements * sizeof(float) + TENSOR_ALIGN;
    (void)be;
    if (elements > SIZE_MAX / 8 || posix_memalign(&memory, TENSOR_ALIGN, bytes)) {
        fail(why, E_MEMORY, "no memory for %.1f MB of tensors: lower max_rows or the batch size",
             (double)elements * sizeof(float) / 1e6);
        return NULL;
    }
    memset(memory, 0, bytes);
    return memory;
}

static void cpu_free(struct backend *be, void *memory)
{
    (void)be;
    free(memory);
}

static void cpu_upload(struct backend *be, void *to, const float *from, int64_t n)
{
    (void)be;
    if (n > 0)
        memcpy(to, from, (size_t)n * sizeof *from);
}

static void cpu_download(struct backend *be, float *to, const void *from, int64_t n)
{
    (void)be;
    if (n > 0)
        memcpy(to, from, (size_t)n * sizeof *to);
}

static void cpu_zero(struct backend *be, void *at, int64_t elements)
{
    (void)be;
    memset(at, 0, (size_t)elements * sizeof(float));
}

/* ---- one operation, its items shared ---- */

struct operation {
    const struct kernel *kernel;
    const struct call *call;
    char *scratch;
    size_t scratch_piece;
};

static void run_items(void *context, int thread, int64_t begin, int64_t end)
{
    const struct operation *o = context;
    o->kernel->run(o->call, begin, end, o->scratch + (size_t)thread * o->scratch_piece);
}

static void run_operation(struct backend *be, enum op op, const struct call *c, void *scratch,
                          size_t scratch_piece)
{
    struct operation o = {&kernels[op], c, scratch, scratch_piece};
    int64_t items = o.kernel->items ? o.kernel->items(c) : c->rows;
    pool_run(be->context, items, o.kernel->items ? 1 : PIECE_ROWS, run_items, &o);
}

static void cpu_run(struct backend *be, enum op op, const struct call *c, void *scratch)
{
    run_operation(be, op, c, scratch, 0); /* losses and updates: they use no scratch */
}

/* ---- a plan ---- */

struct sharded {
    const struct plan *plan;
    const struct memory *memory;
    const struct span *span;
};

/* Rows begin..end-1 through all steps. */
static void run_shards(void *context, int thread, int64_t begin, int64_t end)
{
    const struct sharded *s = context;
    char *scratch = (char *)s->memory->scratch + (size_t)thread * s->memory->scratch_piece;
    struct call c;
    for (int64_t first = begin; first < end; first += s->plan->rows) {
        int rows = (int)(end - first < s->plan->rows ? end - first : s->plan->rows);
        for (int i = s->span->begin; i < s->span->end; i++) {
            const struct step *step = &s->plan->steps[i];
            plan_call(s->plan, step, s->memory, s->span, sizeof(float), thread, (int)first, rows, &c);
            kernels[step->op].run(&c, 0, rows, scratch);
        }
    }
}

static void cpu_steps(struct backend *be, const struct plan *plan, const struct memory *m,
                      const struct span *s)
{
    if (plan->doutput.id == 0) { /* inference: every step goes by rows */
        struct sharded sharded = {plan, m, s};
        pool_run(be->context, s->rows, plan->rows, run_shards, &sharded);
        return;
    }
    struct call c;
    for (int i = s->begin; i < s->end; i++) {
        plan_call(plan, &plan->steps[i], m, s, sizeof(float), 0, 0, s->rows, &c);
        run_operation(be, plan->steps[i].op, &c, m->scratch, m->scratch_piece);
    }
}

const struct backend_ops cpu_backend = {
    .name = "cpu",
    .element = sizeof(float),
    .host = true,
    .joins = true,
    .shard_rows = SHARD_ROWS,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .zero = cpu_zero,
    .kernels = kernels,
    .run = cpu_run,
    .steps = cpu_steps,
};
