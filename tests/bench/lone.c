/* lone.c - what a server adds to the request of a lone client, and what would be the least.
 *
 *     lone ask PORT PATH FILE SECONDS    posts FILE over and over on one connection
 *     lone serve PORT BYTES MS           the bare server: receive, compute, send
 *
 * The client measures from the request's last byte sent (send(2) has returned) to the answer's last
 * byte received, less what the answer's own Server-Timing tells of decoding, preprocessing and
 * inference. It prints the least tenth and the median of these differences in microseconds, and the
 * median of the times taken off in milliseconds, as JSON.
 *
 * The bare server has all cores compute for MS milliseconds and drive everything else out of the
 * caches, as an inference does; then it sends a body of BYTES that was made beforehand. What the
 * client measures of it is the kernel's and the client's own; what a daemon takes beyond that is
 * the daemon's.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CACHE_BYTES ((size_t)64 << 20)
#define ROOM        ((size_t)8 << 20) /* of a request, of an answer */
#define HEAD_BYTES  256
#define MOST        100000 /* requests */

static int64_t busy_ns;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER;
static unsigned requests; /* under the mutex */
static atomic_uint computing;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void *zeroed(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        exit(EXIT_FAILURE);
    return memset(memory, 0, size);
}

/* Whether a whole request, or answer, came. */
static int receive(int fd, char *message)
{
    size_t got = 0, needed = 0;
    while (needed == 0 || got < needed) {
        ssize_t piece = recv(fd, message + got, ROOM - 1 - got, 0);
        if (piece <= 0)
            return 0;
        got += (size_t)piece;
        message[got] = '\0';
        const char *end = needed == 0 ? strstr(message, "\r\n\r\n") : NULL;
        const char *length = end != NULL ? strcasestr(message, "Content-Length:") : NULL;
        if (end != NULL)
            needed = (size_t)(end + 4 - message) + (length != NULL ? (size_t)atol(length + 15) : 0);
    }
    return 1;
}

static int send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t piece = send(fd, bytes, size, MSG_NOSIGNAL);
        if (piece <= 0)
            return 0;
        bytes += piece;
        size -= (size_t)piece;
    }
    return 1;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

/* ---- the bare server ------------------------------------------------------------------------- */

static void compute(unsigned char *memory)
{
    int64_t end = now_ns() + busy_ns;
    for (size_t at = 0; now_ns() < end;)
        for (int i = 0; i < 1000; i++, at = (at + 64) % CACHE_BYTES)
            memory[at]++;
}

static void *help(void *argument)
{
    unsigned seen = 0;
    (void)argument;
    for (unsigned char *memory = zeroed(CACHE_BYTES);;) {
        pthread_mutex_lock(&mutex);
        while (requests == seen)
            pthread_cond_wait(&asked, &mutex);
        seen = requests;
        pthread_mutex_unlock(&mutex);
        compute(memory);
        atomic_fetch_sub(&computing, 1);
    }
    return NULL;
}

static void serve(int fd, unsigned helpers, unsigned char *memory, char *request, char *answer,
                  size_t bytes)
{
    while (receive(fd, request)) {
        int64_t begin = now_ns();
        atomic_store(&computing, helpers);
        pthread_mutex_lock(&mutex);
        requests++;
        pthread_cond_broadcast(&asked);
        pthread_mutex_unlock(&mutex);
        compute(memory);
        while (atomic_load(&computing) > 0)
            sched_yield();
        char head[HEAD_BYTES];
        int size = snprintf(head, sizeof head,
                            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                            "%zu\r\nServer-Timing: infer;dur=%.3f\r\n\r\n",
                            bytes, (double)(now_ns() - begin) / 1e6);
        char *start = answer + sizeof head - size; /* the body stands behind */
        memcpy(start, head, (size_t)size);
        if (!send_all(fd, start, (size_t)size + bytes))
            return;
    }
}

