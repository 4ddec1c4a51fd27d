/* farewell.h - the last words to a client whose connection is about to be closed.
 *
 * libmicrohttpd 0.9.75 lets nobody answer in the middle of a body. Where the body is too long or
 * too slow to wait for its end, the answer is written straight to the socket: nothing of an answer
 * was sent on it yet, and nothing will be.
 */
#ifndef SENETD_FAREWELL_H
#define SENETD_FAREWELL_H

/* Writes a problem (RFC 9457) with that status as a whole HTTP/1.1 answer that ends the connection,
 * as far as the socket takes it at once. name is that of the type; id may be NULL. */
void farewell_send(int fd, unsigned status, const char *name, const char *detail, const char *id);

#endif
