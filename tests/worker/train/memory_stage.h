/* A stage between topics in memory: samples, jobs, lives of a worker, and what they leave behind. Included by the tests
 * of the trainer. Fixed seeds. */
#ifndef TESTS_WORKER_TRAIN_MEMORY_STAGE_H
#define TESTS_WORKER_TRAIN_MEMORY_STAGE_H

#include "engine/rng.h"
#include "tests/worker/train/memory.h"
#include "worker/models/registry.h"
#include "worker/models/store.h"
#include "worker/service/log.h"
#include "worker/train/partition.h"
#include "worker/train/trainer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

enum { ROWS = 320, SIZE = 16, PER_RECORD = 8 };

static bool steps_go_back; /* of a job whose checkpoints were lost, or whose health sent it back */

static const char network[] =
    "network: small\ninput: [1, 4, 4]\nlabels: 10\nlayers:\n  - dense: {units: 10}\n";

struct stage {
    struct memory m;
    char folder[64], store[128];
};

static inline void samples_produce(void)
{
    struct rng r = rng_seed(5);
    for (int i = 0; i < ROWS / PER_RECORD; i++) {
        uint8_t pixels[PER_RECORD][SIZE];
        int32_t labels[PER_RECORD];
        struct bytes b = {0};
        for (int j = 0; j < PER_RECORD; j++) {
            labels[j] = (int32_t)rng_below(&r, 10);
            for (int k = 0; k < SIZE; k++)
                pixels[j][k] = (uint8_t)(rng_below(&r, 100) + (k == labels[j] ? 150 : 0));
        }
        struct tensor_view v = {.name = {"", 0}, .dtype = DTYPE_UINT8, .shape = SHAPE(PER_RECORD, 1, 4, 4)};
        v.data = (struct span){(char *)pixels, sizeof pixels};
        sample_encode(&b, &v, labels, NULL);
        memory_append(TOPIC_SAMPLES, i % 2, (struct span){NULL, 0}, (struct span){(char *)b.data, b.size},
                      NULL, 0);
        memory->topics[TOPIC_SAMPLES].end[i % 2] += i % 3 == 0; /* a marker between */
        bytes_free(&b);
    }
}

