/* What `jobs show` says of a job besides its curve: the rows it read and their classes, epochs, what its health rules
 * said, and how well each class is known at the end. From the LossMetric records alone. */
#ifndef WORKER_COMMANDS_JOB_REPORT_H
#define WORKER_COMMANDS_JOB_REPORT_H

#include <stdio.h>

#include "worker/commands/job_table.h"

/* Before the curve: the data set and its classes. */
void job_report_data(const struct job_row *row, FILE *out);
/* Behind it: epochs, health, the table of classes and the confusion matrix. */
void job_report_results(const struct job_row *row, FILE *out);
/* One record's named numbers as JSON: {"precision.0":0.98,...} */
void job_report_json(const struct loss_metric *m, FILE *out);

#endif
