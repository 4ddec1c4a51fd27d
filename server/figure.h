/* figure.h - writes a finished SVG to its file, as SVG or as PNG. No state. */
#ifndef SENETD_FIGURE_H
#define SENETD_FIGURE_H

#include "error.h"
#include "writer.h"

/* Whether a figure can be written under that name, told before it is made: what ends in .png is
 * PNG, what ends in .svg or has no ending SVG. Errors: ERROR_USAGE (another ending), ERROR_IO (the
 * program that makes PNG is not installed, or does not run). */
enum error_code figure_check(const char *path, struct error *err) MUST_CHECK;

/* Writes the SVG in w to the file. Errors: ERROR_MEMORY (w is incomplete), ERROR_IO. */
enum error_code figure_write(const char *path, const struct writer *w,
                             struct error *err) MUST_CHECK;

#endif
