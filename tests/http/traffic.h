/* traffic.h - clients that send one request over and over, each once its last answer has come. */
#ifndef SENETD_TEST_TRAFFIC_H
#define SENETD_TEST_TRAFFIC_H

#include "client.h"

#include <stdbool.h>
#include <stddef.h>

#define TRAFFIC_CLIENTS 4

struct traffic;

/* Starts the clients, threads of their own, which must not assert: is_right judges each answer,
 * concurrently, and may keep counts in context by atomics. What is pointed to must stay. */
struct traffic *traffic_start(const struct daemon *daemon, const struct request *request,
                              bool (*is_right)(const struct answer *answer, void *context),
                              void *context);

/* Waits until that many further answers have come. */
void traffic_wait(struct traffic *traffic, size_t answers);

/* Each client gets its last answer, then they end. Fails the test unless all answers were right. */
void traffic_stop(struct traffic *traffic);

#endif
