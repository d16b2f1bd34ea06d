/* Base64 of RFC 4648 section 4, padded: how bytes stand in JSON. */
#ifndef WORKER_CODEC_BASE64_H
#define WORKER_CODEC_BASE64_H

#include "worker/codec/record.h"

void base64_put(struct bytes *to, const void *data, size_t size);
/* Appends what the text stands for; false: it is no base64 (a partial result may have been appended). */
bool base64_read(struct bytes *to, const char *text, size_t size);

#endif
