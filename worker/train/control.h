/* STOP and IMPORT for a trainer that is busy: they sit behind the running job, in the trainer's partitions of the
 * jobs topic, so a second reader without a group looks ahead. One thread. */
#ifndef WORKER_TRAIN_CONTROL_H
#define WORKER_TRAIN_CONTROL_H

#include "worker/codec/record.h"
#include "worker/service/settings.h"
#include "worker/stream/source.h"

struct control;

enum control_event { CONTROL_NONE, CONTROL_STOP, CONTROL_IMPORT, CONTROL_QUEUED_STOP };

/* Looks at what lies behind `running` in its partition and at what was not read yet in the others that `src`
 * owns, of `partitions` in all. */
int control_open(struct control **out, const struct settings *s, struct source *src,
                 const struct record *running, const char *job_id, int partitions, int timeout_ms,
                 struct fail *why);
void control_close(struct control **c);
/* Never waits for a record, and for the schema registry no longer than one try, with pauses between tries. STOP: of the running job. QUEUED_STOP: of a TRAIN job that waits behind it; *job is that job's
 * id and model. IMPORT: *job is the import. *from is the record it came in. Both are valid until the next
 * call. Looks at most five times a second; CONTROL_NONE otherwise. */
int control_next(struct control *c, struct training_job *job, struct record *from, struct fail *why);

#endif
