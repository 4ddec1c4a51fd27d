/* service.h - what all requests share: configuration, model, queue, memory of excitations.
 *
 * main.c owns it. The pointers are set while the state is SERVICE_LOADING and do not change
 * afterwards: whoever has read another state with service_state may use them from any thread.
 */
#ifndef SENETD_SERVICE_H
#define SENETD_SERVICE_H

#include "attention.h"
#include "batch.h"
#include "config.h"
#include "senet.h"
#include <stdatomic.h>

enum service_state {
    SERVICE_LOADING, /* the listener is up, the model is not: 503 */
    SERVICE_READY,
    SERVICE_DRAINING, /* no more new connections; what was accepted is answered */
};

struct metrics;

struct service {
    const struct config *config;
    struct metrics *metrics; /* set before the listener starts; the HTTP thread's alone */
    struct senet *model;
    struct batch *batch;
    struct attention *attention;
    _Atomic(enum service_state) state;
};

static inline enum service_state service_state(struct service *service)
{
    return atomic_load_explicit(&service->state, memory_order_acquire);
}

#endif
