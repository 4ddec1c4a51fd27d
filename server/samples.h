/* samples.h - image files for the commands without a server: finding them, running them in groups.
 *
 * Files go through a batch's queue a group at a time, so that all workers have something to do and
 * memory stays bounded however many files there are.
 */
#ifndef SENETD_SAMPLES_H
#define SENETD_SAMPLES_H

#include "batch.h"
#include "config.h"
#include "error.h"
#include "senet.h"
#include <stdbool.h>
#include <stddef.h>

#define SAMPLES_NO_CLASS ((size_t)-1)

struct sample {
    char *path;   /* owned */
    size_t class; /* that its folder is named after, or SAMPLES_NO_CLASS */
};

struct samples {
    struct sample *files; /* [count], by folder and name */
    size_t count;
    bool by_folder; /* a folder is named after a class */
};

/* The files in a directory and in its folders, hidden ones left out. A folder's name is a class's
 * label, with '_' or '-' for what is not a letter or digit and in any case, or its number. At most
 * limit files of a folder, spread over its list; 0 for all. samples_free also after an error.
 * Errors: ERROR_IO, ERROR_USAGE (no files), ERROR_MEMORY. */
enum error_code samples_find(const char *directory, const struct senet *senet, size_t limit,
                             struct samples *out, struct error *err) MUST_CHECK;

void samples_free(struct samples *samples);

/* Reads a file of up to max_bytes; *out is the caller's to free.
 * Errors: ERROR_IO, ERROR_TOO_LARGE, ERROR_MEMORY. */
enum error_code samples_read(const char *path, size_t max_bytes, uint8_t **out, size_t *size,
                             struct error *err) MUST_CHECK;

/* Told of each file of a group, in order; index is the file's in the group. */
typedef void samples_report(void *context, size_t index, const struct batch_image *image);

/* Runs count files as one job. What is wrong with a file stands in its image. Errors: those of the
 * queue, ERROR_MEMORY. */
enum error_code samples_run(struct batch *batch, const struct config *config,
                            const char *const *paths, size_t count, samples_report *report,
                            void *context, struct error *err) MUST_CHECK;

/* Files that a group may have. */
size_t samples_group(const struct config *config);

#endif
