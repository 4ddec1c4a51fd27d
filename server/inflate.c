/* inflate.c - see inflate.h. */
#include "inflate.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <strings.h>
#include <zlib.h>

#define PIECE_BYTES ((size_t)64 << 10)

/* zlib's windowBits for an encoding: the largest window, 16 more for gzip; 0 where unknown. */
static int window_bits(const char *encoding)
{
    if (strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0)
        return 15 + 16;
    return strcasecmp(encoding, "deflate") == 0 ? 15 : 0;
}

static enum error_code inflate_pieces(z_stream *stream, const char *encoding, struct body *out,
                                      struct body_budget *budget, struct error *err)
{
    unsigned char *piece = malloc(PIECE_BYTES);
    if (piece == NULL)
        return error_set(err, ERROR_MEMORY, "no memory to inflate the body");
    enum error_code code = ERROR_NONE;
    int state = Z_OK;
    while (state == Z_OK && code == ERROR_NONE) {
        stream->next_out = piece;
        stream->avail_out = (uInt)PIECE_BYTES;
        state = inflate(stream, Z_NO_FLUSH);
        if (state == Z_OK || state == Z_STREAM_END)
            code = body_append(out, budget, piece, PIECE_BYTES - stream->avail_out, err);
    }
    free(piece);
    if (code != ERROR_NONE)
        return code;
    if (state == Z_MEM_ERROR)
        return error_set(err, ERROR_MEMORY, "no memory to inflate the body");
    if (state != Z_STREAM_END)
        return error_set(err, ERROR_USAGE, "the body is not %.16s: %s", encoding,
                         stream->msg != NULL ? stream->msg : "it ends too early");
    if (stream->avail_in > 0)
        return error_set(err, ERROR_USAGE, "%u bytes follow the end of the %.16s body",
                         stream->avail_in, encoding);
    return ERROR_NONE;
}

enum error_code inflate_body(struct body *body, struct body_budget *budget, const char *encoding,
                             struct error *err)
{
    struct body out = {0};
    if (encoding == NULL || strcasecmp(encoding, "identity") == 0)
        return ERROR_NONE;
    int bits = window_bits(encoding);
    if (bits == 0 || body->size > UINT_MAX)
        return error_set(err, ERROR_UNKNOWN_FORMAT,
                         "Content-Encoding is '%.64s', expected gzip, deflate or none", encoding);
    z_stream stream = {.next_in = body->bytes, .avail_in = (uInt)body->size};
    if (inflateInit2(&stream, bits) != Z_OK)
        return error_set(err, ERROR_MEMORY, "no memory to inflate the body");
    enum error_code code = inflate_pieces(&stream, encoding, &out, budget, err);
    inflateEnd(&stream);
    if (code != ERROR_NONE) {
        body_free(&out, budget);
        return code;
    }
    body_free(body, budget);
    *body = out;
    return ERROR_NONE;
}
