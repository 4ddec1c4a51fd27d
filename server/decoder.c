/* decoder.c - the daemon's side of the decoding processes; see decoder.h and keeper.h.
 *
 * A link serves one image at a time. What comes out of a sandbox is believed as far as it can do
 * no harm: a crop of 8-bit samples is a picture whatever the bytes are, and it is normalised here.
 */
#include "decoder.h"
#include "keeper.h"
#include "log.h"
#include "monotonic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Room for the crop of a network input of 2364 x 2364, whatever --max-body is. */
#define LEAST_ROOM (16u << 20)
/* Of a link's memory stays in use; the rest is given back after a larger image. */
#define KEPT_BYTES (4u << 20)
/* In a row, of a link that is not closed: the kernel may lack memory. */
#define MOST_FAILURES 8

struct slot {
    uint64_t number; /* of the last request */
    bool busy;       /* under the mutex */
};

struct decoder {
    struct keeper keeper;
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    struct slot *slots; /* [keeper.processes], one a link */
    atomic_uint_fast64_t ends;
};

/* ---- life ------------------------------------------------------------------------------------ */

static enum error_code check_sandbox(const struct decoder_options *options, bool *filtered,
                                     struct error *err)
{
    struct sandbox_report report;
    TRY(keeper_probe(&report, err));
    *filtered = report.filtered;
    if (!report.filtered && options->strict)
        return error_set(err, ERROR_INTERNAL,
                         "--decoder sandbox: the kernel grants no seccomp filter: %s",
                         strerror(report.why));
    if (!report.filtered)
        log_warn("decoder",
                 "photos are decoded in processes without a seccomp filter: %s; --decoder sandbox "
                 "would refuse to start",
                 strerror(report.why));
    if (!report.rootless)
        log_warn("decoder", "photos are decoded as root: it cannot become another user here");
    log_info("decoder", "%zu processes, %sseccomp, %sLandlock", options->processes,
             report.filtered ? "" : "no ", report.landlocked ? "" : "no ");
    return ERROR_NONE;
}

enum error_code decoder_start(const struct decoder_options *options, struct decoder **out,
                              struct error *err)
{
    bool filtered;
    TRY(check_sandbox(options, &filtered, err));
    struct decoder *decoder = calloc(1, sizeof *decoder);
    struct slot *slots = calloc(options->processes, sizeof *slots);
    if (decoder == NULL || slots == NULL) {
        free(decoder);
        free(slots);
        return error_set(err, ERROR_MEMORY, "no memory for decoders");
    }
    decoder->keeper = (struct keeper){
        .processes = options->processes,
        .room = options->max_input > LEAST_ROOM ? options->max_input : LEAST_ROOM,
        .max_pixels = options->max_pixels,
        .timeout = options->timeout,
        .filtered = filtered,
    };
    decoder->slots = slots;
    pthread_mutex_init(&decoder->mutex, NULL);
    pthread_cond_init(&decoder->freed, NULL);
    enum error_code code = keeper_start(&decoder->keeper, err);
    if (code != ERROR_NONE) {
        decoder_stop(decoder);
        return code;
    }
    *out = decoder;
    return ERROR_NONE;
}

bool decoder_is_lost(struct decoder *decoder)
{
    if (decoder == NULL || decoder->keeper.pid <= 0 ||
        waitpid(decoder->keeper.pid, NULL, WNOHANG) == 0)
        return false;
    decoder->keeper.pid = -1;
    return true;
}

uint64_t decoder_ends(struct decoder *decoder)
{
    return decoder != NULL ? atomic_load(&decoder->ends) : 0;
}

void decoder_stop(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    keeper_stop(&decoder->keeper);
    pthread_cond_destroy(&decoder->freed);
    pthread_mutex_destroy(&decoder->mutex);
    free(decoder->slots);
    free(decoder);
}

/* ---- one image ------------------------------------------------------------------------------- */

/* The first free link, so that few are warm rather than many cool. */
static size_t take_link(struct decoder *decoder)
{
    size_t index, count = decoder->keeper.processes;
    pthread_mutex_lock(&decoder->mutex);
    for (;;) {
        for (index = 0; index < count && decoder->slots[index].busy; index++)
            continue;
        if (index < count)
            break;
        pthread_cond_wait(&decoder->freed, &decoder->mutex);
    }
    decoder->slots[index].busy = true;
    pthread_mutex_unlock(&decoder->mutex);
    return index;
}

static void give_link(struct decoder *decoder, size_t index)
{
    pthread_mutex_lock(&decoder->mutex);
    decoder->slots[index].busy = false;
    pthread_cond_signal(&decoder->freed);
    pthread_mutex_unlock(&decoder->mutex);
}

static enum error_code lost(struct error *err)
{
    return error_set(err, ERROR_INTERNAL, "the decoding processes cannot be reached");
}

static enum error_code ended(struct decoder *decoder, int status, bool overdue, struct error *err)
{
    int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (overdue && status == 0)
        return error_set(err, ERROR_INTERNAL, "no decoding process could be started");
    atomic_fetch_add(&decoder->ends, 1);
    if (overdue || signal == SIGXCPU)
        return error_set(err, ERROR_UNDECODABLE, "decoding took more than %u seconds",
                         decoder->keeper.timeout);
    return error_set(err, ERROR_INTERNAL, "the process that decoded this image ended (%s %d)",
                     signal != 0 ? "signal" : "status", signal != 0 ? signal : WEXITSTATUS(status));
}

