/* Backend "cpu": at sixteen lanes (lanes_conv.h), or at one, NCHW, with convolution and dense through OpenBLAS,
 * for plans with an operation that has no sixteen. Opening, memory, and how threads share a plan's steps: training, and
 * inference on fewer blocks of rows than threads, go step by step, each split into items; other inference gives every thread
 * shards of rows, which it takes through all steps while they are in its cache.
 * Next to read: conv.c. */
#include "engine/cpu/cpu.h"

#include <cblas.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/cpu/lanes.h"
#include "engine/cpu/pool.h"
#include "engine/plan.h"
#include "engine/ref/updates.h"

enum { SHARD_ROWS = 64, LARGE_PAGE = 2 << 20 };

struct cpu {
    struct pool *pool;
    const struct kernel *lanes;
};

static const struct kernel kernels[OPS] = {
    [OP_CONV] = {cpu_conv, NULL, cpu_conv_forward_scratch},
    [OP_CONV_DX] = {cpu_conv_dx, NULL, cpu_conv_scratch},
    [OP_CONV_DW] = {cpu_conv_dw, cpu_conv_slices, cpu_conv_scratch},
    [OP_INVERTED] = {cpu_inverted, NULL, cpu_inverted_scratch},
    [OP_WINOGRAD] = {cpu_conv, NULL, cpu_conv_forward_scratch}, /* one lane knows one way */
    [OP_WINOGRAD_DX] = {cpu_conv_dx, NULL, cpu_conv_scratch},
    [OP_WINOGRAD_DW] = {cpu_conv_dw, cpu_conv_slices, cpu_conv_scratch},
    [OP_DENSE] = {cpu_dense, NULL, cpu_dense_scratch},
    [OP_DENSE_DX] = {cpu_dense_dx, NULL, NULL},
    [OP_DENSE_DW] = {cpu_dense_dw, cpu_dense_slices, NULL},
    [OP_MAXPOOL] = {cpu_maxpool, NULL, NULL},
    [OP_MAXPOOL_BACK] = {cpu_maxpool_back, NULL, NULL},
    [OP_AVGPOOL] = {cpu_avgpool, NULL, NULL},
    [OP_AVGPOOL_BACK] = {cpu_avgpool_back, NULL, NULL},
    [OP_NORM] = {cpu_batchnorm, NULL, NULL},
    [OP_NORM_TRAIN] = {cpu_batchnorm_train, cpu_channels, NULL},
    [OP_NORM_BACK] = {cpu_batchnorm_back, cpu_channels, NULL},
    [OP_MAP] = {cpu_map, NULL, NULL},
    [OP_MAP_BACK] = {cpu_map_back, NULL, NULL},
    [OP_COPY] = {cpu_copy, NULL, NULL},
    [OP_LRN] = {cpu_lrn, NULL, NULL},
    [OP_LRN_BACK] = {cpu_lrn_back, NULL, cpu_lrn_back_scratch},
    [OP_ZIP] = {cpu_zip, NULL, NULL},
    [OP_ZIP_BACK] = {cpu_zip_back, NULL, NULL},
    [OP_ZIP_DW] = {cpu_zip_dw, cpu_zip_slices, NULL},
    [OP_VIEW] = {cpu_view, NULL, NULL},
    [OP_REDUCE] = {cpu_reduce, NULL, NULL},
    [OP_REDUCE_BACK] = {cpu_reduce_back, NULL, NULL},
    [OP_TO_LANES] = {cpu_copy, NULL, NULL}, /* one lane is no change */
    [OP_FROM_LANES] = {cpu_copy, NULL, NULL},
    [OP_BYTES] = {cpu_bytes, NULL, NULL},
    [OP_PICK] = {cpu_pick, NULL, NULL},
    [OP_DROPOUT] = {cpu_dropout, NULL, NULL},
    [OP_SOFTMAX] = {cpu_softmax, NULL, NULL},
    [OP_SOFTMAX_BACK] = {cpu_softmax_back, NULL, NULL},
    [OP_CROSS_ENTROPY] = {cpu_cross_entropy, NULL, NULL},
    [OP_MSE] = {cpu_mse, NULL, NULL},
    [OP_LOG_LOSS] = {cpu_log_loss, NULL, NULL},
    UPDATE_KERNELS, /* what runs is the instruction set's own: cpu_run */
};

