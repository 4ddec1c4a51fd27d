/* json_pool.h - parsing JSON by jansson, in memory that is taken beforehand.
 *
 * jansson 2.14 loses count where one of its allocations fails, and then writes past its buffer. So
 * each text is given a block that no document of its size can use up: either the parser has memory,
 * or it is not begun.
 *
 * A parsed *root lives in *memory, which the caller frees; values of it must be neither released
 * nor changed. Keys must not be given twice. Thread-safe.
 */
#ifndef SENETD_JSON_POOL_H
#define SENETD_JSON_POOL_H

#include "error.h"
#include <jansson.h>
#include <stddef.h>

/* Parses text[size], which messages call `what`.
 * Errors: fault, the code for what is no JSON; ERROR_MEMORY. */
enum error_code json_pool_parse(const char *what, const char *text, size_t size,
                                enum error_code fault, const json_t **root, void **memory,
                                struct error *err) MUST_CHECK;

/* Parses a file of at most JSON_POOL_FILE_BYTES; the same, and ERROR_IO. */
#define JSON_POOL_FILE_BYTES ((size_t)1 << 20)
enum error_code json_pool_read(const char *path, enum error_code fault, const json_t **root,
                               void **memory, struct error *err) MUST_CHECK;

#endif