static int serve_all(uint16_t port, size_t bytes, double busy_ms)
{
    const int one = 1;
    busy_ns = (int64_t)(1e6 * busy_ms);
    char *request = zeroed(ROOM), *answer = zeroed(ROOM);
    unsigned char *memory = zeroed(CACHE_BYTES);
    if (bytes < 2 || bytes > ROOM - HEAD_BYTES)
        return EXIT_FAILURE;
    memset(answer + HEAD_BYTES, 'x', bytes);
    answer[HEAD_BYTES] = answer[HEAD_BYTES + bytes - 1] = '"'; /* JSON */
    const struct sockaddr_in address = loopback(port);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 8) != 0)
        return EXIT_FAILURE;
    cpu_set_t cores;
    sched_getaffinity(0, sizeof cores, &cores);
    unsigned helpers = (unsigned)CPU_COUNT(&cores) - 1;
    for (unsigned i = 0; i < helpers; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, NULL) != 0)
            return EXIT_FAILURE;
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        serve(fd, helpers, memory, request, answer, bytes);
        close(fd);
    }
}

/* ---- the client ------------------------------------------------------------------------------ */

/* Milliseconds of a stage in the answer's Server-Timing; 0 where it has none. */
static double stage(const char *answer, const char *name)
{
    const char *timing = strstr(answer, "Server-Timing:");
    const char *at = timing != NULL ? strstr(timing, name) : NULL;
    return at != NULL && at < strstr(timing, "\r\n") ? atof(at + strlen(name)) : 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t read_request(const char *path, const char *file, char *request)
{
    FILE *from = fopen(file, "rb");
    char *body = zeroed(ROOM);
    if (from == NULL)
        return 0;
    size_t bytes = fread(body, 1, ROOM / 2, from);
    int head = sprintf(request,
                       "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                       "Content-Length: %zu\r\n\r\n",
                       path, bytes);
    memcpy(request + head, body, bytes);
    free(body);
    fclose(from);
    return (size_t)head + bytes;
}

static int ask(uint16_t port, const char *path, const char *file, double seconds)
{
    static double beyond_us[MOST], stages_ms[MOST];
    char *request = zeroed(ROOM), *answer = zeroed(ROOM);
    size_t size = read_request(path, file, request), count = 0;
    const struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (size == 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return EXIT_FAILURE;
    int64_t end = now_ns() + (int64_t)(1e9 * seconds);
    for (size_t i = 0; i < MOST && now_ns() < end; i++) {
        if (!send_all(fd, request, size))
            return EXIT_FAILURE;
        int64_t begin = now_ns();
        if (!receive(fd, answer) || strncmp(answer, "HTTP/1.1 200", 12) != 0)
            return EXIT_FAILURE;
        int64_t spent = now_ns() - begin;
        if (i < 2) /* warm */
            continue;
        stages_ms[count] = stage(answer, "decode;dur=") + stage(answer, "preprocess;dur=") +
                           stage(answer, "infer;dur=");
        beyond_us[count] = (double)spent / 1e3 - 1e3 * stages_ms[count];
        count++;
    }
    if (count == 0)
        return EXIT_FAILURE;
    qsort(beyond_us, count, sizeof *beyond_us, by_size);
    qsort(stages_ms, count, sizeof *stages_ms, by_size);
    printf("{\"answers\":%zu,\"beyond_p10_us\":%.0f,\"beyond_p50_us\":%.0f,"
           "\"stages_p50_ms\":%.3f}\n",
           count, beyond_us[count / 10], beyond_us[count / 2], stages_ms[count / 2]);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "ask") == 0)
        return ask((uint16_t)atoi(argv[2]), argv[3], argv[4], atof(argv[5]));
    if (argc == 5 && strcmp(argv[1], "serve") == 0)
        return serve_all((uint16_t)atoi(argv[2]), (size_t)atol(argv[3]), atof(argv[4]));
    return EXIT_FAILURE;
}
