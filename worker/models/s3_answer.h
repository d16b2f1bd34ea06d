/* What an S3 server says, in words for people; and what libcurl says, likewise. No network here. */
#ifndef WORKER_MODELS_S3_ANSWER_H
#define WORKER_MODELS_S3_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/fail.h"

/* The text of the first <tag> in 0-terminated XML, entities resolved, cut to fit; false when there is none. *rest, where
 * not NULL, is where to go on. */
bool s3_xml_text(const char *xml, const char *tag, char *out, size_t room, const char **rest);
/* May another try of what was answered with this status and body succeed? */
bool s3_answer_passes(long status, const char *body);
/* Writes why from an answer of 300 or more. E_FILE: no such object. */
int s3_answer_fail(const char *uri, long status, const char *body, struct fail *why);

#endif
