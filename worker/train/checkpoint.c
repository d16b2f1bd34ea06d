/* Checkpoints: run to bytes to store, and back. When one is due is run.c's affair, what commits it
 * trainer.c's. */
#include "worker/train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/files/safetensors.h"

#define MOMENTS "optimizer.moments"
#define FORMAT  "1" /* of the metadata "millrace.checkpoint" */

enum { VALUE = 80, FIELDS_MAX = 48 };

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
    t->entries = calloc((size_t)params + 1, sizeof *t->entries);
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
    _Static_assert(sizeof fields / sizeof *fields + 4 <= FIELDS_MAX, "FIELDS_MAX is too small");
    struct tensors t = {0};
    struct metadata m;
    int rc = tensors_take(r, &t, why);
    if (!rc) {
        metadata_make(r, &m, t.steps);
        rc = safetensors_print(t.entries, t.count, m.pairs, m.count, bytes, size, why);
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
    if ((rc = weights_restore(r, st, why)))
        return rc;
    *run_state(r) = state;
    return 0;
}

int checkpoint_parse(struct run *r, const char *name, const void *bytes, size_t size, bool *same_plan,
                     struct fail *why)
{
    struct safetensors *st = NULL;
    int rc = safetensors_parse(&st, name, bytes, size, why);
    if (rc)
        return rc;
    rc = state_restore(r, st, same_plan, why);
    safetensors_free(&st);
    return rc ? fail_prefix(why, "checkpoint %s", name) : 0;
}

/* A job's name in file names: itself where it can be one, else what its SHA-256 begins with. */
static void job_file_name(const struct training_job *job, char out[SHA256_HEX + 64])
{
    if (!model_name_check(job->job_id, NULL)) {
        strcpy(out, job->job_id);
        return;
    }
    sha256_hex(job->job_id, strlen(job->job_id), out);
    out[32] = 0;
}

int checkpoint_put(struct run *r, const char *store, const struct training_job *job, char uri[STORE_URI],
                   char sha256[SHA256_HEX], struct fail *why)
{
    char name[SHA256_HEX + 64], path[SHA256_HEX + 128];
    void *bytes = NULL;
    size_t size;
    int rc = checkpoint_print(r, &bytes, &size, why);
    if (rc)
        return rc;
    job_file_name(job, name);
    snprintf(path, sizeof path, "checkpoints/%s-%lld.safetensors", name, (long long)run_state(r)->step);
    rc = store_put(store, job->model, path, bytes, size, uri, sha256, why);
    free(bytes);
    return rc;
}

int checkpoint_get(struct run *r, const char *store, const char *uri, const char *sha256, bool *same_plan,
                   struct fail *why)
{
    void *bytes = NULL;
    size_t size;
    int rc = store_get(store, uri, sha256, &bytes, &size, why);
    if (!rc)
        rc = checkpoint_parse(r, uri, bytes, size, same_plan, why);
    free(bytes);
    return rc;
}

struct prune {
    const char *store;
    char prefix[SHA256_HEX + 64];
    int64_t step, keep;
    int64_t newest[64]; /* steps to be kept, newest first */
    int count;
    bool deleting;
};

/* "<job>-<step>.safetensors" of this job -> step; -1: another file. */
static int64_t prune_step(const struct prune *p, const char *name)
{
    size_t n = strlen(p->prefix);
    char *end;
    if (strncmp(name, p->prefix, n) != 0 || name[n] != '-' || name[n + 1] < '0' || name[n + 1] > '9')
        return -1;
    int64_t step = strtoll(name + n + 1, &end, 10);
    return strcmp(end, ".safetensors") == 0 ? step : -1;
}

static int prune_visit(void *arg, const char *uri, const char *name, struct fail *why)
{
    struct prune *p = arg;
    int64_t step = prune_step(p, name);
    int at = p->count;
    if (step < 0)
        return 0;
    if (p->deleting) {
        for (int i = 0; i < p->count; i++)
            if (p->newest[i] == step)
                return 0;
        return store_delete(p->store, uri, why);
    }
    if (step > p->step)
        return 0;
    while (at > 0 && p->newest[at - 1] < step)
        at--;
    if (at >= p->keep)
        return 0;
    int moved = p->count < p->keep ? p->count - at : (int)p->keep - 1 - at;
    memmove(p->newest + at + 1, p->newest + at, sizeof *p->newest * (size_t)moved);
    p->newest[at] = step;
    p->count += p->count < p->keep;
    return 0;
}

int checkpoint_prune(const char *store, const struct training_job *job, int64_t step, int64_t keep,
                     struct fail *why)
{
    struct prune p = {.store = store, .step = step, .keep = keep < 1 ? 1 : keep > 64 ? 64 : keep};
    job_file_name(job, p.prefix);
    int rc = store_list(store, job->model, "checkpoints", prune_visit, &p, why);
    p.deleting = true;
    return rc ? rc : store_list(store, job->model, "checkpoints", prune_visit, &p, why);
}
