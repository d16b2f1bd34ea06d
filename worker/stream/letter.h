/* A dead letter read back: where its record came from, and the two records that send it there again. What makes dead letters is
 * batch_dead_letter. */
#ifndef WORKER_STREAM_LETTER_H
#define WORKER_STREAM_LETTER_H

#include "worker/stream/batch.h"

struct letter {
    enum topic topic; /* where the record came from */
    int32_t partition;
    int64_t offset;
    int64_t attempts;
    struct span reason, detail; /* borrowed from the record; data NULL: it says none */
};

/* The letters that were sent again, by their markers. All zero is an empty set. */
struct letter_marks {
    struct letter_place {
        int32_t partition;
        int64_t offset;
    } * list;
    int count, capacity;
};

bool letter_is_marker(const struct record *r);
int letter_marks_take(struct letter_marks *m, const struct record *r,
                      struct fail *why);        /* others are passed over */
void letter_marks_sort(struct letter_marks *m); /* due between the last take and the first has */
bool letter_marks_has(const struct letter_marks *m, const struct record *letter);
void letter_marks_free(struct letter_marks *m);
/* Fills *out as far as it is known. E_FAILED: it cannot be sent again, and why: it was cut, or does not say where it came from. */
int letter_parse(struct letter *out, const struct settings *s, const struct record *r, struct fail *why);
/* Adds to the batch, copied, the original record (key, value, its own headers byte for byte, and of ours dlq.attempts) for the
 * partition it came from, and behind it the marker of the letter `r`. */
int letter_send(struct batch *b, const struct letter *l, const struct record *r, struct fail *why);

#endif
