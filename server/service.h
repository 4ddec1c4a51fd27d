/* service.h - what all requests share: configuration, models, counters.
 *
 * main.c owns it. The pointers are set before the listener starts and do not change afterwards.
 * What depends on the weights is behind models_acquire; an exchange holds the reference of its
 * request.
 */
#ifndef SENETD_SERVICE_H
#define SENETD_SERVICE_H

#include "config.h"
#include "models.h"
#include <stdatomic.h>

enum service_state {
    SERVICE_LOADING, /* the listener is up, the model is not: 503 */
    SERVICE_READY,
    SERVICE_UNLOADED, /* ready, but the model was taken away: 503 until it is loaded again */
    SERVICE_DRAINING, /* no more new connections; what was accepted is answered */
};

struct keys;
struct metrics;
struct v2_stats;

struct service {
    const struct config *config;
    struct metrics *metrics; /* the HTTP thread's alone */
    struct models *models;
    struct keys *keys;          /* NULL: everyone may */
    atomic_size_t explanations; /* in flight */
    struct v2_stats *v2_stats;  /* likewise */
    _Atomic(enum service_state) state;
};

static inline enum service_state service_state(struct service *service)
{
    enum service_state state = atomic_load_explicit(&service->state, memory_order_acquire);
    return state == SERVICE_READY && models_unloaded(service->models) ? SERVICE_UNLOADED : state;
}

#endif
