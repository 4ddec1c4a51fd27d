/* v2_reply.h - a finished job -> the answer to an inference request: JSON, and behind it the
 * tensors that were asked for in binary form. No state.
 */
#ifndef SENETD_V2_REPLY_H
#define SENETD_V2_REPLY_H

#include "batch.h"
#include "v2_request.h"
#include "writer.h"
#include <stddef.h>

/* Appends to an empty writer. Returns the length of the JSON where tensors follow it, else 0: the
 * value of Inference-Header-Content-Length. */
size_t v2_reply_write(struct writer *out, const struct v2_request *request, const struct job *job);

#endif
