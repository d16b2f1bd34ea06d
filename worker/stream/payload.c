/* What is inside a record's frame, waiting for the schema registry where that must be asked and is away.
 * The frame itself: codec/framing.h. */
#include "worker/stream/payload.h"

#include <time.h>

#include "worker/service/log.h"
#include "worker/stream/clock.h"

int record_payload(const struct record *r, const struct record_type *t, struct span *payload,
                   struct fail *why)
{
    return framing_unwrap(r->framing, t, r->value, record_header(r, "millrace.schema"), NULL, payload, why);
}

int record_payload_wait(const struct record *r, const struct record_type *t, const struct payload_wait *wait,
                        struct span *payload, struct fail *why)
{
    const struct timespec pause = {0, 20000000};
    struct span header = record_header(r, "millrace.schema");
    struct fail own;
    int64_t began_us = 0;
    int rc;
    why = why ? why : &own;
    while ((rc = framing_unwrap(r->framing, t, r->value, header, &wait->stop, payload, why)) == -E_RETRY) {
        if (!began_us) {
            began_us = now_us();
            log_event(LOG_WARN, "waiting for the schema registry", "text", why->text, NULL);
        }
        if (wait->timeout_ms >= 0 && now_us() - began_us >= (int64_t)wait->timeout_ms * 1000) {
            why->code = E_UNREACHABLE;
            return -E_UNREACHABLE;
        }
        if (wait->stop.asked && wait->stop.asked(wait->stop.arg))
            return fail(why, E_INTERRUPTED, "stopped while waiting for the schema registry");
        nanosleep(&pause, NULL);
    }
    if (began_us && rc != -E_INTERRUPTED)
        log_event(LOG_INFO, "the schema registry answers", "waited_ms",
                  log_text("%lld", (long long)((now_us() - began_us) / 1000)), NULL);
    return rc;
}
