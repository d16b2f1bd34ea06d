/* The one error type. A function that can fail returns 0 or a negative code and takes
 * a `struct fail *why` as its last argument, on the caller's stack; the callee writes it
 * only when it returns non-zero. One table gives every code its class, exit status and name. */
#ifndef ENGINE_FAIL_H
#define ENGINE_FAIL_H

/* What the caller's thread does about it; one switch per thread acts on the class. */
enum fail_class {
    FAIL_RECORD,  /* dead letter or row status; the batch goes on */
    FAIL_RETRY,   /* the same call again, bounded */
    FAIL_JOB,     /* the job FAILED with its reason; the worker lives */
    FAIL_ABORT,   /* abort the transaction, rewind to what is committed */
    FAIL_REBUILD, /* drop producer and consumer and make new ones */
    FAIL_STOP,    /* leave with the code's exit status */
};

/* code, class, exit status, name. The names of RECORD codes are the `dlq.reason` values. */
#define FAIL_TABLE(X)                                     \
    X(E_FAILED, FAIL_STOP, 1, "failed")                   \
    X(E_MEMORY, FAIL_STOP, 1, "out_of_memory")            \
    X(E_USAGE, FAIL_STOP, 2, "usage")                     \
    X(E_CONFIG, FAIL_STOP, 3, "configuration")            \
    X(E_FILE, FAIL_STOP, 3, "file")                       \
    X(E_DENIED, FAIL_STOP, 3, "denied")                   \
    X(E_UNSUPPORTED, FAIL_JOB, 3, "unsupported")          \
    X(E_NETWORK, FAIL_JOB, 3, "network")                  \
    X(E_JOB, FAIL_JOB, 1, "job")                          \
    X(E_IO, FAIL_JOB, 1, "io")                            \
    X(E_UNREACHABLE, FAIL_STOP, 4, "unreachable")         \
    X(E_INTERRUPTED, FAIL_STOP, 64, "interrupted")        \
    X(E_RESTART, FAIL_STOP, 75, "try_again")              \
    X(E_SLOT_TAKEN, FAIL_STOP, 78, "slot_taken")          \
    X(E_RETRY, FAIL_RETRY, 1, "retry")                    \
    X(E_ABORT, FAIL_ABORT, 1, "abort")                    \
    X(E_REBUILD, FAIL_REBUILD, 75, "rebuild")             \
    X(E_FENCED, FAIL_REBUILD, 78, "fenced")               \
    X(E_EMPTY, FAIL_RECORD, 1, "empty")                   \
    X(E_BAD_FRAME, FAIL_RECORD, 1, "bad_frame")           \
    X(E_UNKNOWN_SCHEMA, FAIL_RECORD, 1, "unknown_schema") \
    X(E_TRUNCATED, FAIL_RECORD, 1, "truncated")           \
    X(E_TRAILING_BYTES, FAIL_RECORD, 1, "trailing_bytes") \
    X(E_BAD_AVRO, FAIL_RECORD, 1, "bad_avro")             \
    X(E_BAD_REQUEST, FAIL_RECORD, 1, "bad_request")       \
    X(E_BAD_SHAPE, FAIL_RECORD, 1, "bad_shape")           \
    X(E_BAD_DTYPE, FAIL_RECORD, 1, "bad_dtype")           \
    X(E_TOO_LARGE, FAIL_RECORD, 1, "too_large")           \
    X(E_UNKNOWN_MODEL, FAIL_RECORD, 1, "unknown_model")   \
    X(E_EXTERNAL_DATA, FAIL_RECORD, 1, "external_data")   \
    X(E_NON_FINITE, FAIL_RECORD, 1, "non_finite")         \
    X(E_BAD_IMAGE, FAIL_RECORD, 1, "bad_image")           \
    X(E_CRASH, FAIL_RECORD, 1, "crash")

enum fail_code {
    E_OK,
#define X(code, class, exit, name) code,
    FAIL_TABLE(X)
#undef X
        E_CODES
};

struct fail {
    enum fail_code code;
    char text[512]; /* where, what was expected, what came, what to do; cut, never overrun */
};

/* Writes *why (NULL: nowhere) and returns -code, so that `return fail(why, E_FILE, ...)` reads well. */
int fail(struct fail *why, enum fail_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " in front of the text already there and returns -code of it. */
int fail_prefix(struct fail *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum fail_class fail_class(enum fail_code code);
int fail_exit(enum fail_code code);         /* the process's exit status, contract.md's table */
const char *fail_name(enum fail_code code); /* static; "bad_avro" */

#endif
