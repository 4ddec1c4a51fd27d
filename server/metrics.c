/* metrics.c - see metrics.h. Names and units follow Prometheus' conventions: seconds, bytes,
 * _total on counters. Series are bounded: routes, methods, statuses, stages and blocks are. */
#include "metrics.h"
#include "monotonic.h"
#include "relative.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MOST_REQUEST_SERIES 256
#define MOST_BLOCKS         256
#define MOST_BUCKETS        16

/* Upper bounds of the buckets; +Inf is implied. */
static const double seconds_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                        0.1,    0.25,  0.5,    1,     2.5,  5,     10};
static const double batch_bounds[] = {1, 2, 4, 8, 16, 32, 64};

struct histogram {
    uint64_t buckets[MOST_BUCKETS]; /* not cumulated */
    uint64_t count;
    double sum;
};

struct request_series {
    const char *route, *method;
    unsigned status;
    uint64_t count;
};

enum stage { STAGE_DECODE, STAGE_PREPROCESS, STAGE_QUEUE, STAGE_INFER, STAGE_SERIALIZE, STAGES };
enum reason {
    REASON_LOADING,
    REASON_DRAINING,
    REASON_OVERLOADED,
    REASON_MEMORY,
    REASON_DEADLINE,
    REASON_GONE,
    REASONS
};

static const char *const stage_names[STAGES] = {"decode", "preprocess", "queue", "infer",
                                                "serialize"};
static const char *const reason_names[REASONS] = {
    "loading", "draining", "overloaded", "out-of-memory", "deadline-exceeded", "client-gone"};

struct metrics {
    pthread_mutex_t mutex; /* guards all below; the HTTP threads' alone */
    struct request_series requests[MOST_REQUEST_SERIES];
    size_t request_series;
    struct histogram duration, stages[STAGES], batch_size;
    uint64_t rejected[REASONS];
    uint64_t images, last_run;
    uint64_t cache_hits, cache_misses;
    time_t start;
};

enum error_code metrics_new(struct metrics **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return error_set(err, ERROR_MEMORY, "no memory for the metrics");
    (*out)->start = time(NULL);
    pthread_mutex_init(&(*out)->mutex, NULL);
    return ERROR_NONE;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics != NULL)
        pthread_mutex_destroy(&metrics->mutex);
    free(metrics);
}

/* ---- counting -------------------------------------------------------------------------------- */

static void observe(struct histogram *histogram, const double *bounds, size_t count, double value)
{
    size_t i = 0;
    while (i < count && value > bounds[i])
        i++;
    histogram->buckets[i]++;
    histogram->count++;
    histogram->sum += value;
}

static void observe_ns(struct histogram *histogram, int64_t ns)
{
    observe(histogram, seconds_bounds, sizeof seconds_bounds / sizeof *seconds_bounds,
            (double)ns / 1e9);
}

static void count_request(struct metrics *metrics, const char *route, const char *method,
                          unsigned status)
{
    for (size_t i = 0; i < metrics->request_series; i++) {
        struct request_series *series = &metrics->requests[i];
        if (series->status == status && strcmp(series->route, route) == 0 &&
            strcmp(series->method, method) == 0) {
            series->count++;
            return;
        }
    }
    if (metrics->request_series < MOST_REQUEST_SERIES)
        metrics->requests[metrics->request_series++] =
            (struct request_series){route, method, status, 1};
}

void metrics_request(struct metrics *metrics, const char *route, const char *method,
                     unsigned status, int64_t duration_ns)
{
    pthread_mutex_lock(&metrics->mutex);
    observe_ns(&metrics->duration, duration_ns);
    count_request(metrics, route, method, status);
    pthread_mutex_unlock(&metrics->mutex);
}

void metrics_rejected(struct metrics *metrics, const char *reason)
{
    pthread_mutex_lock(&metrics->mutex);
    for (size_t i = 0; i < REASONS; i++)
        if (strcmp(reason, reason_names[i]) == 0)
            metrics->rejected[i]++;
    pthread_mutex_unlock(&metrics->mutex);
}

