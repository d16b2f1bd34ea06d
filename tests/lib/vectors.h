/* The vectors of tests/vectors, for the codec's tests. Fails the running cmocka test when one cannot be read
 * or belongs to no record type. Run from the repository's root. */
#ifndef TESTS_LIB_VECTORS_H
#define TESTS_LIB_VECTORS_H

#include "worker/codec/record.h"

struct vector {
    char name[64]; /* "Sample.full" */
    const struct record_type *type;
    struct span value, json; /* in memory of exactly their size, so that a sanitizer sees a byte too far */
};

enum { VECTORS_MOST = 64 };

/* All of them, in the order of their names; returns how many. Free with vectors_free. */
int vectors_load(struct vector *out);
void vectors_free(struct vector *all, int count);
/* One by name; fails the test when there is none. */
const struct vector *vector_find(const struct vector *all, int count, const char *name);

#endif
