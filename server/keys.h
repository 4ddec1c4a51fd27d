/* keys.h - the API keys that clients may show.
 *
 * A file with one key a line; empty lines and lines that begin with # do not count. A key shown is
 * compared with every key, over the same number of bytes whatever they hold, so that the time tells
 * nothing of them. Read-only after loading: thread-safe.
 */
#ifndef SENETD_KEYS_H
#define SENETD_KEYS_H

#include "error.h"
#include <stdbool.h>

#define KEYS_LEAST_BYTES 16 /* of a key; shorter ones can be guessed */
#define KEYS_MOST_BYTES  128

struct keys;

/* Errors: ERROR_IO (cannot read), ERROR_USAGE (which line, what is wrong; or no key at all),
 * ERROR_MEMORY. */
enum error_code keys_load(const char *path, struct keys **out, struct error *err) MUST_CHECK;

/* Accepts NULL. */
void keys_free(struct keys *keys);

/* Values of the request's headers, NULL where absent: "Authorization: Bearer KEY" or
 * "X-API-Key: KEY". */
bool keys_accept(const struct keys *keys, const char *authorization, const char *x_api_key);

#endif
