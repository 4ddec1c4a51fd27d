/* attention.h - what the excitations of the served images looked like.
 *
 * Two memories: running statistics of every gate over all images since start (Welford), and the
 * vectors of the last requests, found again only by their request id, so that no client sees
 * another's image without being told its id. The statistics are kept for each predicted class too,
 * and as a mean that forgets, which follows the stream. All are bounded. Thread-safe; an image
 * costs a few microseconds per thousand gates under one mutex.
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
#define ATTENTION_CLASSES  128 /* classes with statistics; a new one takes the rarest's place */
#define ATTENTION_WINDOW   256 /* images after which the forgetting mean weighs them 1 / e */

struct attention;

/* floats: excitations of one image. Errors: ERROR_MEMORY. */
enum error_code attention_new(size_t floats, struct attention **out, struct error *err) MUST_CHECK;

/* Accepts NULL. */
void attention_free(struct attention *attention);

/* Counts one image of that predicted class and keeps its vector under the request's id. position
 * is the image's place in the request. The images of a request are added one after another, none
 * between them. */
void attention_add(struct attention *attention, const char *id, size_t position, size_t class,
                   const float *excitations);

/* Statistics of gates [offset, offset + count) over all images so far; arrays are the caller's,
 * [count] each; NULL where not wanted. Returns the number of images; with 0 images nothing is
 * written. The deviation is that of the population. */
uint64_t attention_statistics(struct attention *attention, size_t offset, size_t count,
                              double *mean, double *deviation, float *least, float *most);

/* Over all images so far: the mean of these gates together, and the share of them that were
 * saturated (gates.h); zeros without images. count from 1. */
void attention_block(struct attention *attention, size_t offset, size_t count, double *mean,
                     double *saturated);

/* Mean and deviation over the images of one predicted class, as above; 0 where none was seen or its
 * statistics gave way to those of other classes. */
uint64_t attention_class_statistics(struct attention *attention, size_t class, size_t offset,
                                    size_t count, double *mean, double *deviation);

/* Classes with statistics and their images, [ATTENTION_CLASSES] each, in no order; their number. */
size_t attention_classes(struct attention *attention, size_t *classes, uint64_t *images);

/* The forgetting mean: of all images up to ATTENTION_WINDOW, exponentially weighted from then on.
 * Returns the sum of the squared weights, the variance of such a mean as a share of an image's: 1 /
 * n for a plain mean of n; 0 without images, and then mean is not written. */
double attention_recent(struct attention *attention, size_t offset, size_t count, double *mean);

/* Vectors of the most recent request with this id whose images are all still kept. Writes up to
 * ATTENTION_IMAGES positions and copies the vectors to *vectors, [images][floats], which the
 * caller frees. Returns the number of images, 0 where the id is unknown or memory ran out. */
size_t attention_find(struct attention *attention, const char *id, size_t *positions,
                      float **vectors);

#endif
