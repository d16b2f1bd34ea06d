/* Pages of the worker's HTTP window, as a test reads them: over a plain socket, with a parser of its own. Fails the running
 * cmocka test when an answer is no HTTP or a page is not what Prometheus' text format allows. */
#ifndef TESTS_LIB_PAGE_H
#define TESTS_LIB_PAGE_H

#include <stdbool.h>

struct process; /* process.h */

struct page {
    int status;    /* of the response; -1: nobody answered */
    char *headers; /* 0-terminated, the status line included */
    char *body;
};

/* The address that a worker's log names; the port is the kernel's choice. */
void page_find(struct process *p, char address[64]);
/* Asks "127.0.0.1:9464" for a path. method "GET". Free with page_free. */
void page_get(struct page *p, const char *address, const char *method, const char *path);
void page_free(struct page *p);

/* The value of a series, written as on the page: "x_total{role=\"infer\",outcome=\"ok\"}". -1: it is not there. */
double page_value(const char *body, const char *series);
/* The sum over all series that begin with `start`. */
double page_sum(const char *body, const char *start);
int page_lines(const char *body, const char *start); /* how many of them */

/* Every histogram of the page: bounds rise, counts do not fall along them, +Inf equals _count. Returns how many there are. */
int page_histograms(const char *body);
/* No counter, bucket, count or sum of `before` is missing from `after` or smaller there. Returns how many were compared. */
int page_not_less(const char *before, const char *after);
/* `promtool check metrics` accepts the page without a word. */
void page_promtool(const char *body);

#endif
