/* Draws the images of records in the terminal: a request's own, a sample's with its label, and a
 * prediction's by looking the request up through its src.* headers. */
#ifndef WORKER_COMMANDS_PICTURES_H
#define WORKER_COMMANDS_PICTURES_H

#include "worker/commands/command.h"
#include "worker/stream/source.h"

/* Draws the first `most` rows of a record on stdout; `payload` is its Avro binary. A record without images
 * that can be drawn is passed over with a line that says why. Negative only for what ends the command. */
int pictures_print(const struct context *cx, const char *record_type, const struct record *r,
                   struct span payload, int most, struct fail *why);

#endif
