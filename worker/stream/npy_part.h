/* One tensor of every Prediction, row after row, as an .npy file: raw outputs or saliency maps. */
#ifndef WORKER_STREAM_NPY_PART_H
#define WORKER_STREAM_NPY_PART_H

#include "worker/codec/record.h"

enum npy_tensor { NPY_OUTPUTS, NPY_SALIENCY };

struct npy_part;

/* `rows` rows of this shape will come; -1: not known, E_USAGE. */
int npy_part_open(struct npy_part **out, const char *path, enum npy_tensor which, struct shape row,
                  int64_t rows, struct fail *why);
/* Rows that were not scored are written as not-a-number: zero would look like an answer. */
int npy_part_write(struct npy_part *p, struct span prediction, struct fail *why);
/* Makes the file whole and gives it its name. *p is closed whatever is returned. */
int npy_part_finish(struct npy_part **p, struct fail *why);
void npy_part_abandon(struct npy_part **p); /* removes what was written; NULL is fine */

#endif
