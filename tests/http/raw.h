/* raw.h - bytes to the daemon and back by a plain socket, for what no HTTP client would send. */
#ifndef SENETD_TEST_RAW_H
#define SENETD_TEST_RAW_H

#include "daemon.h"

#include <stdbool.h>
#include <stddef.h>

/* Sends all of it, as far as the daemon takes it. */
void raw_send(int fd, const void *bytes, size_t size);

/* Reads until the daemon closes or is silent for a minute; out[room] is terminated. Whether it
 * closed (by FIN or RST). */
bool raw_read(int fd, char *out, size_t room);

/* The same until `count` answers' heads and their bodies are there, or the daemon closes. */
bool raw_read_answers(int fd, size_t count, char *out, size_t room);

/* Connects, sends, reads to the end, closes. */
bool raw_talk(const struct daemon *daemon, const void *bytes, size_t size, char *out, size_t room);

/* Status of the first answer in the text, 0 for none. */
int raw_status(const char *text);

/* How many answers the text holds, of a status, or of any where that is 0; 100 Continue is none. */
size_t raw_count(const char *text, int status);

#endif
