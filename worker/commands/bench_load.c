/* Requests of `bench --stream`. A record is due at a time that the schedule gave it before anything was sent; whoever is late,
 * this thread, librdkafka or the broker, makes its latency longer and no other's due time later (no coordinated omission). */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/rng.h"
#include "worker/commands/bench_stream.h"
#include "worker/stream/clock.h"

enum { WARM_UP_S = 2, POOL_ROWS = 2048, SEED = 1, FLUSH_MS = 60000 };

/* When each record is due, from 0 on. Poisson: gaps of -ln(1 - u) / rate. */
static void schedule(struct load *l)
{
    struct rng r = rng_seed(SEED);
    double gap_us = 1e6 * (double)l->o->rows_per_record / l->o->rate, at_us = 0;
    for (int64_t i = 0; i < l->records; i++) {
        l->due_us[i] = (int64_t)at_us;
        l->warm += at_us < WARM_UP_S * 1e6;
        at_us += l->o->arrivals == ARRIVALS_POISSON ? -log1p(-rng_uniform(&r)) * gap_us : gap_us;
    }
}

/* Random pixels; floats are 0 to 1. */
static int make_rows(struct load *l, struct fail *why)
{
    struct rng r = rng_seed(SEED);
    int64_t n = shape_size(l->model->graph->input);
    int64_t rows = l->o->rows_per_record > POOL_ROWS ? l->o->rows_per_record : POOL_ROWS;
    l->rows = malloc((size_t)(n * rows) * dtype_size(l->o->dtype));
    if (!l->rows)
        return fail(why, E_MEMORY, "%" PRId64 " rows", rows);
    for (int64_t i = 0; i < n * rows; i++) {
        if (l->o->dtype == DTYPE_UINT8)
            l->rows[i] = (unsigned char)(rng_next(&r) >> 56);
        else
            ((float *)l->rows)[i] = (float)rng_uniform(&r);
    }
    return 0;
}

int load_open(struct load *l, const struct context *cx, const struct settings *s,
              const struct stream_options *o, const struct model *m, const char *name, struct fail *why)
{
    double rows = o->rate > 0 ? o->rate * (o->seconds + WARM_UP_S) : (double)o->rows;
    *l = (struct load){.o = o, .model = m, .records = (int64_t)ceil(rows / (double)o->rows_per_record)};
    snprintf(l->name, sizeof l->name, "%s", name);
    topic_full_name(s, TOPIC_INFERENCE, l->topic);
    l->due_us = calloc((size_t)l->records + 1, sizeof *l->due_us);
    if (!l->due_us)
        return fail(why, E_MEMORY, "a schedule of %" PRId64 " records", l->records);
    if (o->rate > 0)
        schedule(l);
    int rc = make_rows(l, why);
    if (!rc)
        rc = topic_partitions(s, l->topic, cx->timeout_ms, &l->partitions, why);
    return rc ? rc : writer_open(&l->writer, s, cx->timeout_ms, why);
}

/* Record `number`, whose key and id that is, to its partition. */
static int put(struct load *l, int64_t number, int64_t rows, struct fail *why)
{
    struct shape row = l->model->graph->input;
    struct tensor_view t = {
        .name = {"", 0}, .dtype = l->o->dtype, .shape = {.rank = row.rank + 1, .dim = {rows}}};
    size_t size = (size_t)shape_size(row) * dtype_size(t.dtype);
    int64_t place = number < 0 ? -1 - number : number;
    int64_t first = rows < POOL_ROWS ? place * rows % (POOL_ROWS - rows + 1) : 0;
    char key[24];
    int n = snprintf(key, sizeof key, "%" PRId64, number);
    memcpy(t.shape.dim + 1, row.dim, (size_t)row.rank * sizeof row.dim[0]);
    t.data = (struct span){(char *)l->rows + size * (size_t)first, size * (size_t)rows};
    struct inference_head head = {
        .id = {key, (size_t)n}, .model = text_span(l->name), .created_at = clock_ms(), .top_k = 1};
    l->value.size = 0;
    inference_encode(&l->value, &head, &t, NULL);
    if (l->value.failed)
        return fail(why, E_MEMORY, "a record of %" PRId64 " rows", rows);
    while (!writer_has_room(l->writer, 100))
        if (command_stop || l->stop)
            return fail(why, E_INTERRUPTED, "stopped while records were sent");
    return writer_put(l->writer, l->topic, (int32_t)(place % l->partitions), (struct span){key, (size_t)n},
                      (struct span){(char *)l->value.data, l->value.size}, NULL, 0, NULL, why);
}

int load_probe(struct load *l, struct fail *why)
{
    int rc = 0;
    for (int i = 0; !rc && i < l->partitions; i++)
        rc = put(l, -1 - i, 1, why);
    return rc ? rc : writer_flush(l->writer, FLUSH_MS, why);
}

int load_backlog(struct load *l, struct fail *why)
{
    int rc = 0;
    for (int64_t i = 0; !rc && i < l->records; i++)
        rc = command_stop ? fail(why, E_INTERRUPTED, "stopped while records were sent")
                          : put(l, i, l->o->rows_per_record, why);
    return rc ? rc : writer_flush(l->writer, FLUSH_MS, why);
}

static void *load_main(void *arg)
{
    struct load *l = arg;
    int rc = 0;
    for (int64_t i = 0; !rc && !l->stop && i < l->records; i++) {
        struct timespec due = {l->due_us[i] / 1000000, l->due_us[i] % 1000000 * 1000};
        while (!l->stop && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
            ;
        rc = put(l, i, l->o->rows_per_record, &l->failed);
    }
    if (!rc && !l->stop)
        writer_flush(l->writer, FLUSH_MS, &l->failed);
    return NULL;
}

int load_start(struct load *l, struct fail *why)
{
    int64_t began_us = now_us() + 10000;
    for (int64_t i = 0; i < l->records; i++)
        l->due_us[i] += began_us;
    if (pthread_create(&l->thread, NULL, load_main, l))
        return fail(why, E_MEMORY, "no thread for the load");
    l->started = true;
    return 0;
}

int load_join(struct load *l, struct fail *why)
{
    if (l->started)
        pthread_join(l->thread, NULL);
    l->started = false;
    if (!l->failed.code)
        return 0;
    *why = l->failed;
    return -(int)why->code;
}

void load_close(struct load *l)
{
    struct fail ignored;
    l->stop = true;
    load_join(l, &ignored);
    writer_close(&l->writer);
    bytes_free(&l->value);
    free(l->rows);
    free(l->due_us);
}
