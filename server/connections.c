/* connections.c - see connections.h.
 *
 * All connections stand in one list in the order in which their present stage began, so the first
 * idle one found is the one idle for longest; those of one address hang in a bucket of a hash
 * table. One mutex guards both, held for short looks only.
 */
#include "connections.h"
#include "farewell.h"
#include "lingering.h"
#include "monotonic.h"
#include "trimming.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define BUCKETS        1024
#define SECOND_NS      1000000000
#define TICK_NS        250000000 /* between two looks at the deadlines */
#define LINGER_TICK_NS 20000000

struct connections {
    struct connections_limits limits;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;
    struct connection *first, *last, *buckets[BUCKETS];
    struct connections_counts counts;
    size_t busy, silent; /* requests under way; connections without a request line yet */
    struct lingering lingering;
    struct trimming trimming;
    bool stopping;
    pthread_t reaper;
};

/* ---- lists ----------------------------------------------------------------------------------- */

static void detach(struct connections *connections, struct connection *connection)
{
    *(connection->previous != NULL ? &connection->previous->next : &connections->first) =
        connection->next;
    *(connection->next != NULL ? &connection->next->previous : &connections->last) =
        connection->previous;
}

static void append(struct connections *connections, struct connection *connection)
{
    connection->previous = connections->last;
    connection->next = NULL;
    *(connections->last != NULL ? &connections->last->next : &connections->first) = connection;
    connections->last = connection;
}

/* An IPv4 address as the IPv6 address that maps it; of IPv6 the /64, which one subscriber has. */
static void read_key(const struct sockaddr *address, uint64_t key[2])
{
    key[0] = key[1] = 0;
    if (address->sa_family == AF_INET) {
        key[1] = UINT64_C(0xffff00000000) |
                 ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        if (IN6_IS_ADDR_V4MAPPED(v6)) {
            uint32_t v4;
            memcpy(&v4, v6->s6_addr + 12, sizeof v4);
            key[1] = UINT64_C(0xffff00000000) | v4;
        } else {
            memcpy(&key[0], v6->s6_addr, sizeof key[0]);
        }
    }
}

