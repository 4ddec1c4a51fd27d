/* attention.h - what the excitations of the served images looked like.
 *
 * Two memories: running statistics of every gate over all images since start (Welford), and the
 * vectors of the last requests, found again only by their request id, so that no client sees
 * another's image without being told its id. Both are bounded. Thread-safe; an image costs a few
 * microseconds per thousand gates under one mutex.
 */
#ifndef SENETD_ATTENTION_H
#define SENETD_ATTENTION_H

#include "error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATTENTION_ID_BYTES 129 /* a request id and its terminator */
#define ATTENTION_REQUESTS 256 /* requests kept */
#define ATTENTION_IMAGES   512 /* images kept, over all requests */

struct attention;

/* floats: excitations of one image. Errors: ERROR_MEMORY. */
enum error_code attention_new(size_t floats, struct attention **out, struct error *err) MUST_CHECK;

/* Accepts NULL. */
void attention_free(struct attention *attention);

/* Counts one image and keeps its vector under the request's id. position is the image's place in
 * the request. The images of a request are added one after another, none between them. */
void attention_add(struct attention *attention, const char *id, size_t position,
                   const float *excitations);

/* Statistics of gates [offset, offset + count) over all images so far; arrays are the caller's,
 * [count] each; NULL where not wanted. Returns the number of images; with 0 images nothing is
 * written. The deviation is that of the population. */
uint64_t attention_statistics(struct attention *attention, size_t offset, size_t count,
                              double *mean, double *deviation, float *least, float *most);

/* Vectors of the most recent request with this id whose images are all still kept. Writes up to
 * ATTENTION_IMAGES positions and copies the vectors to *vectors, [images][floats], which the
 * caller frees. Returns the number of images, 0 where the id is unknown or memory ran out. */
size_t attention_find(struct attention *attention, const char *id, size_t *positions,
                      float **vectors);

#endif
