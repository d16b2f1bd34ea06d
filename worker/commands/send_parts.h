/* What the files of `send` share. */
#ifndef WORKER_COMMANDS_SEND_PARTS_H
#define WORKER_COMMANDS_SEND_PARTS_H

#include "worker/commands/command.h"
#include "worker/data/folder.h"
#include "worker/service/terminal.h"
#include "worker/stream/writer.h"

enum encoding { ENCODING_FILE, ENCODING_U8, ENCODING_F32 };
enum { RECORD_MOST = 16 * 1024 * 1024 - 65536 }; /* the topics' limit less room for key, headers and ids */

struct send_options {
    char *model, *id_prefix;
    bool samples, row_ids, return_outputs;
    int64_t rows_per_record, top_k, repeat, deadline_ms;
    double rate;
    int encoding;
    char *shape; /* of rows made of a folder's images */
};

struct lane { /* one partition */
    struct written first, last;
    int64_t records;
};

struct sender {
    const struct context *cx;
    const struct send_options *o;
    char topic[TOPIC_NAME], prefix[128];
    struct writer *writer;
    struct lane *lanes;
    int lane_count;
    int64_t records, rows, total;
    struct bytes value;
    void *converted; /* a record's rows in the type sent; NULL: the file's own */
    struct span *row_ids;
    char (*row_texts)[24];
    struct progress progress;
    double began;
};

struct send_input { /* an operand: rows, or the files of a folder as they are */
    const char *path;
    struct rows rows;
    struct folder folder; /* without images: not a folder */
};

/* ---- send.c ---- */

/* Sleeps until the rows sent are due at --rate; E_INTERRUPTED on Ctrl-C. */
int send_pace(const struct sender *s, struct fail *why);
/* The id of the next record into out, which is also its key. */
struct span send_id(const struct sender *s, char out[160]);
/* What a request says before its rows; `id` as above. */
struct inference_head send_head(const struct sender *s, struct span id);
/* Names for --row-ids, rows counted from `first`. */
void send_name_rows(struct sender *s, int64_t first, int64_t rows);
/* s->value, encoded, is the next record, of so many rows. */
int send_value(struct sender *s, struct span id, int64_t rows, struct fail *why);

/* ---- send_folder.c ---- */

/* An operand that is a folder, opened: its names for --encoding file, else its images as rows. */
int send_folder_open(struct send_input *in, const struct send_options *o, struct fail *why);
/* The files of a folder as they are, in records of --rows-per-record, fewer where files are large. */
int send_folder(struct sender *s, const struct folder *f, struct fail *why);

#endif