static struct connection **bucket_of(struct connections *connections, const uint64_t key[2])
{
    uint64_t mixed = (key[0] ^ key[1]) * UINT64_C(0x9e3779b97f4a7c15);
    return &connections->buckets[mixed >> 54];
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static bool is_busy(enum connection_stage stage)
{
    return stage == CONNECTION_BODY || stage == CONNECTION_WAITING || stage == CONNECTION_ANSWER;
}

/* The library will find the end of the stream. With abort, what the kernel still holds for the
 * client is dropped, too. */
static void shut(struct connection *connection, bool abort)
{
    if (abort)
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    shutdown(connection->fd, SHUT_RDWR);
    connection->closing = true;
}

/* Bytes that the stage has moved so far. */
static uint64_t progress(const struct connection *connection)
{
    if (connection->stage == CONNECTION_BODY)
        return atomic_load(&connection->received);
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return UINT64_MAX; /* the library will see why */
    return info.tcpi_bytes_acked;
}

/* A stretch begins where a look finds the stage begun or the stretch before over: most answers are
 * sent before any look, and asking the kernel as they begin would hold each of them up. */
static bool moves_too_slowly(struct connection *connection, const struct connections_limits *limits,
                             int64_t now)
{
    if (connection->marked && now - connection->since_ns < limits->stall_ns)
        return false;
    uint64_t moved = progress(connection);
    uint64_t least = (uint64_t)((double)limits->min_rate * (double)limits->stall_ns / SECOND_NS);
    if (connection->marked && moved - connection->mark < least)
        return true;
    connection->marked = true;
    connection->mark = moved;
    connection->since_ns = now;
    return false;
}

/* The kernel holds bytes that the client has not taken. */
static bool has_unsent(const struct connection *connection)
{
    int bytes = 0;
    return ioctl(connection->fd, TIOCOUTQ, &bytes) == 0 && bytes > 0;
}

static bool has_gone(const struct connection *connection)
{
    struct pollfd peer = {.fd = connection->fd, .events = POLLRDHUP};
    return poll(&peer, 1, 0) > 0;
}

static bool is_late(struct connection *connection, const struct connections_limits *limits,
                    int64_t now)
{
    int64_t spent = now - connection->since_ns;
    switch (connection->stage) {
    case CONNECTION_HEADER:
        return spent >= limits->header_ns;
    case CONNECTION_IDLE:
        if (has_unsent(connection)) /* it was idle for us alone */
            return moves_too_slowly(connection, limits, now);
        return spent >= limits->idle_ns;
    case CONNECTION_BODY:
    case CONNECTION_ANSWER:
        return moves_too_slowly(connection, limits, now);
    case CONNECTION_WAITING:
        return connection->gone != NULL && has_gone(connection);
    case CONNECTION_STAGE_COUNT:
        break;
    }
    return false;
}

static void look_at(struct connections *connections, struct connection *connection, int64_t now)
{
    const struct connections_limits *limits = &connections->limits;
    if (connection->closing || !is_late(connection, limits, now))
        return;
    connections->counts.closed[connection->stage]++;
    if (connection->stage == CONNECTION_WAITING) {
        connection->gone(connection->context);
        connection->gone = NULL;
        return;
    }
    if (connection->stage == CONNECTION_BODY && !limits->encrypted) {
        farewell_send(connection->fd, 408, "request-timeout", "the body comes too slowly", NULL);
        connection->told = 408;
    }
    shut(connection, connection->stage != CONNECTION_BODY && has_unsent(connection));
}

static void pause_until(struct connections *connections, int64_t then)
{
    struct timespec time = {.tv_sec = then / SECOND_NS, .tv_nsec = then % SECOND_NS};
    pthread_cond_timedwait(&connections->wake, &connections->mutex, &time);
}

/* Outside the mutex, under which it is called. */
static void trim(struct connections *connections)
{
    pthread_mutex_unlock(&connections->mutex);
    trimming_run();
    pthread_mutex_lock(&connections->mutex);
}

static void *reap(void *argument)
{
    struct connections *connections = argument;
    int64_t next = 0;
    pthread_mutex_lock(&connections->mutex);
    while (!connections->stopping) {
        int64_t now = monotonic_ns();
        if (trimming_due(&connections->trimming, connections->busy, now)) {
            trim(connections);
            continue;
        }
        bool lingers = connections->lingering.count > 0;
        if (connections->first == NULL && !lingers && !trimming_wanted(&connections->trimming)) {
            pthread_cond_wait(&connections->wake, &connections->mutex);
            continue;
        }
        lingering_sweep(&connections->lingering, now);
        if (now >= next) {
            for (struct connection *at = connections->first; at != NULL; at = at->next)
                look_at(connections, at, now);
            next = now + TICK_NS;
        }
        pause_until(connections, lingers ? now + LINGER_TICK_NS : next);
    }
    pthread_mutex_unlock(&connections->mutex);
    return NULL;
}

/* Makes room: ends the connection that has been idle for longest. */
static void evict(struct connections *connections)
{
    for (struct connection *at = connections->first; at != NULL; at = at->next)
        if (!is_busy(at->stage) && !at->closing) {
            connections->counts.evicted++;
            shut(at, false);
            return;
        }
}

/* ---- the interface --------------------------------------------------------------------------- */

static void set_stage(struct connections *connections, struct connection *connection,
                      enum connection_stage stage)
{
    connections->busy -= is_busy(connection->stage);
    connections->busy += is_busy(stage);
    trimming_note(&connections->trimming, connections->busy);
    connection->stage = stage;
    connection->since_ns = monotonic_ns();
    connection->marked = false;
    connection->gone = NULL;
    detach(connections, connection);
    append(connections, connection);
}

bool connections_admit(struct connections *connections, const struct sockaddr *address)
{
    size_t count = 0, most = connections->limits.most_per_address;
    uint64_t key[2];
    if (most == 0)
        return true;
    read_key(address, key);
    pthread_mutex_lock(&connections->mutex);
    for (const struct connection *at = *bucket_of(connections, key); at != NULL; at = at->sibling)
        count += at->key[0] == key[0] && at->key[1] == key[1];
    connections->counts.refused += count >= most;
    pthread_mutex_unlock(&connections->mutex);
    return count < most;
}

static void name_address(const struct sockaddr *address, char *out, size_t size)
{
    socklen_t length = address->sa_family == AF_INET6 ? (socklen_t)sizeof(struct sockaddr_in6)
                                                      : (socklen_t)sizeof(struct sockaddr_in);
    if (getnameinfo(address, length, out, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        snprintf(out, size, "-");
}

struct connection *connections_open(struct connections *connections, int fd,
                                    const struct sockaddr *address)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return NULL;
    connection->fd = fd;
    connection->since_ns = monotonic_ns();
    read_key(address, connection->key);
    name_address(address, connection->address, sizeof connection->address);
    /* What a client that vanished has not taken: the kernel would keep it for a quarter of an
     * hour. */
    unsigned patience_ms = (unsigned)(2 * connections->limits.stall_ns / 1000000);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
    pthread_mutex_lock(&connections->mutex);
    struct connection **bucket = bucket_of(connections, connection->key);
    connection->sibling = *bucket;
    *bucket = connection;
    if (++connections->counts.open > connections->limits.most)
        evict(connections);
    append(connections, connection);
    connections->silent++;
    if (connections->counts.open == 1)
        pthread_cond_signal(&connections->wake);
    pthread_mutex_unlock(&connections->mutex);
    return connection;
}

void connections_close(struct connections *connections, struct connection *connection)
{
    pthread_mutex_lock(&connections->mutex);
    struct connection **at = bucket_of(connections, connection->key);
    while (*at != connection)
        at = &(*at)->sibling;
    *at = connection->sibling;
    detach(connections, connection);
    connections->busy -= is_busy(connection->stage);
    connections->silent -= !connection->spoke;
    connections->counts.open--;
    if (connection->lingers) {
        lingering_add(&connections->lingering, connection->fd, monotonic_ns());
        pthread_cond_signal(&connections->wake);
    }
    pthread_mutex_unlock(&connections->mutex);
    free(connection);
}

void connections_begin(struct connections *connections, struct connection *connection)
{
    pthread_mutex_lock(&connections->mutex);
    connections->silent -= !connection->spoke;
    connection->spoke = true;
    if (connection->stage == CONNECTION_IDLE)
        set_stage(connections, connection, CONNECTION_HEADER);
    pthread_mutex_unlock(&connections->mutex);
}

bool connections_serve(struct connections *connections, struct connection *connection)
{
    pthread_mutex_lock(&connections->mutex);
    bool room = connections->busy < connections->limits.most;
    set_stage(connections, connection, CONNECTION_BODY);
    pthread_mutex_unlock(&connections->mutex);
    return room;
}

void connections_enter(struct connections *connections, struct connection *connection,
                       enum connection_stage stage)
{
    pthread_mutex_lock(&connections->mutex);
    set_stage(connections, connection, stage);
    pthread_mutex_unlock(&connections->mutex);
}

void connections_wait(struct connections *connections, struct connection *connection,
                      void (*gone)(void *context), void *context)
{
    pthread_mutex_lock(&connections->mutex);
    set_stage(connections, connection, CONNECTION_WAITING);
    connection->gone = gone;
    connection->context = context;
    pthread_mutex_unlock(&connections->mutex);
}

void connections_received(struct connection *connection, size_t bytes)
{
    atomic_fetch_add(&connection->received, bytes);
}

size_t connections_silent(struct connections *connections)
{
    pthread_mutex_lock(&connections->mutex);
    size_t silent = connections->silent;
    pthread_mutex_unlock(&connections->mutex);
    return silent;
}

void connections_count(struct connections *connections, struct connections_counts *out)
{
    pthread_mutex_lock(&connections->mutex);
    *out = connections->counts;
    pthread_mutex_unlock(&connections->mutex);
}

enum error_code connections_start(const struct connections_limits *limits, struct connections **out,
                                  struct error *err)
{
    struct connections *connections = calloc(1, sizeof *connections);
    if (connections == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the table of connections");
    connections->limits = *limits;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&connections->mutex, NULL);
    pthread_cond_init(&connections->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int failure = pthread_create(&connections->reaper, NULL, reap, connections);
    if (failure != 0) {
        free(connections);
        return error_set(err, ERROR_MEMORY, "cannot start a thread: %s", strerror(failure));
    }
    pthread_setname_np(connections->reaper, "senetd-reap");
    *out = connections;
    return ERROR_NONE;
}

void connections_stop(struct connections *connections)
{
    if (connections == NULL)
        return;
    pthread_mutex_lock(&connections->mutex);
    connections->stopping = true;
    pthread_cond_signal(&connections->wake);
    pthread_mutex_unlock(&connections->mutex);
    pthread_join(connections->reaper, NULL);
    lingering_end(&connections->lingering);
    pthread_cond_destroy(&connections->wake);
    pthread_mutex_destroy(&connections->mutex);
    free(connections);
}