static int usable_cores(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < 1 ? 1 : n;
}

static int cpu_open(struct backend *be, const struct backend_options *o, struct fail *why)
{
    struct cpu *cpu = calloc(1, sizeof *cpu);
    const char *set;
    if (!cpu)
        return fail(why, E_MEMORY, "no memory for a backend");
    be->threads = o->threads ? o->threads : usable_cores();
    openblas_set_num_threads(1); /* the pool splits the work */
    const char *config = openblas_get_config();
    int version = (int)strcspn(config, " "); /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." */
    if (config[version])
        version += 1 + (int)strcspn(config + version + 1, " ");
    cpu->lanes = lanes_choose(&set);
    snprintf(be->arithmetic, sizeof be->arithmetic, "%s, %.*s %s, %s", be->ops->name, version, config,
             openblas_get_corename(), set);
    snprintf(be->text, sizeof be->text, "%s: %d thread%s, %.*s %s, %s", be->ops->name, be->threads,
             be->threads == 1 ? "" : "s", version, config, openblas_get_corename(), set);
    int rc = pool_open(&cpu->pool, be->threads, why);
    if (rc)
        free(cpu);
    else
        be->context = cpu;
    return rc;
}

static struct pool *pool_of(const struct backend *be)
{
    return ((struct cpu *)be->context)->pool;
}

static const struct kernel *cpu_lane_kernels(const struct backend *be)
{
    return ((struct cpu *)be->context)->lanes;
}

static void cpu_close(struct backend *be)
{
    struct cpu *cpu = be->context;
    pool_close(&cpu->pool);
    free(cpu);
}

