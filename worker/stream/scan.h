/* A topic read whole, from its beginning to the stable end it has now. For tables that are made once:
 * the model registry of a command, the list of jobs. */
#ifndef WORKER_STREAM_SCAN_H
#define WORKER_STREAM_SCAN_H

#include "worker/stream/reader.h"

/* Non-zero ends the scan with that code. The record is borrowed. */
typedef int scan_visit(void *arg, const struct record *r, struct fail *why);

/* E_UNREACHABLE when the broker gives nothing for timeout_ms. */
int topic_scan(const struct settings *s, const char *topic, int timeout_ms, scan_visit *visit, void *arg,
               struct fail *why);

#endif
