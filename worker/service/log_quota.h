/* How many lines of an event may be written: log.c's, nobody else's. Without locks, any thread. */
#ifndef WORKER_SERVICE_LOG_QUOTA_H
#define WORKER_SERVICE_LOG_QUOTA_H

#include <stdbool.h>

/* True: write it; *left_out is how many lines of it were left out since the last one that was written. `event` is a text that
 * lives as long as the process. */
bool log_quota_take(const char *event, long *left_out);
/* An event whose second is over and whose left-out lines nobody has told yet: how many, and which; 0: there is none. They count
 * as told from now on. */
long log_quota_silent(const char **event);

#endif
