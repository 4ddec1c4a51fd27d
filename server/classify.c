/* classify.c - see classify.h.
 *
 * Goes through the files in groups of up to --max-images, each a job for the batch, so that all
 * workers have something to do and memory stays bounded however many files there are.
 */
#include "classify.h"
#include "monotonic.h"
#include "reply.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const struct config *config;
    const struct senet *model;
    struct batch *batch;
    bool json;
    FILE *to;
    struct batch_image *finished; /* [config->file_count], without vectors: for the timing */
    struct writer out;
    bool ok;
};

/* Reads a file of up to max_bytes; *out is the caller's to free. */
static enum error_code read_file(const char *path, size_t max_bytes, uint8_t **out, size_t *size,
                                 struct error *err)
{
    uint8_t *bytes = NULL;
    size_t capacity = 0, used = 0, got = 1;
    enum error_code code = ERROR_NONE;
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return error_set(err, ERROR_IO, "cannot open: %s", strerror(errno));
    while (got > 0 && code == ERROR_NONE) {
        if (used == capacity) {
            capacity = capacity == 0 ? 256 << 10 : 2 * capacity;
            uint8_t *grown = realloc(bytes, capacity);
            if (grown == NULL)
                code = error_set(err, ERROR_MEMORY, "no memory for the file");
            else
                bytes = grown;
        }
        if (code == ERROR_NONE)
            got = fread(bytes + used, 1, capacity - used, file);
        used += got;
        if (used > max_bytes)
            code = error_set(err, ERROR_TOO_LARGE, "more than %zu bytes", max_bytes);
    }
    if (code == ERROR_NONE && ferror(file))
        code = error_set(err, ERROR_IO, "cannot read: %s", strerror(errno));
    fclose(file);
    if (code != ERROR_NONE) {
        free(bytes);
        return code;
    }
    *out = bytes;
    *size = used;
    return ERROR_NONE;
}

static void on_done(struct job *job)
{
    sem_post(job->context);
}

static void flush(struct run *run)
{
    if (run->out.failed || fwrite(run->out.bytes, 1, run->out.size, run->to) != run->out.size)
        run->ok = false;
    writer_taken(&run->out);
}

static void print_row(struct run *run, const struct batch_image *image, const char *path)
{
    size_t classes = senet_info(run->model)->classes;
    size_t k = run->config->topk < classes ? run->config->topk : classes;
    if (image->error.code != ERROR_NONE) {
        fprintf(run->to, "%s\n    %s\n", path, image->error.message);
        return;
    }
    struct senet_top *top = calloc(k, sizeof *top);
    if (top == NULL) {
        run->ok = false;
        return;
    }
    senet_top_k(image->logits, classes, k, top);
    fprintf(run->to, "%s  (%s, %zu x %zu)\n", path, image_format_name(image->format), image->width,
            image->height);
    for (size_t i = 0; i < k; i++)
        fprintf(run->to, "  %6.2f %%  %s\n", 100 * (double)top[i].probability,
                senet_label(run->model, top[i].index));
    free(top);
}

static void tell(struct run *run, const struct batch_image *image, const char *path)
{
    if (image->error.code != ERROR_NONE)
        run->ok = false;
    if (!run->json) {
        print_row(run, image, path);
        return;
    }
    struct selection all = {.topk = run->config->topk, .detail = DETAIL_FULL};
    reply_result(&run->out, run->model, image, path, &all);
    flush(run);
}

/* One job: files [first, first + count). */
static enum error_code run_group(struct run *run, size_t first, size_t count, struct error *err)
{
    struct job *job;
    sem_t done;
    TRY(batch_job_new(run->batch, count, &job, err));
    uint8_t **bytes = calloc(count, sizeof *bytes);
    enum error_code code =
        bytes == NULL ? error_set(err, ERROR_MEMORY, "no memory for %zu files", count) : ERROR_NONE;
    for (size_t i = 0; bytes != NULL && i < count; i++) {
        struct batch_image *image = &job->images[i];
        if (read_file(run->config->files[first + i], run->config->max_body, &bytes[i], &image->size,
                      &image->error) == ERROR_NONE)
            image->bytes = bytes[i];
    }
    sem_init(&done, 0, 0);
    job->context = &done;
    job->done = on_done;
    if (code == ERROR_NONE)
        code = batch_submit(run->batch, job, err);
    if (code == ERROR_NONE) {
        while (sem_wait(&done) != 0)
            continue; /* interrupted */
        for (size_t i = 0; i < count; i++) {
            tell(run, &job->images[i], run->config->files[first + i]);
            run->finished[first + i] = job->images[i];
        }
    }
    batch_drain(run->batch); /* on_done has left the semaphore */
    sem_destroy(&done);
    for (size_t i = 0; bytes != NULL && i < count; i++)
        free(bytes[i]);
    free(bytes);
    batch_job_free(job);
    return code;
}

static void run_all(struct run *run)
{
    const struct config *config = run->config;
    size_t most = config->max_images < config->queue ? config->max_images : config->queue;
    int64_t begin = monotonic_ns();
    if (run->json) {
        writer_open(&run->out, '{');
        reply_model_member(&run->out, senet_info(run->model));
        writer_key(&run->out, "results");
        writer_open(&run->out, '[');
        flush(run);
    }
    for (size_t first = 0; first < config->file_count; first += most) {
        size_t left = config->file_count - first;
        struct error err = {0};
        if (run_group(run, first, left < most ? left : most, &err) != ERROR_NONE) {
            fprintf(stderr, "senetd: %s\n", err.message);
            run->ok = false;
            break;
        }
    }
    if (run->json) {
        writer_close(&run->out, ']');
        reply_timing_members(&run->out, run->finished, config->file_count, monotonic_ns() - begin);
        writer_close(&run->out, '}');
        writer_raw(&run->out, "\n", 1);
        flush(run);
    }
}

bool classify_files(const struct config *config, const struct senet *model, struct batch *batch,
                    bool json, FILE *to)
{
    struct run run = {.config = config,
                      .model = model,
                      .batch = batch,
                      .json = json,
                      .to = to,
                      .ok = true,
                      .finished = calloc(config->file_count, sizeof *run.finished)};
    if (run.finished == NULL)
        return false;
    run_all(&run);
    if (fflush(to) != 0)
        run.ok = false;
    free(run.finished);
    writer_free(&run.out);
    return run.ok;
}
