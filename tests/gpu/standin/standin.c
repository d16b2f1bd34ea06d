/* What was called, and what is to be refused. Streams are streams.c's. */
#include "tests/gpu/standin/standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/standin/inside.h"

enum { ORDERS = 8, CALLS = 1 << 16, NAME = 64 };

struct order {
    char function[NAME];
    int nth, error;
    bool forever;
};

struct called {
    const char *function;
    int stream;
};

static struct order orders[ORDERS];
static int order_count, broken, open_things, call_count;
static struct called calls[CALLS];
static bool environment_read;

static void give(const char *function, int nth, int error, bool forever)
{
    if (order_count == ORDERS)
        abort();
    struct order *o = &orders[order_count++];
    snprintf(o->function, sizeof o->function, "%s", function);
    o->nth = nth;
    o->error = error;
    o->forever = forever;
}

void standin_refuse(const char *function, int nth, int error)
{
    give(function, nth, error, false);
}

void standin_break(const char *function, int nth, int error)
{
    give(function, nth, error, true);
}

void standin_reset(void)
{
    order_count = broken = call_count = 0;
    environment_read = true;
    streams_reset();
    standin_memory(0);
}

static void read_environment(void)
{
    const char *text = getenv("MILLRACE_STANDIN");
    char name[NAME];
    int nth, error, used;
    environment_read = true;
    while (text && sscanf(text, "%63[A-Za-z0-9_]:%d:%d%n", name, &nth, &error, &used) == 3) {
        if (!strcmp(name, "memory"))
            standin_memory((size_t)nth * 1000000);
        else if (!strcmp(name, "compute"))
            standin_compute(nth);
        else
            give(name, nth, error, true);
        text += used + (text[used] == ',');
    }
}

int standin_enter(const char *function, cudaStream_t stream)
{
    if (!environment_read)
        read_environment();
    if (call_count < CALLS)
        calls[call_count++] = (struct called){function, stream_number(stream)};
    for (struct order *o = orders; o < orders + order_count; o++)
        if (!strcmp(o->function, function) && --o->nth == 0) {
            broken = o->forever ? o->error : broken;
            return o->error;
        }
    return strncmp(function, "cuda", 4) ? 0 : broken;
}

int standin_count(const char *function)
{
    int n = 0;
    for (int i = 0; i < call_count; i++)
        n += !strcmp(calls[i].function, function);
    return n;
}

char *standin_calls(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    for (int i = 0; i < call_count; i++)
        if (calls[i].stream)
            fprintf(f, "%s %d\n", calls[i].function, calls[i].stream);
        else
            fprintf(f, "%s\n", calls[i].function);
    fclose(f);
    return text;
}

void standin_opened(int n)
{
    open_things += n;
}

int standin_open(void)
{
    return open_things;
}
