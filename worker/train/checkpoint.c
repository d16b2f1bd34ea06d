/* Checkpoints: run to bytes to store, and back. When one is due is run.c's affair, what commits it
 * trainer.c's. Files: checkpoint_store.c. */
#include "worker/train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"

#define MOMENTS "optimizer.moments"
#define BEST    "best.parameters"
#define FORMAT  "2"           /* of the metadata "millrace.checkpoint" */
#define DIGEST  "file_sha256" /* of the whole file, its own 64 characters being zeros */

enum { VALUE = 80, FIELDS_MAX = 64 };

struct field {
    const char *name;
    bool real;
    size_t offset;
};

#define STATE(f) offsetof(struct run_state, f)
#define SUM(name, f)                                                              \
    {name ".loss", true, STATE(f.loss)}, {name ".weight", true, STATE(f.weight)}, \
        {name ".correct", false, STATE(f.correct)},                               \
    {                                                                             \
        name ".rows", false, STATE(f.rows)                                        \
    }

static const struct field fields[] = {
    {"epoch", false, STATE(epoch)},
    {"step", false, STATE(step)},
    {"sequence", false, STATE(sequence)},
    SUM("record_sum", record_sum),
    SUM("epoch_sum", epoch_sum),
    SUM("train", train),
    SUM("validation", validation),
    SUM("test", test),
    {"best_val_loss", true, STATE(best_val_loss)},
    {"epochs_without_better", false, STATE(epochs_without_better)},
    {"elapsed_s", true, STATE(elapsed_s)},
    {"rate_factor", true, STATE(rate_factor)},
    {"lowered", false, STATE(lowered)},
    {"best_epoch", false, STATE(best_epoch)},
    SUM("best_train", best_train),
    SUM("best_validation", best_validation),
    {"health.told", false, STATE(health.told)},
    {"health.norm_mean", true, STATE(health.norm_mean)},
    {"health.norms", false, STATE(health.norms)},
    {"health.vanishing", false, STATE(health.vanishing)},
    {"health.dead", false, STATE(health.dead)},
    {"health.best_loss", true, STATE(health.best_loss)},
    {"health.not_falling", false, STATE(health.not_falling)},
    {"health.best_val_loss", true, STATE(health.best_val_loss)},
    {"health.loss_at_best_val", true, STATE(health.loss_at_best_val)},
    {"health.overfitting", false, STATE(health.overfitting)},
    {0},
};

struct metadata {
    char values[FIELDS_MAX][VALUE];
    const char *pairs[2 * FIELDS_MAX];
    int count;
};

static void metadata_add(struct metadata *m, const char *name, const char *value)
{
    snprintf(m->values[m->count], VALUE, "%s", value);
    m->pairs[2 * m->count] = name;
    m->pairs[2 * m->count + 1] = m->values[m->count];
    m->count++;
}

/* Reals in hexadecimal: the same bits come back. */
static void metadata_make(struct run *r, struct metadata *m, int64_t optimizer_steps)
{
    char text[VALUE];
    const char *state = (const char *)run_state(r);
    m->count = 0;
    metadata_add(m, "millrace.checkpoint", FORMAT);
    for (const struct field *f = fields; f->name; f++) {
        if (f->real)
            snprintf(text, sizeof text, "%a", *(const double *)(state + f->offset));
        else
            snprintf(text, sizeof text, "%lld", (long long)*(const int64_t *)(state + f->offset));
        metadata_add(m, f->name, text);
    }
    snprintf(text, sizeof text, "%lld", (long long)optimizer_steps);
    metadata_add(m, "optimizer.steps", text);
    net_digest(run_net(r), text);
    metadata_add(m, "plan", text);
    dataset_sha256(run_dataset(r), text);
    metadata_add(m, "dataset_sha256", text);
    memset(text, '0', 64);
    text[64] = 0;
    metadata_add(m, DIGEST, text);
}

/* Where the file's own digest stands in it; NULL: nowhere. */
static char *digest_at(void *bytes, size_t size)
{
    static const char key[] = "\"" DIGEST "\":\"";
    char *at = memmem(bytes, size, key, sizeof key - 1);
    return at && size - (size_t)(at - (char *)bytes) > sizeof key + 64 ? at + sizeof key - 1 : NULL;
}

