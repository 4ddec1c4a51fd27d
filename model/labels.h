/* labels.h - class names: from a file, or the ImageNet-1k table built into the program. */
#ifndef SENETD_LABELS_H
#define SENETD_LABELS_H

#include "error.h"
#include <stddef.h>

struct labels {
    char *text;   /* owns the bytes of the names */
    char **names; /* [count], into text */
    size_t count;
};

/* One label a line; in a line with tabs (wnid, name) the part after the last tab. Empty lines at
 * the end are ignored. Errors: ERROR_IO, ERROR_WEIGHTS where the count is not classes or a label
 * is empty or not UTF-8. */
enum error_code labels_read(const char *path, size_t classes, struct labels *out,
                            struct error *err) MUST_CHECK;

/* The 1000 ImageNet classes, in the order of every published 1000-class model. */
enum error_code labels_imagenet(struct labels *out, struct error *err) MUST_CHECK;

/* "class 0", "class 1", ...: for a model that came without names. */
enum error_code labels_numbered(size_t classes, struct labels *out, struct error *err) MUST_CHECK;

/* Accepts a zeroed struct. */
void labels_free(struct labels *labels);

#endif
