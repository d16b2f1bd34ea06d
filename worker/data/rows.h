/* Data sets as files: rows of one type and shape, with labels or targets where the file has them.
 *
 *   extension                     content                              read  write   labels
 *   .npy                          NumPy 1.0-3.0, little endian, C order  mmap  yes     none
 *   .npz                          x (data, images), y (labels), targets  yes   yes     y: integers; targets
 *   idx3-ubyte, idx1-ubyte, .idx  MNIST; also .gz                        yes   yes     the file beside it
 *   .bin                          CIFAR-10: label, 3 x 32 x 32 bytes     yes   yes     in the rows
 *   .avro                         container: Sample, InferenceBatch      yes   Sample  in the records
 *   a folder                      class folders with JPEG, PNG           yes   no      the folders (folder.h)
 *
 * The name and the first bytes must agree. A file is refused with E_FILE naming the file, the byte or the
 * row, what was expected and what came; every size in a file is checked against the file's real length before
 * memory is taken for it. Threads: functions are pure but for their arguments and the file. Next to read:
 * format.h, one reader and writer a format. */
#ifndef WORKER_DATA_ROWS_H
#define WORKER_DATA_ROWS_H

#include "engine/tensor.h"

struct rows_hold;

struct rows {
    enum dtype dtype;
    struct shape row_shape; /* without the leading dimension: (C, H, W), or (K). A file's [n, H, W] is (1, H,
                               W), its [n] is (1) */
    int64_t count;          /* rows; 0 is allowed */
    size_t row_size;        /* bytes of a row */
    const void *data;      /* count * row_size bytes, C order, little endian, NOT always aligned for its type:
                              dtype_to_float and memcpy read it. NULL only when count is 0 */
    const int32_t *labels; /* [count]; NULL: none */
    const float *targets;  /* [count][target_size]; NULL: none */
    int64_t target_size;
    struct rows_hold *hold; /* what rows_close releases; NULL for rows that the caller made */
};

/* Reads the file (for .npy maps it: rows cost memory as they are touched, and the file must not shrink
 * meanwhile). *out is written only on success; close it with rows_close. */
int rows_read(struct rows *out, const char *path, struct fail *why);
/* The same for who knows what shape is wanted: images of a folder are brought to it, other files are read as they are.
 * NULL: a folder's images get the first one's size. */
int rows_read_as(struct rows *out, const char *path, const struct shape *shape, struct fail *why);
/* Releases and zeroes *rows; a zeroed one is fine. */
void rows_close(struct rows *rows);

/* Writes all of them; E_USAGE where the format cannot hold them (dtype, shape, no place for labels, missing
 * labels), naming one that can. The file appears under its name only when it is whole. hold is not read. */
int rows_write(const struct rows *rows, const char *path, struct fail *why);

/* The same in pieces, for rows that need not be in memory together. `like` gives dtype, row_shape, count (of
 * the whole file), target_size (0: no targets) and, by being NULL or not, whether labels will come; data is
 * not read. Then rows_append until count rows have come, and rows_finish. */
struct rows_writer;
int rows_create(struct rows_writer **out, const char *path, const struct rows *like, struct fail *why);
/* labels and targets: NULL exactly where `like` said so. */
int rows_append(struct rows_writer *w, const void *data, const int32_t *labels, const float *targets,
                int64_t count, struct fail *why);
/* Checks the count, makes the file durable and gives it its name. *w is closed and NULL afterwards, whatever
 * is returned. */
int rows_finish(struct rows_writer **w, struct fail *why);
/* Removes what was written. NULL and *w NULL are fine. */
void rows_abandon(struct rows_writer **w);

/* ".npy, .npz, ...", for messages and help. */
const char *rows_formats(void);

#endif
