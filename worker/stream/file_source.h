/* Records of a file: an Avro container of InferenceBatch as it is, or the rows of any data file (data/rows.h) put into
 * InferenceBatch records. One thread. */
#ifndef WORKER_STREAM_FILE_SOURCE_H
#define WORKER_STREAM_FILE_SOURCE_H

#include "worker/stream/source.h"

struct file_source;

/* Records of rows carry ids "0", "16", ...: the number of their first row; their row_ids are the numbers of their rows. */
int file_source_open(struct file_source **out, const char *path, const char *model, int rows_per_record,
                     int top_k, struct fail *why);
void file_source_close(struct file_source **f);
struct source *file_source_base(struct file_source *f);
int64_t file_source_rows(const struct file_source *f); /* in the file; -1: not known before it is read */

#endif
