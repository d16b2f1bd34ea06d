/* Pieces of tables that several control records share; see fields.h. */
#ifndef WORKER_CODEC_CONTROL_H
#define WORKER_CODEC_CONTROL_H

#include "worker/codec/fields.h"

#define AT(type, member) offsetof(type, member)

/* Rows of a table: struct, field, place in the struct where that has another name, kind. */
#define FIELD_AS(type, field, member, k)                  \
    {                                                     \
        .name = #field, .kind = k, .at = AT(type, member) \
    }
#define FIELD(type, member, k) FIELD_AS(type, member, member, k)
#define FIELD_RULE(type, member, k, r)                                \
    {                                                                 \
        .name = #member, .kind = k, .at = AT(type, member), .rule = r \
    }
#define FIELD_ENUM(type, member, symbols)                                         \
    {                                                                             \
        .name = #member, .kind = F_ENUM, .at = AT(type, member), .limit = symbols \
    }
#define FIELD_ARRAY(type, member, count, piece, fields)                                        \
    {                                                                                          \
        .name = #member, .kind = F_ARRAY, .at = AT(type, member), .count_at = AT(type, count), \
        .item_size = sizeof(piece), .item = fields                                             \
    }
#define FIELD_FIXED(type, field, member, count, piece, fields)                                   \
    {                                                                                            \
        .name = #field, .kind = F_FIXED, .at = AT(type, member), .count_at = AT(type, count),    \
        .item_size = sizeof(piece), .limit = (int)(sizeof(((type *)0)->member) / sizeof(piece)), \
        .item = fields                                                                           \
    }
#define FIELD_RECORD(field, fields)                      \
    {                                                    \
        .name = #field, .kind = F_RECORD, .item = fields \
    }

enum { JOB_STATES = JOB_STOPPED + 1 };

extern const struct field text_fields[];        /* an item that is one string */
extern const struct field text_pair_fields[];   /* an entry of a map of strings */
extern const struct field number_pair_fields[]; /* an entry of a map of doubles */
extern const struct field offset_range_fields[];

/* The verdict alone, for the table of record types. */
int prediction_validate(struct span value, struct fail *why);
int training_job_validate(struct span value, struct fail *why);
int loss_metric_validate(struct span value, struct fail *why);
int job_checkpoint_validate(struct span value, struct fail *why);
int model_version_event_validate(struct span value, struct fail *why);

#endif
