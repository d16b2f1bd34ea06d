/* A session's work that answers every record with itself on the predictions topic: for tests of the session, without models. */
#ifndef TESTS_WORKER_STREAM_ECHO_H
#define TESTS_WORKER_STREAM_ECHO_H

#include "worker/stream/session.h"

enum { ECHO_RECORDS = 10 }; /* of a batch */

static int echo(struct batch *b, const struct record *r, struct fail *why)
{
    struct span key = {region_copy(&b->mem, r->key.data, r->key.size), r->key.size};
    struct span value = {region_copy(&b->mem, r->value.data, r->value.size), r->value.size};
    return batch_derived(b, TOPIC_PREDICTIONS, r, key, value, why);
}

/* Answers every record with itself; a batch is sealed at ECHO_RECORDS or when nothing is left to read. */
static int echo_work(struct source *src, struct sink *sink, void *arg, struct fail *why)
{
    struct batch *b = NULL;
    struct record r;
    int rc = 0, taken = 0;
    (void)arg;
    while (rc >= 0) {
        if (!b && (rc = sink_take(sink, &b, why)))
            break;
        rc = source_next(src, &r, 20, why);
        if (rc == SOURCE_CHANGED) {
            batch_reset(b);
            taken = 0;
        } else if (rc == SOURCE_RECORD) {
            taken++;
            rc = echo(b, &r, why);
        }
        if (rc < 0 || !taken || (taken < ECHO_RECORDS && rc != SOURCE_END))
            continue;
        taken = 0;
        b->hurry = true;
        if ((rc = source_seal(src, b, SEAL_DONE, why)) == SOURCE_CHANGED)
            batch_reset(b);
        else if (!rc)
            rc = sink_put(sink, &b, why);
    }
    if (b) {
        struct fail ignored;
        batch_reset(b);
        sink_put(sink, &b, &ignored);
    }
    return rc;
}

#endif
