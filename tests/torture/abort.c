/* Aborts on purpose (T11): the program that worker/service/bug.h calls `none`, which has no bug but aborts one transaction in
 * three when all is sent and only the commit is missing. */
#include "tests/torture/strikes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/lib/page.h"

#include <cmocka.h>

void abort_open(struct run *r)
{
    static char address[32];
    snprintf(address, sizeof address, "127.0.0.1:%d", test_free_port());
    r->program = run_program("bugs/none/millrace");
    r->listen = address;
    r->rest = "batch: {max_rows: 32}\ncommit: {max_rows: 128}\n"; /* many transactions */
}

/* One in three was aborted indeed, by the worker's own count. */
void abort_close(struct run *r)
{
    struct page p = {0};
    page_get(&p, r->listen, "GET", "/metrics");
    assert_int_equal(p.status, 200);
    double aborted = page_value(p.body, "millrace_transactions_total{role=\"infer\",outcome=\"aborted\"}"),
           committed =
               page_value(p.body, "millrace_transactions_total{role=\"infer\",outcome=\"committed\"}");
    page_free(&p);
    snprintf(r->note, sizeof r->note, "; %.0f transactions committed, %.0f aborted", committed, aborted);
    assert_true(aborted > committed / 4);
}
