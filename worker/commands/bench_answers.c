/* Answers of `bench --stream`, read_committed. A record's number is the key of its request, which its answer has too. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/commands/bench_stream.h"
#include "worker/service/text.h"
#include "worker/stream/clock.h"

int answers_open(struct answers *a, const struct settings *s, const struct load *l, int64_t start,
                 int timeout_ms, struct fail *why)
{
    a->load = l;
    topic_full_name(s, TOPIC_PREDICTIONS, a->topic);
    a->seen_us = calloc((size_t)l->records + 1, sizeof *a->seen_us);
    a->stamp_ms = calloc((size_t)l->records + 1, sizeof *a->stamp_ms);
    if (!a->seen_us || !a->stamp_ms)
        return fail(why, E_MEMORY, "times of %" PRId64 " records", l->records);
    return reader_open(&a->reader, s, a->topic, NULL, 0, start, timeout_ms, why);
}

static void note(struct answers *a, const struct record *r)
{
    char key[24];
    int64_t n;
    if (!r->key.data || r->key.size >= sizeof key)
        return;
    memcpy(key, r->key.data, r->key.size);
    key[r->key.size] = 0;
    if (!text_to_int(key, &n) || n >= a->load->records)
        return; /* somebody else's */
    if (n < 0) {
        a->probes |= n > -64 ? UINT64_C(1) << (-1 - n) : 0;
    } else if (a->seen_us[n]) {
        a->twice++;
    } else {
        a->seen_us[n] = now_us();
        a->stamp_ms[n] = r->timestamp_ms;
        a->seen++;
    }
}

int answers_read(struct answers *a, int timeout_ms, struct fail *why)
{
    int64_t until_us = now_us() + timeout_ms * INT64_C(1000);
    struct record r;
    for (;;) {
        int64_t left_us = until_us - now_us();
        int event = left_us < 0 ? SOURCE_NONE : reader_next(a->reader, &r, (int)(left_us / 1000) + 1, why);
        if (event == SOURCE_RECORD)
            note(a, &r);
        else if (event != SOURCE_END)
            return event < 0 ? event : 0;
        if (a->seen == a->load->records)
            return 0;
    }
}

void answers_close(struct answers *a)
{
    reader_close(&a->reader);
    free(a->seen_us);
    free(a->stamp_ms);
}
