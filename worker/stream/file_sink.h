/* Predictions into a file: .avro (a container of Prediction), .jsonl (a line each) or .npy (the raw output tensor). One thread. */
#ifndef WORKER_STREAM_FILE_SINK_H
#define WORKER_STREAM_FILE_SINK_H

#include "worker/stream/sink.h"

struct file_sink;

struct file_sink_counts {
    int64_t records, rows, dead_letters;
};

/* By the extension of path; `outputs` is the shape of one row's output and rows the number of rows, which .npy needs (rows -1:
 * not known, E_USAGE). Dead letters are reported on the log and counted. */
int file_sink_open(struct file_sink **out, const char *path, struct shape outputs, int64_t rows,
                   struct fail *why);
/* Writes every Prediction's saliency maps into an .npy file as well, which takes its name with the other; `input` is the
 * shape of one row's input. To be called before the first batch. */
int file_sink_saliency(struct file_sink *f, const char *path, struct shape input, struct fail *why);
bool file_sink_wants_outputs(const char *path);
struct sink *file_sink_base(struct file_sink *f);
struct file_sink_counts file_sink_counts(const struct file_sink *f);
/* Makes the file whole and gives it its name. *f is closed whatever is returned. */
int file_sink_finish(struct file_sink **f, struct fail *why);
void file_sink_abandon(struct file_sink **f); /* removes what was written; NULL is fine */

#endif