/* Waits for the reply to the link's last request, or for the end of the process that began it:
 * before that the link's memory is not ours again. */
static enum error_code await(struct decoder *decoder, size_t index, struct keeper_reply *reply,
                             struct error *err)
{
    const struct keeper_order order = {index, decoder->slots[index].number};
    bool overdue = false;
    for (int failures = 0;;) {
        ssize_t got = TEMP_FAILURE_RETRY(
            recv(decoder->keeper.links[index].daemon_end, reply, sizeof *reply, 0));
        if (got < 0 && errno == EAGAIN) { /* the keeper will tell of its end */
            overdue = true;
            (void)!send(decoder->keeper.control, &order, sizeof order, MSG_NOSIGNAL);
            continue;
        }
        if (got < 0 && ++failures < MOST_FAILURES)
            continue;
        if (got != sizeof *reply)
            return lost(err);
        if (reply->number != order.number)
            continue; /* of a process that ended between requests */
        if (reply->ended)
            return ended(decoder, reply->status, overdue, err);
        if (!overdue)
            return ERROR_NONE;
    }
}

/* A decoder's words, printable whatever it wrote. */
static enum error_code repeat(const struct keeper_reply *reply, struct error *err)
{
    char message[sizeof reply->error.message];
    memcpy(message, reply->error.message, sizeof message);
    message[sizeof message - 1] = '\0';
    for (char *at = message; *at != '\0'; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    enum error_code code = reply->error.code;
    if (code != ERROR_TOO_LARGE && code != ERROR_UNKNOWN_FORMAT && code != ERROR_UNDECODABLE &&
        code != ERROR_MEMORY)
        return error_set(err, ERROR_INTERNAL, "a decoder's reply makes no sense");
    return error_set(err, code, "%s", message);
}

static enum error_code run_outside(struct decoder *decoder, size_t index, const uint8_t *bytes,
                                   struct keeper_request *request, float *out, struct decoded *told,
                                   struct error *err)
{
    const struct keeper_link *link = &decoder->keeper.links[index];
    struct keeper_reply reply;
    int64_t begin = monotonic_ns();
    if (request->size > 0)
        memcpy(link->bytes, bytes, request->size);
    request->number = ++decoder->slots[index].number;
    if (TEMP_FAILURE_RETRY(send(link->daemon_end, request, sizeof *request, MSG_NOSIGNAL)) < 0)
        return lost(err);
    TRY(await(decoder, index, &reply, err));
    if (request->size > KEPT_BYTES)
        madvise(link->bytes + KEPT_BYTES, request->size - KEPT_BYTES, MADV_REMOVE);
    if (reply.error.code != ERROR_NONE)
        return repeat(&reply, err);
    if (reply.format <= IMAGE_UNKNOWN || reply.format > IMAGE_PNM)
        return error_set(err, ERROR_INTERNAL, "a decoder's reply makes no sense");
    image_normalise(link->bytes, &request->preprocess, out);
    int64_t spent = monotonic_ns() - begin;
    int64_t decode = reply.decode_ns < 0 ? 0 : reply.decode_ns > spent ? spent : reply.decode_ns;
    *told = (struct decoded){.format = reply.format,
                             .width = reply.width,
                             .height = reply.height,
                             .decode_ns = decode,
                             .preprocess_ns = spent - decode};
    return ERROR_NONE;
}

static enum error_code run_inside(const uint8_t *bytes, size_t size,
                                  const struct image_options *options,
                                  const struct preprocess *preprocess, float *out,
                                  struct decoded *told, struct error *err)
{
    struct image image = {0};
    int64_t begin = monotonic_ns();
    TRY(image_decode(bytes, size, options, &image, err));
    int64_t decoded = monotonic_ns();
    *told = (struct decoded){.format = image.format,
                             .width = image.full_width,
                             .height = image.full_height,
                             .decode_ns = decoded - begin};
    enum error_code code = image_preprocess(&image, preprocess, out, err);
    image_free(&image);
    told->preprocess_ns = monotonic_ns() - decoded;
    return code;
}

enum error_code decoder_run(struct decoder *decoder, const uint8_t *bytes, size_t size,
                            const struct image_options *options,
                            const struct preprocess *preprocess, float *out, struct decoded *told,
                            struct error *err)
{
    if (decoder == NULL)
        return run_inside(bytes, size, options, preprocess, out, told, err);
    struct keeper_request request = {.size = size,
                                     .max_pixels = options->max_pixels,
                                     .formats = options->formats,
                                     .shrink = options->fit != NULL,
                                     .preprocess = *preprocess};
    size_t room = decoder->keeper.room;
    if (size > room || 3 * preprocess->width * preprocess->height > room)
        return error_set(err, ERROR_TOO_LARGE, "more than %zu bytes to or from a decoder", room);
    size_t index = take_link(decoder);
    enum error_code code = run_outside(decoder, index, bytes, &request, out, told, err);
    give_link(decoder, index);
    return code;
}