/* A file that was cut or changed does not hold its own digest: who finds it in the store can trust it, with no
 * record that names its SHA-256. */
static int digest_check(const void *bytes, size_t size, struct fail *why)
{
    char *copy = malloc(size + 1), is[SHA256_HEX], said[SHA256_HEX] = "";
    if (!copy)
        return fail(why, E_MEMORY, "checkpoint: no memory");
    memcpy(copy, bytes, size);
    char *at = digest_at(copy, size);
    if (at) {
        memcpy(said, at, 64);
        memset(at, '0', 64);
    }
    sha256_hex(copy, size, is);
    free(copy);
    return at && strcmp(is, said) == 0
               ? 0
               : fail(why, E_FILE,
                      "the file was cut or damaged (its own SHA-256 is %.64s, that of its bytes %s)",
                      at ? said : "missing", is);
}

/* Host copies of everything with a shape. */
struct tensors {
    struct safetensors_entry *entries;
    int count;
    float *moments;
    int64_t steps;
};

static void tensors_free(struct tensors *t)
{
    for (int i = 0; t->entries && i < t->count; i++)
        free((void *)t->entries[i].data);
    free(t->entries);
}

static float *floats_new(int64_t n)
{
    return malloc(sizeof(float) * (size_t)(n > 0 ? n : 1));
}

static int tensors_take(struct run *r, struct tensors *t, struct fail *why)
{
    struct net *net = run_net(r);
    int params = net_param_count(net);
    int64_t moments = optim_state_size(run_optimizer(r));
    t->entries = calloc((size_t)params + 2, sizeof *t->entries);
    for (int i = 0; t->entries && i < params; i++) {
        struct shape shape = net_param_shape(net, i);
        float *values = floats_new(shape_size(shape));
        if (!values)
            return fail(why, E_MEMORY, "checkpoint: no memory");
        t->entries[t->count++] =
            (struct safetensors_entry){net_param_name(net, i), DTYPE_FP32, shape, values};
        int rc = net_param_get(net, i, values, why);
        if (rc)
            return rc;
    }
    if (run_state(r)->best_epoch) {
        int64_t n = run_param_floats(r);
        float *best = run_best(r, why), *copy = floats_new(n);
        if (!best || !copy) {
            free(copy);
            return fail(why, E_MEMORY, "checkpoint: no memory");
        }
        memcpy(copy, best, sizeof *copy * (size_t)n);
        t->entries[t->count++] = (struct safetensors_entry){BEST, DTYPE_FP32, SHAPE(n), copy};
    }
    float *values = t->entries ? floats_new(moments) : NULL;
    if (!values)
        return fail(why, E_MEMORY, "checkpoint: no memory");
    if (moments == 0) { /* sgd without momentum */
        free(values);
        return optim_state_get(run_optimizer(r), NULL, &t->steps, why);
    }
    t->entries[t->count++] = (struct safetensors_entry){MOMENTS, DTYPE_FP32, SHAPE(moments), values};
    return optim_state_get(run_optimizer(r), values, &t->steps, why);
}

int checkpoint_print(struct run *r, void **bytes, size_t *size, struct fail *why)
{
    _Static_assert(sizeof fields / sizeof *fields + 5 <= FIELDS_MAX, "FIELDS_MAX is too small");
    struct tensors t = {0};
    struct metadata m;
    int rc = tensors_take(r, &t, why);
    if (!rc) {
        metadata_make(r, &m, t.steps);
        rc = safetensors_print(t.entries, t.count, m.pairs, m.count, bytes, size, why);
    }
    char *at = rc ? NULL : digest_at(*bytes, *size), own[SHA256_HEX];
    if (at) {
        sha256_hex(*bytes, *size, own);
        memcpy(at, own, 64);
    }
    tensors_free(&t);
    return rc;
}

static int field_get(const struct safetensors *st, const struct field *f, void *into, struct fail *why)
{
    const char *text = safetensors_metadata(st, f->name);
    char *end = NULL;
    if (text && f->real)
        *(double *)into = strtod(text, &end);
    else if (text)
        *(int64_t *)into = strtoll(text, &end, 10);
    if (!text || end == text || *end)
        return fail(why, E_FILE, "%s: \"%.60s\" is not a number", f->name, text ? text : "");
    return 0;
}

