/* The two clocks: monotonic for durations, wall clock for records. */
#ifndef WORKER_STREAM_CLOCK_H
#define WORKER_STREAM_CLOCK_H

#include <stdint.h>

int64_t now_us(void);   /* monotonic */
int64_t clock_ms(void); /* wall clock, since 1970 */

#endif
