/* One reader, all partitions, until everything that was stable at the end has been seen. */
#include "worker/stream/scan.h"

enum { WAIT_MS = 100 };

int topic_scan(const struct settings *s, const char *topic, int timeout_ms, scan_visit *visit, void *arg,
               struct fail *why)
{
    struct reader *reader = NULL;
    struct record r;
    bool done = false;
    int rc = reader_open(&reader, s, topic, NULL, 0, READER_BEGINNING, timeout_ms, why), idle_ms = 0;
    while (!rc && !done) {
        int event = reader_next(reader, &r, WAIT_MS, why);
        if (event < 0)
            rc = event;
        else if (event == SOURCE_RECORD)
            rc = visit(arg, &r, why);
        else
            rc = reader_caught_up(reader, timeout_ms, &done, why);
        idle_ms = event == SOURCE_NONE ? idle_ms + WAIT_MS : 0;
        if (!rc && !done && idle_ms > timeout_ms)
            rc = fail(why, E_UNREACHABLE, "%s could not be read to its end: nothing came for %d ms", topic,
                      timeout_ms);
    }
    reader_close(&reader);
    return rc;
}
