/* What our decoders made of a record, field by field beside what Avro C reads in the same bytes; the program stops where
 * they differ. Called for what the validator accepts. */
#ifndef TESTS_FUZZ_DIFFERENTIAL_H
#define TESTS_FUZZ_DIFFERENTIAL_H

#include "worker/codec/record.h"

void differential_inference(struct span value, const struct inference *q);
void differential_sample(struct span value, const struct sample *s);
void differential_training_job(struct span value, const struct training_job *j);
void differential_loss_metric(struct span value, const struct loss_metric *m);
void differential_job_checkpoint(struct span value, const struct job_checkpoint *c);
void differential_model_version_event(struct span value, const struct model_version_event *e);

#endif
