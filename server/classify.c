/* classify.c - see classify.h. The files go through the queue in groups; see samples.h. */
#include "classify.h"
#include "monotonic.h"
#include "reply.h"
#include "samples.h"

#include <stdlib.h>

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

/* Of the group that begins at first. */
struct group {
    struct run *run;
    size_t first;
};

static void report(void *context, size_t index, const struct batch_image *image)
{
    const struct group *group = context;
    struct run *run = group->run;
    tell(run, image, run->config->files[group->first + index]);
    run->finished[group->first + index] = *image;
}

static void run_all(struct run *run)
{
    const struct config *config = run->config;
    size_t most = samples_group(config);
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
        struct group group = {run, first};
        struct error err = {0};
        if (samples_run(run->batch, config, (const char *const *)config->files + first,
                        left < most ? left : most, report, &group, &err) != ERROR_NONE) {
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