static void *cpu_alloc(struct backend *be, size_t elements, struct fail *why)
{
    void *memory = NULL;
    size_t bytes = elements * sizeof(float) + TENSOR_ALIGN,
           align = bytes < LARGE_PAGE ? TENSOR_ALIGN : LARGE_PAGE;
    (void)be;
    if (elements > SIZE_MAX / 8 || posix_memalign(&memory, align, bytes)) {
        fail(why, E_MEMORY, "no memory for %.1f MB of tensors: lower max_rows or the batch size",
             (double)elements * sizeof(float) / 1e6);
        return NULL;
    }
    if (align == LARGE_PAGE)
        madvise(memory, bytes, MADV_HUGEPAGE); /* an advice: a system without large pages goes on */
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

/* Whose items cost less in one run: each thread takes its share at once. */
static bool together(enum op op)
{
    return op == OP_WINOGRAD || op == OP_WINOGRAD_DX || op == OP_WINOGRAD_DW || op == OP_CONV_DW ||
           op == OP_INVERTED;
}

/* Runs of a thread's share, so that others can help a thread that was held up. */
enum { RUNS_OF_SHARE = 2 };

static int64_t items_of(const struct kernel *kernel, const struct call *c)
{
    return kernel->items ? kernel->items(c) : c->rows;
}

/* small: not worth sharing. */
static void run_operation(struct backend *be, const struct kernel *table, enum op op, const struct call *c,
                          void *scratch, size_t scratch_piece, bool small)
{
    const struct kernel *kernel = &table[op];
    struct operation o = {kernel, c, scratch, scratch_piece};
    int64_t items = items_of(kernel, c), runs = small ? 1 : be->threads * (together(op) ? 1 : RUNS_OF_SHARE);
    pool_run(pool_of(be), items, (items + runs - 1) / runs, run_items, &o);
}

/* What one thread does sooner than several can meet: it takes a microsecond or two. Never a matter of bits. */
enum { SMALL_FLOPS = 300000, SMALL_VALUES = 12000, SMALL_LOSS = 300 };

static bool is_small(const struct step *s, int rows)
{
    double flops = plan_step_flops(s) * rows;
    return flops > 0 ? flops < SMALL_FLOPS : (double)s->row * rows < SMALL_VALUES;
}

/* Losses and updates: they use no scratch. Updates have no lanes, but the set's kernels are the faster ones. */
static void cpu_run(struct backend *be, enum op op, const struct call *c, void *scratch)
{
    bool update = kernels[op].items == update_slices;
    const struct kernel *table = update ? cpu_lane_kernels(be) : kernels;
    run_operation(be, table, op, c, scratch, 0, !update && c->row * c->rows < SMALL_LOSS);
}

/* ---- a plan ---- */

struct sharded {
    struct backend *be;
    const struct plan *plan;
    const struct memory *memory;
    const struct span *span;
    const struct kernel *kernels;
    bool together; /* threads share each step's items, else each has rows of its own */
};

static void run_step(const struct sharded *s, const struct step *step, const struct piece *piece)
{
    const struct kernel *k = &s->kernels[step->op];
    char *scratch = (char *)s->memory->scratch + (size_t)piece->thread * s->memory->scratch_piece;
    struct call c;
    plan_call(s->plan, step, s->memory, s->span, sizeof(float), piece, &c);
    if (s->together)
        run_operation(s->be, s->kernels, step->op, &c, s->memory->scratch, s->memory->scratch_piece,
                      is_small(step, piece->rows));
    else
        k->run(&c, 0, items_of(k, &c), scratch);
}

/* Steps begin..end-1, a segment, turn by turn over the rows of a shard. */
static void run_segment(const struct sharded *s, int begin, int end, struct piece shard)
{
    int turn = s->plan->steps[begin].rows;
    struct piece piece = shard;
    for (piece.begin = 0; piece.begin < shard.rows; piece.begin += turn) {
        piece.rows = shard.rows - piece.begin < turn ? shard.rows - piece.begin : turn;
        for (int i = begin; i < end; i++)
            run_step(s, &s->plan->steps[i], &piece);
    }
}

/* Blocks begin..end-1 of rows through all steps. */
static void run_shards(void *context, int thread, int64_t begin, int64_t end)
{
    const struct sharded *s = context;
    struct piece shard = {.thread = thread};
    int64_t last = end * s->plan->lanes < s->span->rows ? end * s->plan->lanes : s->span->rows;
    for (int64_t first = begin * s->plan->lanes; first < last; first += s->plan->rows) {
        shard.shard = (int)first;
        shard.rows = (int)(last - first < s->plan->rows ? last - first : s->plan->rows);
        for (int i = s->span->begin, next; i < s->span->end; i = next) {
            next = plan_segment_end(s->plan, i, s->span->end);
            run_segment(s, i, next, shard);
        }
    }
}

static void cpu_steps(struct backend *be, const struct plan *plan, const struct memory *m,
                      const struct span *s)
{
    struct sharded sharded = {be, plan, m, s, plan_kernels(plan, be), true};
    const struct piece all = {.rows = s->rows};
    int64_t blocks = (s->rows + plan->lanes - 1) / plan->lanes;
    if (plan->doutput.id == 0 && blocks >= be->threads) { /* inference: every step goes by rows */
        sharded.together = false;
        int64_t most = plan->rows / plan->lanes, even = (blocks + be->threads - 1) / be->threads;
        pool_run(pool_of(be), blocks, even < most ? even : most, run_shards, &sharded);
    } else if (plan->doutput.id == 0) {
        run_shards(&sharded, 0, 0, blocks);
    } else {
        for (int i = s->begin; i < s->end; i++)
            run_step(&sharded, &plan->steps[i], &all);
    }
}

const struct backend_ops cpu_backend = {
    .name = "cpu",
    .element = sizeof(float),
    .host = true,
    .joins = true,
    .halves = true,
    .shard_rows = SHARD_ROWS,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .upload = cpu_upload,
    .download = cpu_download,
    .zero = cpu_zero,
    .kernels = kernels,
    .lane_kernels = cpu_lane_kernels,
    .run = cpu_run,
    .steps = cpu_steps,
};

/* One lane only: for tests, and to compare. */
const struct backend_ops cpu1_backend = {
    .name = "cpu1",
    .element = sizeof(float),
    .host = true,
    .joins = true,
    .halves = true,
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
