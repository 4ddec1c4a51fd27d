/* photos.h - the routes whose body is photos, and what those on excitations share.
 *
 * A receive function turns query and body into the exchange's job, an answer function tells of the
 * finished one: see struct route. On the HTTP thread.
 */
#ifndef SENETD_PHOTOS_H
#define SENETD_PHOTOS_H

#include "error.h"
#include "exchange.h"

/* POST /classify, /se-weights, /compare, /explain. */
enum error_code photos_receive_classify(struct exchange *exchange, struct error *err) MUST_CHECK;
enum error_code photos_receive_se_weights(struct exchange *exchange, struct error *err) MUST_CHECK;
enum error_code photos_receive_compare(struct exchange *exchange, struct error *err) MUST_CHECK;
enum error_code photos_receive_explain(struct exchange *exchange, struct error *err) MUST_CHECK;

/* The results of a finished job, as JSON or arrays: a lone bad image is the request's problem,
 * others are told of in their place. */
unsigned photos_answer_results(struct exchange *exchange);
unsigned photos_answer_compare(struct exchange *exchange);
unsigned photos_answer_explain(struct exchange *exchange);

/* Gives back the exchange's explanation, if it has one. */
void photos_end_explanation(struct exchange *exchange);

/* Reads the query of a route that tells of one layer in full, or of all in short; no classes. */
enum error_code photos_select_layer(struct exchange *exchange, unsigned keys,
                                    struct error *err) MUST_CHECK;

/* Errors: ERROR_NOT_FOUND where the model has no reference. */
enum error_code photos_need_reference(const struct exchange *exchange,
                                      struct error *err) MUST_CHECK;

/* Counts the excitations of an image of the finished job in what GET /se-weights tells, unless the
 * image has an error. */
void photos_count_attention(struct exchange *exchange, size_t index);

#endif
