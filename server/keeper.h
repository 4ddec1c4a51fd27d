/* keeper.h - the processes that decode, and the one that starts and replaces them.
 *
 * The keeper is forked before the daemon has threads, sockets or a model. It never reads what a
 * client sent: it forks decoders, waits for their ends, and kills one when the daemon asks for it.
 * Daemon and decoder talk over a pair of packet sockets, one a link, and share its memory; both
 * outlive the process, so a new decoder goes on where the old one ended.
 */
#ifndef SENETD_KEEPER_H
#define SENETD_KEEPER_H

#include "error.h"
#include "image.h"
#include "sandbox.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* To a decoder, with the file in the shared memory. */
struct keeper_request {
    uint64_t number; /* of the link, from 1, rising */
    size_t size;
    size_t max_pixels;
    unsigned formats;
    bool shrink; /* options->fit was set; it is always the preprocessing itself */
    struct preprocess preprocess;
};

/* From a decoder, with the crop in the shared memory; or from the keeper, where the process ended
 * over that request. A compromised decoder may write anything here. */
struct keeper_reply {
    uint64_t number;
    bool ended;
    int status;               /* where it ended: as of waitpid */
    enum image_format format; /* below: what a decoder tells */
    size_t width, height;     /* of the photo */
    int64_t decode_ns;
    struct error error;
};

/* To the keeper: end the decoder of that link, which is late with that request. */
struct keeper_order {
    size_t link;
    uint64_t number;
};

struct keeper_link {
    int daemon_end, decoder_end;
    _Atomic uint64_t *taken; /* shared: the last request that a decoder of this link began */
    uint8_t *bytes;          /* [room], shared: the file, then the crop in its place */
};

struct keeper {
    size_t processes;
    size_t room;               /* bytes of a link */
    size_t max_pixels;         /* sizes a decoder's memory */
    unsigned timeout;          /* seconds of CPU for an image */
    bool filtered;             /* decoders end rather than work without a filter of system calls */
    pid_t pid;                 /* of the keeper */
    int control;               /* struct keeper_order; the keeper ends at its end of file */
    struct keeper_link *links; /* [processes] */
};

/* What holds here, tried out in a child. Errors: ERROR_IO, and those of sandbox_enter. */
enum error_code keeper_probe(struct sandbox_report *report, struct error *err) MUST_CHECK;

/* Makes the links, forks, and sets pid and control; the other fields are set by the caller. Before
 * any thread is started. After an error too, keeper_stop. Errors: ERROR_IO, ERROR_MEMORY. */
enum error_code keeper_start(struct keeper *keeper, struct error *err) MUST_CHECK;

/* Ends all of them and releases the links. A zeroed struct with control -1 is accepted. */
void keeper_stop(struct keeper *keeper);

#endif
