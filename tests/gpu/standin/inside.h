/* What standin.c, streams.c and runtime.c know of each other. */
#ifndef TESTS_GPU_STANDIN_INSIDE_H
#define TESTS_GPU_STANDIN_INSIDE_H

#include "tests/gpu/standin/standin.h"

enum work_kind { WORK_RUN, WORK_RECORD, WORK_WAIT };

struct work {
    struct work *next;
    enum work_kind kind;
    cudaEvent_t event;
    unsigned long ticket; /* of the event: which record this is, or waits for */
    void (*run)(const void *data);
    size_t size;
    _Alignas(16) unsigned char data[];
};

struct CUgraph_st {
    struct work *first, *last;
};

struct CUstream_st {
    int number;
    struct CUgraph_st queue;
    struct CUgraph_st *capture; /* what is queued goes here; NULL: into the queue */
    struct CUstream_st *next;
};

struct CUevent_st {
    unsigned long recorded, done;
};

int stream_number(cudaStream_t stream); /* 0: none */
void streams_reset(void);
void stream_add(cudaStream_t stream, enum work_kind kind, cudaEvent_t event, void (*run)(const void *data),
                const void *data, size_t size);
void stream_append(cudaStream_t stream, const struct CUgraph_st *works); /* copies */
void stream_drain(cudaStream_t stream);                                  /* NULL: all */
void works_free(struct CUgraph_st *works);

#endif