static inline struct stage *stage_open(int job_partitions)
{
    struct stage *s = calloc(1, sizeof *s);
    assert_non_null(s);
    strcpy(s->folder, "/tmp/millrace-trainer-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    snprintf(s->store, sizeof s->store, "file://%s", s->folder);
    memory_open(&s->m, job_partitions);
    s->m.settings = (struct settings){.topics_prefix = (char *)"",
                                      .worker_slot = (char *)"a",
                                      .engine_backend = (char *)"cpu",
                                      .engine_threads = 1,
                                      .engine_cuda_workspace_mb = 256,
                                      .models_store = s->store,
                                      .training_keep_checkpoints = 2};
    samples_produce();
    return s;
}

static inline void stage_close(struct stage *s)
{
    char command[128];
    assert_int_equal(s->m.taken, 0); /* every batch went back */
    memory_close(&s->m);
    snprintf(command, sizeof command, "rm -rf %s", s->folder);
    assert_int_equal(system(command), 0);
    free(s);
}

/* One life of a worker, from what is committed to the end of the jobs topic or its death. */
static inline void life(struct stage *s, int kill_at)
{
    struct fail why = {0};
    s->m.dead = s->m.dropped = false;
    s->m.calls = 0;
    s->m.kill_at = kill_at;
    s->m.next = s->m.committed[s->m.partition];
    struct train_options options = {.settings = &s->m.settings};
    int rc = train_work(&s->m.source, &s->m.sink, &options, &why);
    if (rc != -E_INTERRUPTED)
        fail_msg("train_work gave %d: %s", rc, why.text);
}

static inline struct training_job job_make(const char *id)
{
    static struct offset_range ranges[2];
    static struct text_pair hyper[] = {
        {"epochs", "4"}, {"batch_size", "16"}, {"learning_rate", "0.5"}, {"momentum", "0.5"}};
    for (int p = 0; p < 2; p++)
        ranges[p] = (struct offset_range){"samples", p, 0, memory->topics[TOPIC_SAMPLES].end[p]};
    return (struct training_job){.job_id = id,
                                 .action = ACTION_TRAIN,
                                 .model = "m",
                                 .network = network,
                                 .dataset = ranges,
                                 .dataset_count = 2,
                                 .validation_rate = 0.2,
                                 .loss = LOSS_CROSS_ENTROPY,
                                 .hyperparameters = hyper,
                                 .hyperparameter_count = 4,
                                 .checkpoint_every = 5,
                                 .promote_metric = "val_accuracy",
                                 .promote_automatic = true,
                                 .artifact_uri = "",
                                 .sha256 = "",
                                 .requested_by = "test"};
}

static inline void submit_to(const struct training_job *job, int32_t partition)
{
    struct bytes b = {0};
    training_job_encode(&b, job);
    memory_append(TOPIC_JOBS, partition, (struct span){job->model, strlen(job->model)},
                  (struct span){(char *)b.data, b.size}, NULL, 0);
    bytes_free(&b);
}

static inline void submit(const struct training_job *job)
{
    submit_to(job, partition_of(job->model, memory->topics[TOPIC_JOBS].partitions));
}

/* ---- what is in the topics ---- */

struct outcome {
    int metrics, created, promoted, completed, failed, stopped;
    int64_t version, last_step;
    char sha256[65], reason[512];
};

static inline void outcome_of(const char *job_id, struct outcome *o)
{
    struct region mem = {0};
    struct fail why;
    *o = (struct outcome){0};
    for (int i = 0; i < memory->topics[TOPIC_METRICS].count; i++) {
        struct loss_metric m;
        assert_int_equal(loss_metric_decode(&m, memory->topics[TOPIC_METRICS].records[i].value, &mem, &why),
                         0);
        if (strcmp(m.job_id, job_id) != 0)
            continue;
        assert_int_equal(m.sequence, ++o->metrics); /* 1..N, each once, in order */
        assert_true(steps_go_back || m.step >= o->last_step);
        o->last_step = m.step;
        assert_true(isnan(m.loss) || isfinite(m.loss));
    }
    for (int i = 0; i < memory->topics[TOPIC_MODELS].count; i++) {
        struct model_version_event e;
        const struct memory_record *r = &memory->topics[TOPIC_MODELS].records[i];
        assert_int_equal(model_version_event_decode(&e, r->value, &mem, &why), 0);
        if (strcmp(e.job_id, job_id) != 0)
            continue;
        o->created += e.event == EVENT_CREATED;
        o->promoted += e.event == EVENT_PROMOTED;
        o->version = e.version;
        snprintf(o->sha256, sizeof o->sha256, "%s", e.sha256);
    }
    for (int i = 0; i < memory->topics[TOPIC_CHECKPOINTS].count; i++) {
        struct job_checkpoint c;
        assert_int_equal(
            job_checkpoint_decode(&c, memory->topics[TOPIC_CHECKPOINTS].records[i].value, &mem, &why), 0);
        if (strcmp(c.job_id, job_id) != 0)
            continue;
        o->completed += c.state == JOB_COMPLETED;
        o->failed += c.state == JOB_FAILED;
        o->stopped += c.state == JOB_STOPPED;
        snprintf(o->reason, sizeof o->reason, "%s", c.failure_reason);
    }
    region_free(&mem);
}

static inline void artefact_exists(struct stage *s, const char *sha256)
{
    char uri[STORE_URI];
    struct fail why;
    void *bytes;
    size_t size;
    snprintf(uri, sizeof uri, "%s/m/%s.onnx", s->store, sha256);
    assert_int_equal(store_get(s->store, uri, sha256, &bytes, &size, &why), 0);
    free(bytes);
}

static inline bool header_is(const struct memory_record *r, const char *name, const char *value)
{
    for (int i = 0; i < r->header_count; i++)
        if (strcmp(r->headers[i].name, name) == 0)
            return r->headers[i].value.size == strlen(value) &&
                   memcmp(r->headers[i].value.data, value, strlen(value)) == 0;
    return false;
}

#endif