/* The floats of a tensor, aligned; NULL and *why when it is not there in that shape. */
static float *tensor_copy(const struct safetensors *st, const char *name, struct shape shape,
                          struct fail *why)
{
    char is[100];
    int i = safetensors_index(st, name);
    if (i < 0 || safetensors_dtype(st, i) != DTYPE_FP32 || !shape_equal(safetensors_shape(st, i), shape)) {
        fail(why, E_FILE, "tensor %.100s: FP32 %s is expected", name, shape_text(shape, is, sizeof is));
        return NULL;
    }
    float *values = floats_new(shape_size(shape));
    if (!values)
        fail(why, E_MEMORY, "checkpoint: no memory");
    else
        memcpy(values, safetensors_data(st, i), sizeof(float) * (size_t)shape_size(shape));
    return values;
}

static int weights_restore(struct run *r, const struct safetensors *st, struct fail *why)
{
    struct net *net = run_net(r);
    static const struct field steps_field = {"optimizer.steps", false, 0};
    int64_t steps;
    int rc = field_get(st, &steps_field, &steps, why);
    for (int i = 0; !rc && i < net_param_count(net); i++) {
        float *values = tensor_copy(st, net_param_name(net, i), net_param_shape(net, i), why);
        rc = values ? net_param_set(net, i, values, why) : -(int)why->code;
        free(values);
    }
    if (rc)
        return rc;
    int64_t size = optim_state_size(run_optimizer(r));
    if (size == 0)
        return optim_state_set(run_optimizer(r), NULL, steps, why);
    float *moments = tensor_copy(st, MOMENTS, SHAPE(size), why);
    rc = moments ? optim_state_set(run_optimizer(r), moments, steps, why) : -(int)why->code;
    free(moments);
    return rc;
}

static int best_restore(struct run *r, const struct safetensors *st, int64_t best_epoch, struct fail *why)
{
    int64_t n = run_param_floats(r);
    if (!best_epoch)
        return 0;
    float *values = tensor_copy(st, BEST, SHAPE(n), why), *best = values ? run_best(r, why) : NULL;
    if (best)
        memcpy(best, values, sizeof *best * (size_t)n);
    free(values);
    return best ? 0 : -(int)why->code;
}

static int state_restore(struct run *r, const struct safetensors *st, bool *same_plan, struct fail *why)
{
    struct run_state state;
    char digest[65];
    int rc = 0;
    const char *format = safetensors_metadata(st, "millrace.checkpoint");
    if (!format || strcmp(format, FORMAT) != 0)
        return fail(why, E_FILE,
                    "not a checkpoint of this version (millrace.checkpoint is %.20s, expected " FORMAT ")",
                    format ? format : "missing");
    for (const struct field *f = fields; !rc && f->name; f++)
        rc = field_get(st, f, (char *)&state + f->offset, why);
    if (rc)
        return rc;
    if (state.step < 0 || state.step > run_total_steps(r) || state.epoch < 0 || state.sequence < 0)
        return fail(why, E_FILE, "step %lld of %lld", (long long)state.step, (long long)run_total_steps(r));
    const char *data = safetensors_metadata(st, "dataset_sha256"), *plan = safetensors_metadata(st, "plan");
    dataset_sha256(run_dataset(r), digest);
    if (!data || strcmp(data, digest) != 0)
        return fail(why, E_JOB,
                    "the rows of the data set are not those that the checkpoint was made with (SHA-256 %s, "
                    "then %.64s)",
                    digest, data ? data : "unknown");
    net_digest(run_net(r), digest);
    *same_plan = plan && strcmp(plan, digest) == 0;
    if ((rc = weights_restore(r, st, why)) || (rc = best_restore(r, st, state.best_epoch, why)))
        return rc;
    *run_state(r) = state;
    return 0;
}

int checkpoint_parse(struct run *r, const char *name, const void *bytes, size_t size, bool *same_plan,
                     struct fail *why)
{
    struct safetensors *st = NULL;
    int rc = digest_check(bytes, size, why);
    if (rc)
        return fail_prefix(why, "%s", name);
    if ((rc = safetensors_parse(&st, name, bytes, size, why)))
        return rc;
    rc = state_restore(r, st, same_plan, why);
    safetensors_free(&st);
    return rc ? fail_prefix(why, "checkpoint %s", name) : 0;
}
