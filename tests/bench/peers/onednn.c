/* onednn.c - times convolutions with ReLU by oneDNN 2, one after another as in a network.
 *
 *   cc -O2 -o onednn onednn.c -ldnnl
 *   onednn f32|bf16|int8 SECONDS < shapes
 *
 * A line of input is: name batch in out kernel stride pad groups height width. All of them are run
 * in turns for SECONDS; printed is a line each, name and the median in ms. OMP_NUM_THREADS says how
 * many cores. Exit status 2 where the CPU or the library cannot.
 */
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST_LAYERS 256
#define MOST_PASSES 4096

struct layer {
    char name[64];
    long batch, in, out, kernel, stride, pad, groups, height, width;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arguments[4];
    double ms[MOST_PASSES];
};

static void must(dnnl_status_t status, const char *what, const char *layer)
{
    if (status == dnnl_success)
        return;
    fprintf(stderr, "onednn: %s, %s: status %d\n", layer, what, (int)status);
    exit(2);
}

static dnnl_memory_t memory_of(const_dnnl_primitive_desc_t plan, dnnl_query_t what,
                               dnnl_engine_t engine, const char *layer)
{
    const dnnl_memory_desc_t *shape = dnnl_primitive_desc_query_md(plan, what, 0);
    dnnl_memory_t memory;
    void *bytes;
    must(dnnl_memory_create(&memory, shape, engine, DNNL_MEMORY_ALLOCATE), "memory", layer);
    must(dnnl_memory_get_data_handle(memory, &bytes), "memory", layer);
    memset(bytes, 0, dnnl_memory_desc_get_size(shape));
    return memory;
}

static void prepare(struct layer *l, const char *precision, dnnl_engine_t engine)
{
    int is_int8 = strcmp(precision, "int8") == 0;
    dnnl_data_type_t real = strcmp(precision, "bf16") == 0 ? dnnl_bf16 : dnnl_f32;
    dnnl_data_type_t source = is_int8 ? dnnl_u8 : real, weight = is_int8 ? dnnl_s8 : real;
    long rows = (l->height + 2 * l->pad - l->kernel) / l->stride + 1;
    long columns = (l->width + 2 * l->pad - l->kernel) / l->stride + 1;
    dnnl_dims_t in = {l->batch, l->in, l->height, l->width},
                out = {l->batch, l->out, rows, columns};
    dnnl_dims_t dense = {l->out, l->in, l->kernel, l->kernel}, bias = {l->out};
    dnnl_dims_t grouped = {l->groups, l->out / l->groups, l->in / l->groups, l->kernel, l->kernel};
    dnnl_dims_t strides = {l->stride, l->stride}, pads = {l->pad, l->pad};
    dnnl_memory_desc_t in_shape, weight_shape, bias_shape, out_shape;
    dnnl_convolution_desc_t convolution;
    dnnl_primitive_attr_t attributes;
    dnnl_post_ops_t after;
    dnnl_primitive_desc_t plan;

    dnnl_memory_desc_init_by_tag(&in_shape, 4, in, source, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&weight_shape, l->groups > 1 ? 5 : 4,
                                 l->groups > 1 ? grouped : dense, weight, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&bias_shape, 1, bias, dnnl_f32, dnnl_a);
    dnnl_memory_desc_init_by_tag(&out_shape, 4, out, source, dnnl_format_tag_any);
    must(dnnl_convolution_forward_desc_init(&convolution, dnnl_forward_inference,
                                            dnnl_convolution_auto, &in_shape, &weight_shape,
                                            &bias_shape, &out_shape, strides, pads, pads),
         "shape", l->name);
    dnnl_primitive_attr_create(&attributes);
    dnnl_post_ops_create(&after);
    dnnl_post_ops_append_eltwise(after, 1, dnnl_eltwise_relu, 0, 0);
    dnnl_primitive_attr_set_post_ops(attributes, after);
    must(dnnl_primitive_desc_create(&plan, &convolution, attributes, engine, NULL), precision,
         l->name);
    must(dnnl_primitive_create(&l->primitive, plan), "kernel", l->name);
    l->arguments[0] =
        (dnnl_exec_arg_t){DNNL_ARG_SRC, memory_of(plan, dnnl_query_src_md, engine, l->name)};
    l->arguments[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS,
                                        memory_of(plan, dnnl_query_weights_md, engine, l->name)};
    l->arguments[2] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, NULL};
    must(dnnl_memory_create(&l->arguments[2].memory, &bias_shape, engine, DNNL_MEMORY_ALLOCATE),
         "bias", l->name);
    l->arguments[3] =
        (dnnl_exec_arg_t){DNNL_ARG_DST, memory_of(plan, dnnl_query_dst_md, engine, l->name)};
    dnnl_primitive_desc_destroy(plan);
    dnnl_post_ops_destroy(after);
    dnnl_primitive_attr_destroy(attributes);
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b)
{
    double difference = *(const double *)a - *(const double *)b;
    return difference < 0 ? -1 : difference > 0;
}

int main(int argc, char **argv)
{
    static struct layer layers[MOST_LAYERS];
    size_t count = 0, passes = 0;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    if (argc != 3) {
        fprintf(stderr, "usage: onednn f32|bf16|int8 SECONDS < shapes\n");
        return 1;
    }
    must(dnnl_engine_create(&engine, dnnl_cpu, 0), "engine", "all");
    must(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags), "stream", "all");
    for (struct layer *l = layers; count < MOST_LAYERS; l++, count++) {
        if (scanf("%63s %ld %ld %ld %ld %ld %ld %ld %ld %ld", l->name, &l->batch, &l->in, &l->out,
                  &l->kernel, &l->stride, &l->pad, &l->groups, &l->height, &l->width) != 10)
            break;
        prepare(l, argv[1], engine);
    }
    double end = 0;
    for (int warm = 1; warm >= 0; warm--) {
        end = now_ms() + atof(argv[2]) * 1e3;
        for (passes = 0; passes == 0 || (!warm && passes < MOST_PASSES && now_ms() < end); passes++)
            for (size_t i = 0; i < count; i++) {
                double begin = now_ms();
                must(dnnl_primitive_execute(layers[i].primitive, stream, 4, layers[i].arguments),
                     "run", layers[i].name);
                dnnl_stream_wait(stream);
                layers[i].ms[passes] = now_ms() - begin;
            }
    }
    for (size_t i = 0; i < count; i++) {
        qsort(layers[i].ms, passes, sizeof(double), by_size);
        printf("%s %.4f\n", layers[i].name, layers[i].ms[passes / 2]);
    }
    return 0;
}
