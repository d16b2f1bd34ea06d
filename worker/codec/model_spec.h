/* How requests and commands name a model: name, name@alias or name@version. */
#ifndef WORKER_CODEC_MODEL_SPEC_H
#define WORKER_CODEC_MODEL_SPEC_H

#include "worker/codec/record.h"

#define MODEL_NAME_RULE "1 to 100 of A-Z a-z 0-9 . _ -, and not only dots"

struct model_spec {
    struct span name;
    struct span alias; /* data NULL: none; then version, or 0 for the champion */
    int64_t version;
};

/* Names become folders of the store, so "." and ".." are none. */
bool model_name_valid(struct span name);
bool model_alias_valid(struct span alias); /* a name that begins with a letter */
/* Spans point into text. bad_request where it is none of the three forms; versions begin at 1. */
int model_spec_parse(struct model_spec *out, struct span text, struct fail *why);

#endif
