/* cache.h - results of images that were computed before, found again by their bytes.
 *
 * A cache belongs to one model, so nothing in it outlives the weights that computed it; what a
 * request asks to be told is rendered anew from the full results. The key is the SHA-256 of the
 * encoded image: a client must not be able to make up a collision and see another's answer. The
 * least recently used entry makes room. Thread-safe; decoders look, the HTTP thread stores, the
 * workers never come here.
 */
#ifndef SENETD_CACHE_H
#define SENETD_CACHE_H

#include "error.h"
#include "image.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_KEY_BYTES 32

struct cache;

/* What is kept besides the floats. */
struct cache_facts {
    enum image_format format;
    size_t width, height; /* of the image as uploaded */
};

/* bytes: of all results together, at least one is kept; floats: of one image's results. Pages are
 * taken as entries fill. Errors: ERROR_MEMORY. */
enum error_code cache_new(size_t bytes, size_t floats, struct cache **out,
                          struct error *err) MUST_CHECK;

/* Accepts NULL. */
void cache_free(struct cache *cache);

void cache_key(const uint8_t *bytes, size_t size, uint8_t key[CACHE_KEY_BYTES]);

/* Copies what is kept under the key to results[floats] and *facts; false where there is none. */
bool cache_find(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], float *results,
                struct cache_facts *facts);

void cache_store(struct cache *cache, const uint8_t key[CACHE_KEY_BYTES], const float *results,
                 const struct cache_facts *facts);

/* Entries that are kept now. */
size_t cache_count(struct cache *cache);

#endif
