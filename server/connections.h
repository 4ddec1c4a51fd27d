/* connections.h - every open connection: how many there may be, and how long each may take.
 *
 * libmicrohttpd 0.9.75 knows only an inactivity timer, which a byte now and then keeps from ever
 * firing, and none at all while a connection is suspended. Here each stage of a connection has a
 * deadline of its own that no byte moves: a thread looks at all of them several times a second and
 * shuts down (shutdown(2), under the lock that also guards their closing) those that are late;
 * libmicrohttpd then finds the end of stream and closes. It also looks whether the client of a
 * request that is being computed has gone.
 *
 * Where connections are short, the one that has been idle for longest makes room for a new one.
 */
#ifndef SENETD_CONNECTIONS_H
#define SENETD_CONNECTIONS_H

#include "error.h"
#include "framing.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Sockets beyond the limit: for probes of health, and for those that are just being closed. */
#define CONNECTIONS_RESERVE 32

/* stage, the reason given where its deadline closes a connection */
#define CONNECTION_STAGES(X)                                                                       \
    X(CONNECTION_HEADER, "header-timeout") /* until the header is complete */                      \
    X(CONNECTION_IDLE, "idle-timeout")     /* between two requests */                              \
    X(CONNECTION_BODY, "slow-body")        /* each stall_ns must bring min_rate */                 \
    X(CONNECTION_WAITING, "client-gone")   /* being computed; never closed, only told of */        \
    X(CONNECTION_ANSWER, "slow-reader")    /* each stall_ns must take min_rate */

enum connection_stage {
#define CONNECTION_ENUM(stage, reason) stage,
    CONNECTION_STAGES(CONNECTION_ENUM)
#undef CONNECTION_ENUM
        CONNECTION_STAGE_COUNT
};

struct connections_limits {
    size_t most;             /* connections; CONNECTIONS_RESERVE more are accepted for a while */
    size_t most_per_address; /* of one IPv4 address or IPv6 /64; 0 for no limit */
    int64_t header_ns, idle_ns, stall_ns;
    size_t min_rate; /* bytes a second */
    bool encrypted;  /* nothing may be written past the library */
};

struct connections;

/* Kept by the library as the socket's context. */
struct connection {
    char address[64]; /* numeric, for the log */
    struct framing_target target;
    bool lingers;  /* the client may still be sending when the connection is closed */
    unsigned told; /* status of the last words written past the library, or 0 */

    /* The module's own, under its lock but for received. */
    int fd;
    uint64_t key[2]; /* the address, as far as it counts for the limit */
    enum connection_stage stage;
    bool spoke, closing;
    bool marked;                 /* a stretch of stall_ns has begun in this stage */
    int64_t since_ns;            /* of the stage, or of the present stretch of stall_ns */
    uint64_t mark;               /* where marked: bytes moved until since_ns */
    atomic_ulong received;       /* bytes of the body */
    void (*gone)(void *context); /* while WAITING */
    void *context;
    struct connection *previous, *next, *sibling;
};

/* Errors: ERROR_MEMORY. */
enum error_code connections_start(const struct connections_limits *limits, struct connections **out,
                                  struct error *err) MUST_CHECK;

/* All connections must have been closed. Accepts NULL. */
void connections_stop(struct connections *connections);

/* Whether a client at that address may have one more connection. */
bool connections_admit(struct connections *connections, const struct sockaddr *address);

/* fd stays the library's, which announces its closing by connections_close beforehand. NULL where
 * memory lacks. */
struct connection *connections_open(struct connections *connections, int fd,
                                    const struct sockaddr *address);
void connections_close(struct connections *connections, struct connection *connection);

/* The request line is there. */
void connections_begin(struct connections *connections, struct connection *connection);

/* A request's header is complete. False where as many requests are under way as there may be
 * connections; then only a probe of health should be answered. */
bool connections_serve(struct connections *connections, struct connection *connection);

/* The next stage: CONNECTION_ANSWER or CONNECTION_IDLE. */
void connections_enter(struct connections *connections, struct connection *connection,
                       enum connection_stage stage);

/* CONNECTION_WAITING: gone(context) is called once, on another thread, if the client leaves before
 * the next stage begins; it must not block. */
void connections_wait(struct connections *connections, struct connection *connection,
                      void (*gone)(void *context), void *context);

/* Bytes of the body came. */
void connections_received(struct connection *connection, size_t bytes);

/* Connections that have not sent a request line yet. */
size_t connections_silent(struct connections *connections);

struct connections_counts {
    size_t open;
    uint64_t closed[CONNECTION_STAGE_COUNT]; /* by their deadline; WAITING: clients found gone */
    uint64_t evicted;                        /* idle ones that made room */
    uint64_t refused;                        /* over most_per_address */
};

void connections_count(struct connections *connections, struct connections_counts *out);

#endif
