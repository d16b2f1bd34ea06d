/* Borrows key, value and headers of a message for a record. Who reads messages: reader.c and source.c. */
#include "worker/stream/message.h"

#include <stdlib.h>
#include <string.h>

struct span record_header(const struct record *r, const char *name)
{
    for (int i = r->header_count; i-- > 0;)
        if (strcmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return (struct span){0};
}

void message_release(struct message_holder *h)
{
    if (h->message)
        rd_kafka_message_destroy(h->message);
    h->message = NULL;
}

void message_free(struct message_holder *h)
{
    message_release(h);
    free(h->headers);
    *h = (struct message_holder){0};
}

static int hold_headers(struct message_holder *h, struct record *out, struct fail *why)
{
    rd_kafka_headers_t *list;
    out->header_count = 0;
    if (rd_kafka_message_headers(h->message, &list))
        return 0; /* there are none */
    int count = (int)rd_kafka_header_cnt(list);
    if (count > h->header_capacity) {
        struct header *more = realloc(h->headers, (size_t)count * sizeof *more);
        if (!more)
            return fail(why, E_MEMORY, "%d headers", count);
        h->headers = more;
        h->header_capacity = count;
    }
    for (int i = 0; i < count; i++) {
        const void *value;
        struct header *to = &h->headers[i];
        if (rd_kafka_header_get_all(list, (size_t)i, &to->name, &value, &to->value.size))
            break;
        to->value.data = value;
        out->header_count = i + 1;
    }
    return 0;
}

int message_hold(struct message_holder *h, rd_kafka_message_t *m, struct record *out, struct fail *why)
{
    message_release(h);
    h->message = m;
    out->topic = rd_kafka_topic_name(m->rkt);
    out->partition = m->partition;
    out->offset = m->offset;
    out->timestamp_ms = rd_kafka_message_timestamp(m, NULL);
    out->key = (struct span){m->key, m->key_len};
    out->value = (struct span){m->payload, m->len};
    int rc = hold_headers(h, out, why);
    out->headers = h->headers;
    return rc;
}
