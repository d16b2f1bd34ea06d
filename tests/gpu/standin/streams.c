/* Streams, events and graphs: work waits in its stream until somebody waits for it, and is then done stream by stream, as
 * far as their waits allow, from the newest or from the oldest. A wait that is missing gives wrong numbers in one of the two
 * orders, where a device would give them now and then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/standin/inside.h"

static struct CUstream_st *streams;
static int numbers;
static bool oldest_first, compute;

void standin_oldest_first(bool on)
{
    oldest_first = on;
}

void standin_compute(bool on)
{
    compute = on;
}

void streams_reset(void)
{
    stream_drain(NULL);
    oldest_first = compute = false;
    numbers = streams ? numbers : 0;
}

int stream_number(cudaStream_t stream)
{
    return stream ? stream->number : 0;
}

static void push(struct CUgraph_st *to, struct work *w)
{
    *(to->last ? &to->last->next : &to->first) = w;
    to->last = w;
}

static struct work *copy_of(const struct work *w)
{
    struct work *copy = malloc(sizeof *copy + w->size);
    if (!copy)
        abort();
    memcpy(copy, w, sizeof *w);
    memcpy(copy->data, w->data, w->size);
    copy->next = NULL;
    return copy;
}

/* Does the first of a stream's works; false: there is none, or it waits for an event. */
static bool do_one(cudaStream_t s)
{
    struct work *w = s->queue.first;
    if (!w || (w->kind == WORK_WAIT && w->event->done < w->ticket))
        return false;
    s->queue.first = w->next;
    if (!w->next)
        s->queue.last = NULL;
    if (w->kind == WORK_RECORD)
        w->event->done = w->ticket;
    if (w->kind == WORK_RUN)
        w->run(w->data);
    free(w);
    return true;
}

/* Streams from the newest, or from the oldest: downloads before what they wait for, or computing before uploads. */
static bool do_some(cudaStream_t s)
{
    if (!s)
        return false;
    bool moved = oldest_first && do_some(s->next);
    while (do_one(s))
        moved = true;
    return (!oldest_first && do_some(s->next)) || moved;
}

/* Works until `stream` has nothing left. NULL: none has. */
void stream_drain(cudaStream_t stream)
{
    while (do_some(streams))
        ;
    if (stream && stream->queue.first) {
        fprintf(stderr, "stand-in: stream %d waits for ever\n", stream->number);
        abort();
    }
}

void stream_add(cudaStream_t stream, enum work_kind kind, cudaEvent_t event, void (*run)(const void *data),
                const void *data, size_t size)
{
    struct work *w = calloc(1, sizeof *w + size);
    if (!w)
        abort();
    w->kind = kind;
    w->event = event;
    w->run = run;
    w->size = size;
    if (size)
        memcpy(w->data, data, size);
    if (event)
        w->ticket = kind == WORK_RECORD ? ++event->recorded : event->recorded;
    push(stream->capture ? stream->capture : &stream->queue, w);
}

void stream_append(cudaStream_t stream, const struct CUgraph_st *works)
{
    for (const struct work *w = works->first; w; w = w->next)
        push(&stream->queue, copy_of(w));
}

void works_free(struct CUgraph_st *works)
{
    while (works->first) {
        struct work *w = works->first;
        works->first = w->next;
        free(w);
    }
    works->last = NULL;
}

/* Kernels, and products of the libraries: what counts as computing. */
void standin_queue(cudaStream_t stream, void (*run)(const void *work), const void *work, size_t size)
{
    if (compute)
        stream_add(stream, WORK_RUN, NULL, run, work, size);
}

/* ---- the runtime's ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
    int rc = standin_enter("cudaStreamCreateWithFlags", NULL);
    (void)flags;
    if (rc || !(*stream = calloc(1, sizeof **stream)))
        return rc ? rc : cudaErrorMemoryAllocation;
    (*stream)->number = ++numbers;
    (*stream)->next = streams;
    streams = *stream;
    standin_opened(1);
    return 0;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    struct CUstream_st **at = &streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    works_free(&stream->queue);
    free(stream);
    standin_opened(-1);
    return standin_enter("cudaStreamDestroy", NULL);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    int rc = standin_enter("cudaStreamSynchronize", stream);
    if (!rc)
        stream_drain(stream);
    return rc;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
    int rc = standin_enter("cudaEventCreateWithFlags", NULL);
    (void)flags;
    if (rc || !(*event = calloc(1, sizeof **event)))
        return rc ? rc : cudaErrorMemoryAllocation;
    standin_opened(1);
    return 0;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    standin_opened(-1);
    return standin_enter("cudaEventDestroy", NULL);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    int rc = standin_enter("cudaEventRecord", stream);
    if (!rc)
        stream_add(stream, WORK_RECORD, event, NULL, NULL, 0);
    return rc;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int flags)
{
    int rc = standin_enter("cudaStreamWaitEvent", stream);
    (void)flags;
    if (!rc)
        stream_add(stream, WORK_WAIT, event, NULL, NULL, 0);
    return rc;
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode)
{
    int rc = standin_enter("cudaStreamBeginCapture", stream);
    (void)mode;
    if (rc || !(stream->capture = calloc(1, sizeof *stream->capture)))
        return rc ? rc : cudaErrorMemoryAllocation;
    standin_opened(1);
    return 0;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = stream->capture;
    stream->capture = NULL;
    return standin_enter("cudaStreamEndCapture", stream);
}

/* An executable graph is the graph's copy. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags)
{
    int rc = standin_enter("cudaGraphInstantiate", NULL);
    struct CUgraph_st *copy = rc ? NULL : calloc(1, sizeof *copy);
    (void)flags;
    if (!copy)
        return rc ? rc : cudaErrorMemoryAllocation;
    for (const struct work *w = graph->first; w; w = w->next)
        push(copy, copy_of(w));
    *exec = (cudaGraphExec_t)copy;
    standin_opened(1);
    return 0;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    int rc = standin_enter("cudaGraphLaunch", stream);
    if (!rc)
        stream_append(stream, (struct CUgraph_st *)exec);
    return rc;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    works_free(graph);
    free(graph);
    standin_opened(-1);
    return standin_enter("cudaGraphDestroy", NULL);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    works_free((struct CUgraph_st *)exec);
    free(exec);
    standin_opened(-1);
    return standin_enter("cudaGraphExecDestroy", NULL);
}
