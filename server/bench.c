/* bench.c - see bench.h. The input is noise, since no kernel's speed depends on the values. */
#include "bench.h"
#include "monotonic.h"

#include <stdlib.h>

#define WARM_UP_NS 1000000000
#define MOST_RUNS  100000

struct bench {
    struct senet_context *context;
    size_t batch;
    float *input, *logits, *excitations;
    double *ms; /* [MOST_RUNS], an image's share of each run */
    size_t runs;
};

static void fill_noise(float *values, size_t count)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        values[i] = (float)(int32_t)seed * 0x1p-30F; /* [-2, 2), like a normalised photo */
    }
}

static enum error_code allocate(struct bench *bench, const struct senet *model, struct error *err)
{
    const struct senet_info *info = senet_info(model);
    const struct preprocess *p = &info->preprocess;
    size_t floats = bench->batch * 3 * p->height * p->width;
    bench->input = malloc(floats * sizeof(float));
    bench->logits = malloc(bench->batch * info->classes * sizeof(float));
    bench->excitations = malloc(bench->batch * info->excitation_floats * sizeof(float) + 1);
    bench->ms = malloc(MOST_RUNS * sizeof *bench->ms);
    if (!bench->input || !bench->logits || !bench->excitations || !bench->ms)
        return error_set(err, ERROR_MEMORY, "no memory for batches of %zu images", bench->batch);
    fill_noise(bench->input, floats);
    return senet_context_new(model, bench->batch, p->height, p->width, &bench->context, err);
}

static void release(struct bench *bench)
{
    senet_context_free(bench->context);
    free(bench->input);
    free(bench->logits);
    free(bench->excitations);
    free(bench->ms);
}

/* Runs until the time is over; the last run is counted whole. */
static void run_for(struct bench *bench, int64_t ns)
{
    int64_t now = monotonic_ns(), end = now + ns;
    for (bench->runs = 0; now < end && bench->runs < MOST_RUNS; bench->runs++) {
        int64_t begin = now;
        senet_run(bench->context, bench->batch, bench->input, bench->logits, bench->excitations);
        now = monotonic_ns();
        bench->ms[bench->runs] = (double)(now - begin) / 1e6 / (double)bench->batch;
    }
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void print(const struct bench *bench, const struct senet_info *info, size_t threads,
                  bool json, FILE *to)
{
    double median = bench->ms[bench->runs / 2], p95 = bench->ms[bench->runs * 95 / 100];
    double gflops = 2 * info->multiply_adds / median / 1e6;
    if (json)
        fprintf(to,
                "{\"kernels\":\"%s\",\"precision\":\"%s\",\"threads\":%zu,\"batch\":%zu,"
                "\"runs\":%zu,\"images_per_s\":%.2f,\"ms_per_image\":{\"median\":%.3f,"
                "\"min\":%.3f,\"p95\":%.3f},\"gflops\":%.1f}\n",
                info->kernels, info->precision, threads, bench->batch, bench->runs, 1e3 / median,
                median, bench->ms[0], p95, gflops);
    else
        fprintf(to,
                "%s, kernels %s, %s, %zu threads, batch %zu, %zu runs\n"
                "ms/image   median %.2f   min %.2f   p95 %.2f\n"
                "%.1f images/s, %.0f GFLOP/s of direct convolution\n",
                info->architecture, info->kernels, info->precision, threads, bench->batch,
                bench->runs, median, bench->ms[0], p95, 1e3 / median, gflops);
}

#define LAYER_RUNS      20
#define MOST_OPERATIONS 2048

/* A line an operation: the median of its time over some runs. */
static void print_layers(struct bench *bench, FILE *to)
{
    static struct senet_operation runs[LAYER_RUNS][MOST_OPERATIONS];
    size_t images = 0, count = 0;
    for (size_t r = 0; r < LAYER_RUNS; r++)
        count = senet_profile(bench->context, bench->batch, bench->input, bench->logits, runs[r],
                              MOST_OPERATIONS, &images);
    fprintf(to, "\n%-22s %10s %10s   of %zu images at once\n", "operation", "ms/image", "GFLOP/s",
            images);
    for (size_t i = 0; i < count; i++) {
        double ms[LAYER_RUNS];
        for (size_t r = 0; r < LAYER_RUNS; r++)
            ms[r] = runs[r][i].ms;
        qsort(ms, LAYER_RUNS, sizeof *ms, by_value);
        double median = ms[LAYER_RUNS / 2];
        fprintf(to, "%-22s %10.3f", runs[0][i].name, median / (double)images);
        if (runs[0][i].multiply_adds > 0)
            fprintf(to, " %10.0f", 2 * runs[0][i].multiply_adds / median / 1e6);
        fprintf(to, "\n");
    }
}

enum error_code bench_run(const struct config *config, const struct senet *model, size_t threads,
                          bool json, FILE *to, struct error *err)
{
    struct bench bench = {.batch = config->batch};
    enum error_code code = allocate(&bench, model, err);
    if (code == ERROR_NONE) {
        run_for(&bench, WARM_UP_NS);
        run_for(&bench, (int64_t)config->seconds * 1000000000);
        qsort(bench.ms, bench.runs, sizeof *bench.ms, by_value);
        print(&bench, senet_info(model), threads, json, to);
        if (config->layers && !json)
            print_layers(&bench, to);
    }
    release(&bench);
    return code;
}