void metrics_job(struct metrics *metrics, const struct job *job, int64_t serialize_ns)
{
    pthread_mutex_lock(&metrics->mutex);
    for (size_t i = 0; i < job->count; i++) {
        const struct batch_image *image = &job->images[i];
        if (image->error.code != ERROR_NONE)
            continue;
        metrics->cache_misses += image->cache == CACHE_MISS;
        metrics->cache_hits += image->cache == CACHE_HIT;
        if (image->cache == CACHE_HIT)
            continue;
        observe_ns(&metrics->stages[STAGE_DECODE], image->decode_ns);
        observe_ns(&metrics->stages[STAGE_PREPROCESS], image->preprocess_ns);
        observe_ns(&metrics->stages[STAGE_QUEUE], image->queue_ns);
        observe_ns(&metrics->stages[STAGE_INFER], image->inference_ns);
        observe(&metrics->batch_size, batch_bounds, sizeof batch_bounds / sizeof *batch_bounds,
                (double)image->batch_size);
        metrics->images++;
    }
    observe_ns(&metrics->stages[STAGE_SERIALIZE], serialize_ns);
    pthread_mutex_unlock(&metrics->mutex);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void head(struct writer *w, const char *name, const char *type, const char *help)
{
    writer_format(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(struct writer *w, const char *name, const char *type, const char *help,
                   double value)
{
    head(w, name, type, help);
    writer_format(w, "%s %.15g\n", name, value);
}

/* A label's value in quotes; names come from files. */
static void write_label(struct writer *w, const char *text)
{
    writer_raw(w, "\"", 1);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            writer_raw(w, "\\", 1);
        writer_raw(w, *text == '\n' ? " " : text, 1);
    }
    writer_raw(w, "\"", 1);
}

/* labels is "" or `stage="decode"`. */
static void write_histogram(struct writer *w, const char *name, const char *labels,
                            const struct histogram *histogram, const double *bounds, size_t count)
{
    uint64_t below = 0;
    const char *comma = *labels ? "," : "";
    for (size_t i = 0; i < count; i++) {
        below += histogram->buckets[i];
        writer_format(w, "%s_bucket{%s%sle=\"%g\"} %llu\n", name, labels, comma, bounds[i],
                      (unsigned long long)below);
    }
    writer_format(w, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", name, labels, comma,
                  (unsigned long long)histogram->count);
    const char *open = *labels ? "{" : "", *close = *labels ? "}" : "";
    writer_format(w, "%s_sum%s%s%s %.15g\n", name, open, labels, close, histogram->sum);
    writer_format(w, "%s_count%s%s%s %llu\n", name, open, labels, close,
                  (unsigned long long)histogram->count);
}

static void write_seconds(struct writer *w, const char *name, const char *labels,
                          const struct histogram *histogram)
{
    write_histogram(w, name, labels, histogram, seconds_bounds,
                    sizeof seconds_bounds / sizeof *seconds_bounds);
}

static void write_requests(const struct metrics *metrics, struct writer *w)
{
    head(w, "senetd_http_requests_total", "counter", "Requests answered.");
    for (size_t i = 0; i < metrics->request_series; i++) {
        const struct request_series *series = &metrics->requests[i];
        writer_format(
            w, "senetd_http_requests_total{route=\"%s\",method=\"%s\",code=\"%u\"} %llu\n",
            series->route, series->method, series->status, (unsigned long long)series->count);
    }
    head(w, "senetd_http_request_duration_seconds", "histogram",
         "From the headers to the end of the answer.");
    write_seconds(w, "senetd_http_request_duration_seconds", "", &metrics->duration);
    head(w, "senetd_rejected_total", "counter",
         "Requests refused or dropped before they were computed, by reason.");
    for (size_t i = 0; i < REASONS; i++)
        writer_format(w, "senetd_rejected_total{reason=\"%s\"} %llu\n", reason_names[i],
                      (unsigned long long)metrics->rejected[i]);
}

static void write_work(const struct metrics *metrics, struct service *service,
                       const struct model *model, struct writer *w)
{
    struct batch_gauges gauges = {0};
    struct models_counts counts;
    models_read_counts(service->models, &counts);
    if (model != NULL)
        batch_read_gauges(model->batch, &gauges);
    head(w, "senetd_stage_duration_seconds", "histogram",
         "Time of each stage: an image's, and for serialize an answer's.");
    for (size_t i = 0; i < STAGES; i++) {
        char labels[32];
        snprintf(labels, sizeof labels, "stage=\"%s\"", stage_names[i]);
        write_seconds(w, "senetd_stage_duration_seconds", labels, &metrics->stages[i]);
    }
    head(w, "senetd_batch_size", "histogram", "Images in the run that carried an image.");
    write_histogram(w, "senetd_batch_size", "", &metrics->batch_size, batch_bounds,
                    sizeof batch_bounds / sizeof *batch_bounds);
    single(w, "senetd_inferences_total", "counter", "Images computed.", (double)metrics->images);
    single(w, "senetd_batches_total", "counter", "Runs of the network.", (double)counts.runs);
    single(w, "senetd_decoder_ends_total", "counter",
           "Decoding processes that ended over an image and were replaced.",
           (double)counts.decoder_ends);
    single(w, "senetd_queue_depth", "gauge", "Images accepted whose run has not begun.",
           (double)gauges.waiting);
    single(w, "senetd_queue_capacity", "gauge", "Images that may wait.", (double)gauges.capacity);
    single(w, "senetd_workers", "gauge", "Inference threads.", (double)gauges.workers);
    single(w, "senetd_workers_busy", "gauge", "Inference threads that run a batch now.",
           (double)gauges.busy);
    single(w, "senetd_cache_hits_total", "counter", "Images whose results were kept.",
           (double)metrics->cache_hits);
    single(w, "senetd_cache_misses_total", "counter", "Images looked for in the cache in vain.",
           (double)metrics->cache_misses);
    head(w, "senetd_model_loads_total", "counter", "Attempts to load a model, by outcome.");
    writer_format(w,
                  "senetd_model_loads_total{outcome=\"loaded\"} %llu\n"
                  "senetd_model_loads_total{outcome=\"failed\"} %llu\n",
                  (unsigned long long)counts.loads, (unsigned long long)counts.failures);
}

static void write_model(const struct model *model, struct writer *w)
{
    const struct senet_info *info = senet_info(model->senet);
    double mean[MOST_BLOCKS], saturated[MOST_BLOCKS];
    size_t blocks = info->blocks < MOST_BLOCKS ? info->blocks : MOST_BLOCKS;
    head(w, "senetd_model_info", "gauge", "The model that answers.");
    writer_format(w, "senetd_model_info{sha256=\"%s\",arch=", info->sha256);
    write_label(w, info->architecture);
    writer_format(w, ",precision=\"%s\"} 1\n", info->precision);
    for (size_t b = 0; b < blocks; b++) {
        const struct senet_block *block = senet_block(model->senet, b);
        attention_block(model->attention, block->offset, block->channels, &mean[b], &saturated[b]);
    }
    head(w, "senetd_se_gate_mean", "gauge",
         "Mean gate of a block over the images since the model was loaded.");
    for (size_t b = 0; b < blocks; b++)
        writer_format(w, "senetd_se_gate_mean{block=\"%s\"} %.6g\n",
                      senet_block(model->senet, b)->name, mean[b]);
    head(w, "senetd_se_gate_saturated_ratio", "gauge",
         "Share of a block's gates below 0.01 or above 0.99.");
    for (size_t b = 0; b < blocks; b++)
        writer_format(w, "senetd_se_gate_saturated_ratio{block=\"%s\"} %.6g\n",
                      senet_block(model->senet, b)->name, saturated[b]);
}

/* Of the blocks whose drift can be told: none before some images were seen. */
static void write_drift(const struct model *model, struct writer *w)
{
    const struct senet_info *info = senet_info(model->senet);
    if (model->reference == NULL)
        return;
    head(w, "senetd_se_drift", "gauge",
         "Distance of the recent mean gates from the reference: RMS standardised mean difference "
         "over a block's channels, less sampling error.");
    for (size_t b = 0; b < info->blocks && b < MOST_BLOCKS; b++) {
        const struct senet_block *block = senet_block(model->senet, b);
        double drift = relative_drift(model->reference, block, model->attention);
        if (drift >= 0)
            writer_format(w, "senetd_se_drift{block=\"%s\"} %.6g\n", block->name, drift);
    }
}

/* From /proc/self, as the client libraries of Prometheus do; left out where it cannot be read. */
static void write_memory(struct writer *w)
{
    unsigned long total = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm != NULL && fscanf(statm, "%lu %lu", &total, &resident) == 2) {
        double page = (double)sysconf(_SC_PAGESIZE);
        single(w, "process_virtual_memory_bytes", "gauge", "Virtual memory.", (double)total * page);
        single(w, "process_resident_memory_bytes", "gauge", "Resident memory.",
               (double)resident * page);
    }
    if (statm != NULL)
        fclose(statm);
}

static void write_descriptors(struct writer *w)
{
    struct rlimit limit;
    size_t entries = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder != NULL && readdir(folder) != NULL)
        entries++;
    if (folder != NULL)
        closedir(folder);
    if (entries > 3) /* ".", ".." and the folder itself are none */
        single(w, "process_open_fds", "gauge", "Open descriptors.", (double)(entries - 3));
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        single(w, "process_max_fds", "gauge", "Descriptors that may be open.",
               (double)limit.rlim_cur);
}

static void write_process(const struct metrics *metrics, struct writer *w)
{
    struct timespec cpu;
    write_memory(w);
    write_descriptors(w);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        single(w, "process_cpu_seconds_total", "counter", "CPU time, user and system.",
               (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    single(w, "process_start_time_seconds", "gauge", "Start, since the epoch.",
           (double)metrics->start);
}

void metrics_write(struct metrics *metrics, struct service *service, struct writer *out)
{
    enum service_state state = service_state(service);
    pthread_mutex_lock(&metrics->mutex);
    struct model *model = models_acquire(service->models);
    write_requests(metrics, out);
    write_work(metrics, service, model, out);
    single(out, "senetd_model_ready", "gauge", "1 while requests are served.",
           state == SERVICE_READY ? 1 : 0);
    if (model != NULL)
        write_model(model, out);
    if (model != NULL)
        write_drift(model, out);
    head(out, "senetd_build_info", "gauge", "This program.");
    writer_format(out, "senetd_build_info{version=\"%s\",isa=\"%s\"} 1\n", SENETD_VERSION,
                  model != NULL ? senet_info(model->senet)->kernels : "");
    models_release(service->models, model);
    write_process(metrics, out);
    pthread_mutex_unlock(&metrics->mutex);
}
