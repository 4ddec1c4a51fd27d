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
    struct senet_roofline roofline; /* measured just before */
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

/* Of a finished bench, whose times are sorted. */
struct figures {
    double median, p95;  /* ms an image */
    double gflops, peak; /* of convolution, and what the machine could do; 0 where not measured */
};

static struct figures figures_of(const struct bench *bench, const struct senet_info *info)
{
    double median = bench->ms[bench->runs / 2];
    return (struct figures){.median = median,
                            .p95 = bench->ms[bench->runs * 95 / 100],
                            .gflops = 2 * info->multiply_adds / median / 1e6,
                            .peak = 2 * bench->roofline.multiply_adds_per_s / 1e9};
}

static void print_json(const struct bench *bench, const struct senet_info *info, size_t threads,
                       FILE *to)
{
    struct figures its = figures_of(bench, info);
    fprintf(to,
            "{\"kernels\":\"%s\",\"precision\":\"%s\",\"threads\":%zu,\"batch\":%zu,"
            "\"runs\":%zu,\"images_per_s\":%.2f,\"ms_per_image\":{\"median\":%.3f,"
            "\"min\":%.3f,\"p95\":%.3f},\"gflops\":%.1f,\"peak_gflops\":",
            info->kernels, info->precision, threads, bench->batch, bench->runs, 1e3 / its.median,
            its.median, bench->ms[0], its.p95, its.gflops);
    if (its.peak > 0)
        fprintf(to, "%.1f,\"percent_of_peak\":%.1f", its.peak, 100 * its.gflops / its.peak);
    else
        fprintf(to, "null,\"percent_of_peak\":null");
    fprintf(to, ",\"memory_gb_per_s\":%.1f", bench->roofline.bytes_per_s / 1e9);
}

static void print_text(const struct bench *bench, const struct senet_info *info, size_t threads,
                       FILE *to)
{
    struct figures its = figures_of(bench, info);
    fprintf(to,
            "%s, kernels %s, %s, %zu threads, batch %zu, %zu runs\n"
            "ms/image   median %.2f   min %.2f   p95 %.2f\n"
            "%.1f images/s, %.0f GFLOP/s of direct convolution",
            info->architecture, info->kernels, info->precision, threads, bench->batch, bench->runs,
            its.median, bench->ms[0], its.p95, 1e3 / its.median, its.gflops);
    if (its.peak > 0)
        fprintf(to, ", %.0f %% of the peak", 100 * its.gflops / its.peak);
    fprintf(to, "\nthe machine at best: ");
    if (its.peak > 0)
        fprintf(to, "%.0f GFLOP/s on registers, ", its.peak);
    fprintf(to, "%.1f GB/s read from memory\n", bench->roofline.bytes_per_s / 1e9);
}

#define LAYER_RUNS      20
#define MOST_OPERATIONS 2048

/* The least time that the roofline allows the operation, in ms: its arithmetic at the peak or its
 * bytes at memory's speed. What comes from the caches, and Winograd, may take less. */
static double roof_ms(const struct bench *bench, const struct senet_operation *operation)
{
    const struct senet_roofline *roofline = &bench->roofline;
    double compute = roofline->multiply_adds_per_s > 0
                         ? operation->multiply_adds / roofline->multiply_adds_per_s
                         : 0;
    double memory = roofline->bytes_per_s > 0 ? operation->bytes / roofline->bytes_per_s : 0;
    return 1e3 * (compute > memory ? compute : memory);
}

static void print_operation(const struct bench *bench, const struct senet_operation *operation,
                            double ms, size_t images, bool json, FILE *to)
{
    fprintf(to,
            json ? "{\"name\":\"%s\",\"ms\":%.4f,\"gflops\":%.1f,\"gb_per_s\":%.2f,"
                   "\"percent_of_roof\":%.1f}"
                 : "%-22s %10.3f %10.0f %8.1f %10.0f\n",
            operation->name, ms / (double)images, 2 * operation->multiply_adds / ms / 1e6,
            operation->bytes / ms / 1e6, 100 * roof_ms(bench, operation) / ms);
}

/* Every operation, with the median of its time over some runs. */
static void print_layers(struct bench *bench, bool json, FILE *to)
{
    static struct senet_operation runs[LAYER_RUNS][MOST_OPERATIONS];
    size_t images = 0, count = 0;
    for (size_t r = 0; r < LAYER_RUNS; r++)
        count = senet_profile(bench->context, bench->batch, bench->input, bench->logits, runs[r],
                              MOST_OPERATIONS, &images);
    if (json)
        fprintf(to, ",\"operations\":[");
    else
        fprintf(to, "\n%-22s %10s %10s %8s %10s   of %zu images at once\n", "operation", "ms/image",
                "GFLOP/s", "GB/s", "% of roof", images);
    for (size_t i = 0; i < count; i++) {
        double ms[LAYER_RUNS];
        for (size_t r = 0; r < LAYER_RUNS; r++)
            ms[r] = runs[r][i].ms;
        qsort(ms, LAYER_RUNS, sizeof *ms, by_value);
        if (json && i > 0)
            fputc(',', to);
        print_operation(bench, &runs[0][i], ms[LAYER_RUNS / 2], images, json, to);
    }
    if (json)
        fputc(']', to);
}

enum error_code bench_run(const struct config *config, const struct senet *model, size_t threads,
                          bool json, FILE *to, struct error *err)
{
    struct bench bench = {.batch = config->batch};
    enum error_code code = allocate(&bench, model, err);
    if (code == ERROR_NONE) {
        run_for(&bench, WARM_UP_NS);
        senet_measure_roofline(bench.context, &bench.roofline);
        run_for(&bench, (int64_t)config->seconds * 1000000000);
        qsort(bench.ms, bench.runs, sizeof *bench.ms, by_value);
        (json ? print_json : print_text)(&bench, senet_info(model), threads, to);
        if (config->layers)
            print_layers(&bench, json, to);
        if (json)
            fputs("}\n", to);
    }
    release(&bench);
    return code;
}
