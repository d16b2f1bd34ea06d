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

/* After a call that found the schema registry away: 0 to call again, or what is to be returned. began_us: 0 before the first. */
static int wait_on(const struct payload_wait *wait, int64_t *began_us, struct fail *why)
{
    const struct timespec pause = {0, 50000000};
    if (!*began_us) {
        *began_us = now_us();
        log_event(LOG_WARN, "waiting for the schema registry", "text", why->text, NULL);
    }
    if (wait->timeout_ms >= 0 && now_us() - *began_us >= (int64_t)wait->timeout_ms * 1000) {
        why->code = E_UNREACHABLE;
        return -E_UNREACHABLE;
    }
    if (wait->stop.asked && wait->stop.asked(wait->stop.arg))
        return fail(why, E_INTERRUPTED, "stopped while waiting for the schema registry");
    nanosleep(&pause, NULL);
    return 0;
}

static void say_back(int64_t began_us, int rc)
{
    if (began_us && rc != -E_INTERRUPTED && rc != -E_UNREACHABLE)
        log_event(LOG_INFO, "the schema registry answers", "waited_ms",
                  log_text("%lld", (long long)((now_us() - began_us) / 1000)), NULL);
}

int record_payload_wait(const struct record *r, const struct record_type *t, const struct payload_wait *wait,
                        struct span *payload, struct fail *why)
{
    struct span header = record_header(r, "millrace.schema");
    struct fail own;
    int64_t began_us = 0;
    int rc;
    why = why ? why : &own;
    while ((rc = framing_unwrap(r->framing, t, r->value, header, &wait->stop, payload, why)) == -E_RETRY)
        if ((rc = wait_on(wait, &began_us, why)))
            break;
    say_back(began_us, rc);
    return rc;
}

static int frame_of(struct framing *f, const struct settings *s, enum topic topic,
                    const struct payload_wait *wait, struct frame *out, struct fail *why)
{
    const struct record_type *t = record_type_of_topic(topic_short_name(topic));
    char name[TOPIC_NAME];
    int64_t began_us = 0;
    int rc;
    out->on = t && framing_is_confluent(f, t); /* dead letters are as they came */
    if (!out->on)
        return 0;
    topic_full_name(s, topic, name);
    while ((rc = framing_frame(f, t, name, &wait->stop, out->bytes, why)) == -E_UNREACHABLE)
        if ((rc = wait_on(wait, &began_us, why)))
            break;
    say_back(began_us, rc);
    return rc;
}

int payload_frames(struct framing *f, const struct settings *s, unsigned topics,
                   const struct payload_wait *wait, struct frame frames[TOPICS], struct fail *why)
{
    int rc = 0;
    for (int t = 0; !rc && t < TOPICS; t++)
        if (topics & 1u << t)
            rc = frame_of(f, s, (enum topic)t, wait, &frames[t], why);
    return rc;
}
