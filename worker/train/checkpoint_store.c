/* Checkpoints as files of the store: put, got, looked for, pruned. What is in one: checkpoint.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/train/checkpoint.h"

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

struct search { /* for the newest step below `below` */
    struct prune names;
    int64_t below, step;
    char uri[STORE_URI];
};

static int search_visit(void *arg, const char *uri, const char *name, struct fail *why)
{
    struct search *s = arg;
    int64_t step = prune_step(&s->names, name);
    (void)why;
    if (step >= 0 && step < s->below && step > s->step && strlen(uri) < STORE_URI) {
        s->step = step;
        strcpy(s->uri, uri);
    }
    return 0;
}

int checkpoint_get_older(struct run *r, const char *store, const struct training_job *job, int64_t below,
                         int64_t *step, bool *same_plan, struct fail *why)
{
    struct search s = {.below = below, .step = -1};
    job_file_name(job, s.names.prefix);
    int rc = store_list(store, job->model, "checkpoints", search_visit, &s, why);
    *step = s.step;
    if (rc || s.step < 0)
        return rc;
    return checkpoint_get(r, store, s.uri, "", same_plan, why);
}
