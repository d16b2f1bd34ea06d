/* Offset ranges to rows: one bounded reader a range, one range after another. */
#include "worker/stream/reader.h"
#include "worker/train/dataset.h"

enum { WAIT_MS = 100, ASK_EVERY = 256 };

static int range_read(struct dataset *d, const struct settings *s, const struct offset_range *r,
                      int timeout_ms, bool (*stop)(void *), void *arg, struct fail *why)
{
    struct reader *reader = NULL;
    struct reader_range range = {r->partition, r->start_offset, r->end_offset};
    const struct payload_wait wait = {{stop, arg}, stop ? -1 : timeout_ms};
    struct record rec;
    int rc = reader_open(&reader, s, r->topic, &range, 1, r->start_offset, timeout_ms, why),
        event = SOURCE_NONE, asked = 0;
    if (rc)
        return fail_prefix(why, "data set");
    while (!rc && event != SOURCE_END) {
        event = reader_next(reader, &rec, WAIT_MS, why);
        if (event < 0)
            rc = event;
        else if (event == SOURCE_RECORD)
            rc = dataset_add_record(d, &rec, &wait, why);
        if (!rc && stop && (event == SOURCE_NONE || ++asked % ASK_EVERY == 0) && stop(arg))
            rc = fail(why, E_INTERRUPTED, "data set: stopped while reading %s/%d", r->topic, r->partition);
    }
    reader_close(&reader);
    return rc;
}

int dataset_read(struct dataset *d, const struct settings *s, const struct offset_range *ranges, int count,
                 int timeout_ms, bool (*stop)(void *arg), void *arg, struct fail *why)
{
    int rc = 0;
    for (int i = 0; !rc && i < count; i++) {
        rc = range_read(d, s, &ranges[i], timeout_ms, stop, arg, why);
        if (!rc && stop && stop(arg))
            rc = fail(why, E_INTERRUPTED, "data set: stopped after %d of %d ranges", i + 1, count);
    }
    return rc;
}
