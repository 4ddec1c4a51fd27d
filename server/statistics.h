/* statistics.h - what is known of the gates of many images -> JSON: since start, in the reference,
 * of one past request.
 *
 * Each function appends one document to a writer. No state of its own.
 */
#ifndef SENETD_STATISTICS_H
#define SENETD_STATISTICS_H

#include "arrays.h"
#include "attention.h"
#include "error.h"
#include "reference.h"
#include "reply.h"
#include "senet.h"
#include "writer.h"

/* Running statistics: of one block, gate by gate, or of all blocks in short; with a reference (or
 * NULL) also the distance from it. */
void statistics_layer(struct writer *w, const struct senet *model, struct attention *attention,
                      const struct reference *reference, size_t layer);
void statistics_all(struct writer *w, const struct senet *model, struct attention *attention,
                    const struct reference *reference);

/* Running mean and std of one block's gates over the images of one predicted class, with a
 * reference (or NULL) also that mean's distance from it. Errors: ERROR_NOT_FOUND where there are
 * none, ERROR_MEMORY. */
enum error_code statistics_class(struct writer *w, const struct senet *model,
                                 struct attention *attention, const struct reference *reference,
                                 size_t layer, size_t class, struct error *err) MUST_CHECK;

/* The reference: of all blocks mean and std, of one block (layer not NULL) the quantiles and the
 * classes' means and stds too. Errors: ERROR_MEMORY, ERROR_WEIGHTS. */
enum error_code statistics_reference(struct writer *w, const struct senet *model,
                                     const struct reference *reference, const size_t *layer,
                                     struct error *err) MUST_CHECK;

/* The vectors kept of one request. Errors: ERROR_NOT_FOUND. */
enum error_code statistics_request(struct writer *w, const struct senet *model,
                                   struct attention *attention, const char *id,
                                   const struct selection *selection, struct error *err) MUST_CHECK;

/* The same as arrays. Errors: ERROR_NOT_FOUND, those of arrays_results. */
enum error_code statistics_request_arrays(struct writer *w, const struct senet *model,
                                          struct attention *attention, const char *id,
                                          enum arrays_format format,
                                          const struct selection *selection,
                                          struct error *err) MUST_CHECK;

#endif
