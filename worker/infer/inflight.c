/* The file is an array of 64-bit words of this machine: it never leaves it, and what is not understood is begun anew. The page cache
 * keeps it over the death of the process; nothing is synced, since a machine that dies counts for nothing. */
#include "worker/infer/inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "worker/service/log.h"

/* A batch with more partitions than ranges leaves the others unnoted: they are only counted. */
enum { RANGES = 512, CRASHES_ALONE = 2 };
#define MAGIC INT64_C(0x31464e4952494d) /* "MIRINF1" */

struct range {
    int64_t partition, first, last;
};

struct notes {
    int64_t magic;
    atomic_int_fast64_t crashed; /* the handler's */
    int64_t limit;               /* records of a batch while there are suspects */
    int64_t suspect_count, flight_count, flight_records;
    int64_t alone_partition, alone_offset, alone_crashes; /* of the record that was alone in the last crash */
    struct range suspects[RANGES], flight[RANGES];
};

struct inflight {
    struct notes *notes;
    int batch_limit; /* of the batch at hand, once it was limited; INT_MAX */
};

/* Where the handler writes: a handler is given nothing else. */
static _Atomic(struct notes *) inflight_armed;

/* ---- after a crash ---- */

static void suspect(struct notes *n)
{
    bool alone = n->flight_records == 1 && n->flight_count == 1;
    const struct range *one = &n->flight[0];
    if (alone && n->alone_crashes && n->alone_partition == one->partition && n->alone_offset == one->first) {
        n->alone_crashes++;
    } else {
        n->alone_partition = one->partition;
        n->alone_offset = one->first;
        n->alone_crashes = alone;
    }
    n->limit = n->flight_records > 1 ? n->flight_records / 2 : 1;
    n->suspect_count = n->flight_count;
    memcpy(n->suspects, n->flight, (size_t)n->flight_count * sizeof *n->flight);
    log_event(LOG_WARN, "the last process crashed", "records_in_flight",
              log_text("%lld", (long long)n->flight_records), "partition",
              log_text("%lld", (long long)one->partition), "first", log_text("%lld", (long long)one->first),
              "last", log_text("%lld", (long long)one->last), "records_a_batch",
              log_text("%lld", (long long)n->limit), NULL);
}

static bool is_sound(const struct notes *n)
{
    return n->magic == MAGIC && n->suspect_count >= 0 && n->suspect_count <= RANGES && n->flight_count >= 0 &&
           n->flight_count <= RANGES && n->flight_records >= n->flight_count && n->limit >= 0 &&
           n->alone_crashes >= 0;
}

int inflight_open(struct inflight **out, const char *path, struct fail *why)
{
    struct inflight *f = calloc(1, sizeof *f);
    int fd = f ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1, error = errno;
    void *at = MAP_FAILED;
    /* Its blocks are taken now: a note that finds the disk full would be a SIGBUS, and that a crash to blame on a record. */
    if (fd >= 0 && (error = posix_fallocate(fd, 0, sizeof *f->notes)) == 0) {
        at = mmap(NULL, sizeof *f->notes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        error = errno;
    }
    if (fd >= 0)
        close(fd);
    if (at == MAP_FAILED) {
        free(f);
        return fail(why, error == ENOMEM ? E_MEMORY : E_CONFIG, "worker.state_dir: cannot keep %s: %s", path,
                    strerror(error));
    }
    f->notes = at;
    f->batch_limit = INT_MAX;
    if (!is_sound(f->notes))
        *f->notes = (struct notes){.magic = MAGIC};
    else if (f->notes->crashed && f->notes->flight_count)
        suspect(f->notes);
    f->notes->crashed = 0;
    f->notes->flight_count = f->notes->flight_records = 0;
    *out = f;
    return 0;
}

void inflight_close(struct inflight **f)
{
    struct notes *mine = *f ? (*f)->notes : NULL;
    if (!*f)
        return;
    atomic_compare_exchange_strong(&inflight_armed, &mine, NULL);
    munmap((*f)->notes, sizeof *(*f)->notes);
    free(*f);
    *f = NULL;
}

/* The disposition is the default one again (SA_RESETHAND) and the signal is not blocked (SA_NODEFER): the second one ends us. */
static void on_crash(int number)
{
    struct notes *n = atomic_load(&inflight_armed);
    if (n)
        n->crashed = 1;
    raise(number);
}

void inflight_arm(struct inflight *f)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction crash = {.sa_handler = on_crash, .sa_flags = SA_RESETHAND | SA_NODEFER};
    if (!f)
        return;
    atomic_store(&inflight_armed, f->notes);
    sigemptyset(&crash.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &crash, NULL);
}

/* ---- the batch at hand ---- */

bool inflight_is_suspect(const struct inflight *f, const struct record *r)
{
    const struct notes *n = f ? f->notes : NULL;
    for (int64_t i = 0; n && i < n->suspect_count; i++) {
        const struct range *s = &n->suspects[i];
        if (s->partition == r->partition && s->first <= r->offset && r->offset <= s->last)
            return true;
    }
    return n && n->suspect_count == RANGES; /* those without a range may be any */
}

void inflight_add(struct inflight *f, const struct record *r)
{
    if (!f)
        return;
    struct notes *n = f->notes;
    if (f->batch_limit == INT_MAX && inflight_is_suspect(f, r) && n->limit < INT_MAX)
        f->batch_limit = (int)n->limit;
    n->flight_records++;
    for (int64_t i = 0; i < n->flight_count; i++)
        if (n->flight[i].partition == r->partition) {
            n->flight[i].last = r->offset;
            return;
        }
    if (n->flight_count < RANGES) {
        n->flight[n->flight_count] = (struct range){r->partition, r->offset, r->offset};
        n->flight_count++; /* behind its content: a crash in between finds what was there before */
    }
}

void inflight_clear(struct inflight *f)
{
    if (!f)
        return;
    f->notes->flight_count = f->notes->flight_records = 0;
    f->batch_limit = INT_MAX;
}

int inflight_limit(const struct inflight *f)
{
    return f ? f->batch_limit : INT_MAX;
}

bool inflight_is_careful(const struct inflight *f)
{
    return f && f->batch_limit != INT_MAX;
}

void inflight_passed(struct inflight *f, struct source *src)
{
    if (!f)
        return;
    struct notes *n = f->notes;
    int64_t kept = 0;
    for (int64_t i = 0; i < n->suspect_count; i++) {
        int64_t position = source_position(src, (int32_t)n->suspects[i].partition);
        if (position == SOURCE_NOT_OURS || position <= n->suspects[i].last)
            n->suspects[kept++] = n->suspects[i];
    }
    if (n->suspect_count && !kept) {
        log_event(LOG_INFO, "records under suspicion are answered", NULL);
        n->alone_crashes = 0;
    }
    n->suspect_count = kept;
}

int inflight_condemned(const struct inflight *f, const struct record *r)
{
    const struct notes *n = f ? f->notes : NULL;
    bool found = n && n->alone_crashes >= CRASHES_ALONE && n->alone_partition == r->partition &&
                 n->alone_offset == r->offset;
    return found ? (int)n->alone_crashes : 0;
}
