/* A thread that ends the process when a call hangs. Nothing is lost by it: what was not committed is read
 * again. */
#include <time.h>
#include <unistd.h>

#include "worker/service/log.h"
#include "worker/stream/parts.h"

static void *watch(void *arg)
{
    struct watchdog *w = arg;
    struct timespec pause = {0, 100000000};
    while (!w->closed) {
        int64_t deadline_us = w->deadline_us;
        if (deadline_us && now_us() > deadline_us) {
            log_event(LOG_ERROR, "a call made no progress: ending, so that a supervisor starts again", "call",
                      atomic_load(&w->doing), NULL);
            _exit(fail_exit(E_RESTART));
        }
        nanosleep(&pause, NULL);
    }
    return NULL;
}

int watchdog_open(struct watchdog *w, struct fail *why)
{
    atomic_init(&w->deadline_us, 0);
    atomic_init(&w->closed, false);
    atomic_init(&w->doing, "");
    return pthread_create(&w->thread, NULL, watch, w) ? fail(why, E_MEMORY, "no thread for the watchdog") : 0;
}

void watchdog_close(struct watchdog *w)
{
    w->closed = true;
    pthread_join(w->thread, NULL);
}

void watchdog_arm(struct watchdog *w, const char *doing, int64_t ms)
{
    w->doing = doing;
    w->deadline_us = now_us() + ms * 1000;
}

void watchdog_disarm(struct watchdog *w)
{
    w->deadline_us = 0;
}
