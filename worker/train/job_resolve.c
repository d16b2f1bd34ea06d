/* Offset ranges as words ("all partitions, from earliest to latest") become numbers when a job is submitted:
 * what is trained on does not depend on when a worker begins. */
#include <string.h>

#include "worker/stream/reader.h"
#include "worker/train/job.h"

struct resolver {
    const struct settings *settings;
    int timeout_ms;
    struct region *mem;
    struct offset_range *ranges; /* grows in mem */
    int count, capacity;
};

static int resolver_add(struct resolver *v, const struct offset_range *r, struct fail *why)
{
    if (v->count == v->capacity) {
        int capacity = v->capacity ? 2 * v->capacity : 16;
        struct offset_range *grown = region_alloc(v->mem, sizeof *grown * (size_t)capacity);
        if (!grown)
            return fail(why, E_MEMORY, "no memory for %d offset ranges", capacity);
        if (v->count)
            memcpy(grown, v->ranges, sizeof *grown * (size_t)v->count);
        v->ranges = grown;
        v->capacity = capacity;
    }
    v->ranges[v->count++] = *r;
    return 0;
}

/* One partition; a range without an offset in it is left out. */
static int resolve_partition(struct resolver *v, struct offset_range r, struct fail *why)
{
    int64_t start, end;
    int rc = topic_offsets(v->settings, r.topic, r.partition, v->timeout_ms, &start, &end, why);
    if (rc)
        return rc;
    if (r.start_offset == READER_BEGINNING)
        r.start_offset = start;
    if (r.start_offset == READER_END)
        r.start_offset = end;
    if (r.end_offset == READER_END)
        r.end_offset = end;
    if (r.start_offset < start)
        return fail(why, E_CONFIG, "dataset: %s/%d from %lld: the log begins at %lld, older records are gone",
                    r.topic, r.partition, (long long)r.start_offset, (long long)start);
    if (r.end_offset > end)
        return fail(why, E_CONFIG, "dataset: %s/%d to %lld: the log ends at %lld", r.topic, r.partition,
                    (long long)r.end_offset, (long long)end);
    return r.start_offset < r.end_offset ? resolver_add(v, &r, why) : 0;
}

static int resolve_range(struct resolver *v, struct offset_range r, struct fail *why)
{
    int known = topic_find(v->settings, r.topic), partitions, rc = 0;
    if (known >= 0) {
        char *name = region_alloc(v->mem, TOPIC_NAME);
        if (!name)
            return fail(why, E_MEMORY, "no memory for a topic's name");
        r.topic = topic_full_name(v->settings, (enum topic)known, name);
    }
    if (r.partition != JOB_ALL_PARTITIONS)
        return resolve_partition(v, r, why);
    if ((rc = topic_partitions(v->settings, r.topic, v->timeout_ms, &partitions, why)))
        return rc;
    for (r.partition = 0; !rc && r.partition < partitions; r.partition++)
        rc = resolve_partition(v, r, why);
    return rc;
}

int job_resolve(struct training_job *job, const struct settings *s, int timeout_ms, struct region *mem,
                struct fail *why)
{
    struct resolver v = {.settings = s, .timeout_ms = timeout_ms, .mem = mem};
    int rc = 0;
    for (int i = 0; !rc && i < job->dataset_count; i++)
        rc = resolve_range(&v, job->dataset[i], why);
    if (rc)
        return rc;
    if (v.count == 0)
        return fail(why, E_CONFIG, "dataset: there is no record to train on: %s",
                    job->dataset_count
                        ? "the ranges are empty; produce samples first (millrace send --samples FILE)"
                        : "name ranges in the job file, or give --dataset RANGES.json");
    job->dataset = v.ranges;
    job->dataset_count = v.count;
    return 0;
}
