/* v2_stats.c - see v2_stats.h. */
#include "v2_stats.h"
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct duration {
    double count; /* fractions, where a run was shared */
    double ns;
};

struct batch_size {
    struct duration input, infer, output;
};

struct model_stats {
    struct duration success, fail, queue, input, infer, output, hit, miss;
    double images, runs;
    int64_t last_ms; /* since the epoch */
    struct batch_size sizes[CONFIG_MAX_BATCH + 1];
};

struct v2_stats {
    pthread_mutex_t mutex;
    struct model_stats models[V2_MODEL_MOST];
};

enum error_code v2_stats_new(struct v2_stats **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for statistics");
    pthread_mutex_init(&(*out)->mutex, NULL);
    return ERROR_NONE;
}

void v2_stats_free(struct v2_stats *stats)
{
    if (stats != NULL)
        pthread_mutex_destroy(&stats->mutex);
    free(stats);
}

static void add(struct duration *duration, double count, double ns)
{
    duration->count += count;
    duration->ns += ns;
}

static void add_image(struct model_stats *stats, const struct batch_image *image, double output_ns)
{
    stats->images++;
    if (image->cache == CACHE_HIT) { /* found, not computed */
        add(&stats->hit, 1, (double)image->queue_ns);
        return;
    }
    if (image->cache == CACHE_MISS)
        add(&stats->miss, 1, 0);
    double share = 1 / (double)image->batch_size; /* of the run that carried it */
    double input_ns = (double)(image->decode_ns + image->preprocess_ns);
    double infer_ns = (double)image->inference_ns * share;
    size_t size = image->batch_size < CONFIG_MAX_BATCH ? image->batch_size : CONFIG_MAX_BATCH;
    add(&stats->queue, 1, (double)image->queue_ns);
    add(&stats->input, 1, input_ns);
    add(&stats->infer, 1, infer_ns);
    add(&stats->output, 1, output_ns);
    add(&stats->sizes[size].input, share, input_ns);
    add(&stats->sizes[size].infer, share, infer_ns);
    add(&stats->sizes[size].output, share, output_ns);
    stats->runs += share;
}

void v2_stats_success(struct v2_stats *stats, const struct v2_model *model, const struct job *job,
                      int64_t total_ns, int64_t output_ns)
{
    struct model_stats *of = &stats->models[model->excitations];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    pthread_mutex_lock(&stats->mutex);
    for (size_t i = 0; i < job->count; i++)
        add_image(of, &job->images[i], (double)output_ns / (double)job->count);
    add(&of->success, 1, (double)total_ns);
    of->last_ms = now.tv_sec * 1000 + now.tv_nsec / 1000000;
    pthread_mutex_unlock(&stats->mutex);
}

void v2_stats_failure(struct v2_stats *stats, const struct v2_model *model, int64_t total_ns)
{
    pthread_mutex_lock(&stats->mutex);
    add(&stats->models[model->excitations].fail, 1, (double)total_ns);
    pthread_mutex_unlock(&stats->mutex);
}

static void write_duration(struct writer *w, const char *name, const struct duration *duration)
{
    writer_key(w, name);
    writer_open(w, '{');
    writer_key_integer(w, "count", (uint64_t)llround(duration->count));
    writer_key_integer(w, "ns", (uint64_t)llround(duration->ns));
    writer_close(w, '}');
}

static void write_batches(struct writer *w, const struct model_stats *stats)
{
    writer_key(w, "batch_stats");
    writer_open(w, '[');
    for (size_t size = 1; size <= CONFIG_MAX_BATCH; size++) {
        if (!(stats->sizes[size].infer.count > 0))
            continue;
        writer_open(w, '{');
        writer_key_integer(w, "batch_size", size);
        write_duration(w, "compute_input", &stats->sizes[size].input);
        write_duration(w, "compute_infer", &stats->sizes[size].infer);
        write_duration(w, "compute_output", &stats->sizes[size].output);
        writer_close(w, '}');
    }
    writer_close(w, ']');
}

void v2_stats_write(struct v2_stats *stats, const struct v2_model *model, struct writer *out)
{
    char name[V2_MODEL_NAME_BYTES];
    v2_model_name(model, name);
    pthread_mutex_lock(&stats->mutex);
    const struct model_stats copy = stats->models[model->excitations], *of = &copy;
    pthread_mutex_unlock(&stats->mutex);
    writer_open(out, '{');
    writer_key_string(out, "name", name);
    writer_key_string(out, "version", V2_MODEL_VERSION);
    writer_key_integer(out, "last_inference", (uint64_t)of->last_ms);
    writer_key_integer(out, "inference_count", (uint64_t)llround(of->images));
    writer_key_integer(out, "execution_count", (uint64_t)llround(of->runs));
    writer_key(out, "inference_stats");
    writer_open(out, '{');
    write_duration(out, "success", &of->success);
    write_duration(out, "fail", &of->fail);
    write_duration(out, "queue", &of->queue);
    write_duration(out, "compute_input", &of->input);
    write_duration(out, "compute_infer", &of->infer);
    write_duration(out, "compute_output", &of->output);
    write_duration(out, "cache_hit", &of->hit);
    write_duration(out, "cache_miss", &of->miss);
    writer_close(out, '}');
    write_batches(out, of);
    writer_close(out, '}');
}
