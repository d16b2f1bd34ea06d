/* JPEG through libjpeg-turbo. Its errors come as a jump out of the library; damage that it would paint over with grey is an
 * error here, because a guessed image would get a confident answer. The only file with jpeglib.h. */
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h wants FILE and size_t */

#include <jerror.h>
#include <jpeglib.h>

#include "worker/codec/image_parts.h"

enum {
    MEMORY_BYTES = 192 << 20
}; /* the coefficients of a progressive file of IMAGE_MAX_PIXELS take half of it */

struct jpeg {
    struct jpeg_decompress_struct file;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
};

static void on_error(j_common_ptr file)
{
    struct jpeg *j = file->client_data;
    j->errors.format_message(file, j->text);
    longjmp(j->back, 1);
}

/* Warnings that leave every pixel as it was meant are let pass; the others tell of missing or unreadable data. */
static void on_message(j_common_ptr file, int level)
{
    int code = file->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM && code != JWRN_JFIF_MAJOR)
        on_error(file);
}

static void on_progress(j_common_ptr file)
{
    struct jpeg *j = file->client_data;
    if (j->file.input_scan_number <= IMAGE_MAX_SCANS)
        return;
    snprintf(j->text, sizeof j->text, "more than %d scans", IMAGE_MAX_SCANS);
    longjmp(j->back, 1);
}

static void jpeg_open(struct jpeg *j)
{
    j->file.err = jpeg_std_error(&j->errors);
    j->file.client_data = j;
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_message;
    jpeg_create_decompress(&j->file);
    j->progress.progress_monitor = on_progress;
    j->file.progress = &j->progress;
    j->file.mem->max_memory_to_use = MEMORY_BYTES;
}

/* What jumps is called here, between jpeg_open's setjmp and its end. */
static int jpeg_read(struct jpeg *j, struct image_decoder *d, struct span file, struct fail *why)
{
    jpeg_mem_src(&j->file, (const unsigned char *)file.data, file.size);
    jpeg_read_header(&j->file, TRUE);
    if (j->file.num_components != 1 && j->file.num_components != 3)
        return fail(why, E_BAD_IMAGE, "a JPEG of %d components; grey and colour are read",
                    j->file.num_components);
    int rc = image_admit(d, j->file.image_width, j->file.image_height, why);
    if (rc)
        return rc;
    j->file.out_color_space = JCS_RGB;
    jpeg_start_decompress(&j->file);
    while (j->file.output_scanline < j->file.output_height) {
        JSAMPROW row = d->pixels + (size_t)j->file.output_scanline * (size_t)d->width * 3;
        jpeg_read_scanlines(&j->file, &row, 1);
    }
    jpeg_finish_decompress(&j->file);
    return 0;
}

int image_jpeg(struct image_decoder *d, struct span file, struct fail *why)
{
    struct jpeg j = {0};
    int rc;
    if (setjmp(j.back)) {
        rc = fail(why, E_BAD_IMAGE, "JPEG: %s", j.text);
    } else {
        jpeg_open(&j);
        rc = jpeg_read(&j, d, file, why);
    }
    jpeg_destroy_decompress(&j.file);
    return rc;
}
