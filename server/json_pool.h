/* json_pool.h - parsing JSON of strangers by jansson, in memory that is taken beforehand.
 *
 * jansson 2.14 loses count where one of its allocations fails, and then writes past its buffer. So
 * a request's JSON is given a block that no document of its size can use up: either the parser has
 * memory, or it is not begun.
 */
#ifndef SENETD_JSON_POOL_H
#define SENETD_JSON_POOL_H

#include "error.h"
#include <jansson.h>
#include <stddef.h>

/* Parses text[size], which rejects keys that are given twice. *root lives in *memory, which the
 * caller frees; values of it must be neither released nor changed. Thread-safe.
 * Errors: ERROR_USAGE (what is wrong), ERROR_MEMORY. */
enum error_code json_pool_parse(const char *text, size_t size, const json_t **root, void **memory,
                                struct error *err) MUST_CHECK;

#endif
