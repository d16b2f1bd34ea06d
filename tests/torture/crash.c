/* Records that crash the program (T8): `millrace-hooks` in place of millrace, worker/infer/hook.h. */
#include "tests/torture/strikes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { FOUND_MS = 120000, LOOK_MS = 10 };

void crash_open(struct run *r)
{
    r->program = run_program("millrace-hooks");
    r->crashes = true;
    r->crash_every = (int)(r->amount.records / r->amount.strikes);
}

/* The worker is started again as often as it dies; each strike is over with one more dead letter. */
void strike_crash(struct run *r)
{
    long until_ms = now_ms() + FOUND_MS, begun = watch_dead_letters(r->watch);
    int deaths = 0;
    while (watch_dead_letters(r->watch) == begun) {
        if (now_ms() > until_ms)
            fail_msg("no dead letter within %d ms, after %d crashes", FOUND_MS, deaths);
        if (!process_alive(&r->workers[0])) {
            run_revive(r);
            if (deaths++ == 0)
                watch_mark(r->watch);
        }
        run_pause(LOOK_MS);
    }
}
