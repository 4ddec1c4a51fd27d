/* inflate.h - a compressed request body -> the bytes it stands for, by zlib.
 *
 * Content-Encoding gzip and deflate (the zlib form, RFC 9110 section 8.4.1). What comes out counts
 * against the same cap and budget as a body that was sent plainly, piece by piece, so a small body
 * that inflates without end is stopped there. No state.
 */
#ifndef SENETD_INFLATE_H
#define SENETD_INFLATE_H

#include "body.h"
#include "error.h"

/* Replaces the body's bytes. encoding is the header's value, or NULL for none. Errors:
 * ERROR_UNKNOWN_FORMAT (an encoding that we do not know), ERROR_USAGE (broken data), those of
 * body_append; the body stays as it was. */
enum error_code inflate_body(struct body *body, struct body_budget *budget, const char *encoding,
                             struct error *err) MUST_CHECK;

#endif
