/* Small questions about text that several parts of the worker ask: JSON strings and numbers, base64,
 * numbers for people. Pure functions. */
#ifndef WORKER_SERVICE_TEXT_H
#define WORKER_SERVICE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { TEXT_ESCAPE = 8 };

/* Takes one character at *at (before end), writes what a JSON string holds for it and returns how many bytes
 * that is. What is not UTF-8 becomes U+FFFD, byte by byte. */
size_t text_escape(const char **at, const char *end, char out[TEXT_ESCAPE]);
/* The bytes as a JSON string with its quotes. */
void text_print_json(const void *bytes, size_t size, FILE *out);
/* The bytes in base64 without quotes. */
void text_print_base64(const void *bytes, size_t size, FILE *out);
bool text_is_utf8(const void *bytes, size_t size);
/* A JSON number, whole. */
bool text_is_number(const char *text);
/* A whole number in decimal, of the whole text; false when it is none or does not fit. */
bool text_to_int(const char *text, int64_t *out);
/* "51 234", "1.2 MB", "3m 20s" into out; return out. */
const char *text_count(int64_t n, char *out, size_t size);
const char *text_bytes(double n, char *out, size_t size);
const char *text_seconds(double s, char *out, size_t size);

#endif
