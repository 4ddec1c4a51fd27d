/* kernels_dense.h - fully connected layers beside the backends of reduced precision: vectors and
 * sums fp32, weights bf16. One image's cost what it takes to read their weights, which are half as
 * many bytes so; each of them is used but once.
 *
 * Included by a precision's header after kernels_vector.h; ends with `dense_layers`, of whose table
 * only packed_bytes, pack and conv are there. An item is a tile of up to 4 registers of outputs.
 *
 * Packed: a bias for each output, fp32; then bf16 [registers][in][a register's outputs]. Both are
 * padded to whole tiles of 4 registers.
 */
#define DENSE_TILE 4

static size_t dense_registers(const struct conv *conv)
{
    return divide_up(conv->out, DENSE_TILE * SIMD_FLOATS) * DENSE_TILE;
}

static size_t dense_packed_bytes(const struct conv *conv)
{
    return dense_registers(conv) * SIMD_FLOATS * (sizeof(float) + conv->in * sizeof(bf16));
}

static void dense_pack(const struct conv *conv, const float *source, const float *bias,
                       void *packed)
{
    bf16 *weights = (bf16 *)((float *)packed + dense_registers(conv) * SIMD_FLOATS);
    memcpy(packed, bias, conv->out * sizeof *bias);
    for (size_t o = 0; o < conv->out; o++)
        for (size_t i = 0; i < conv->in; i++)
            weights[(o / SIMD_FLOATS * conv->in + i) * SIMD_FLOATS + o % SIMD_FLOATS] =
                bf16_from_float(*source++);
}

struct dense_job {
    const struct conv *conv;
    size_t images, width, registers; /* of a tile; of an image's output, in whole blocks */
    const float *in;                 /* [images][in, in whole blocks] */
    float *out;                      /* [images][registers][a register's outputs] */
};

/* J registers of outputs from `first` on. */
INLINE void dense_tile(const struct dense_job *job, size_t image, size_t first, const size_t J)
{
    const struct conv *conv = job->conv;
    const float *bias = conv->packed, *x = job->in + image * blocks_of(conv->in) * LANES;
    const bf16 *weights = (const bf16 *)(bias + dense_registers(conv) * SIMD_FLOATS);
    size_t panel = conv->in * SIMD_FLOATS;
    vec sum[DENSE_TILE];
    for (size_t j = 0; j < J; j++)
        sum[j] = LOAD(bias + (first + j) * SIMD_FLOATS);
    weights += first * panel;
    for (size_t i = 0; i < conv->in; i++, weights += SIMD_FLOATS)
#pragma GCC unroll 4
        for (size_t j = 0; j < J; j++)
            sum[j] = fp32_add(sum[j], x[i], bf16_load(weights + j * panel));
    float *out = job->out + (image * job->registers + first) * SIMD_FLOATS;
    for (size_t j = 0; j < J && first + j < job->registers; j++)
        *(vec *)(void *)(out + j * SIMD_FLOATS) = conv->relu ? positive(sum[j]) : sum[j];
}

static void dense_item(void *context, size_t item)
{
    const struct dense_job *job = context;
    for (size_t image = 0; image < job->images; image++) {
        size_t first = item * job->width;
        if (job->width == 4)
            dense_tile(job, image, first, 4);
        else if (job->width == 2)
            dense_tile(job, image, first, 2);
        else
            dense_tile(job, image, first, 1);
    }
}

static void dense_conv(const struct conv *conv, size_t batch, size_t height, size_t width,
                       const void *in, void *scratch, void *out, struct team *team)
{
    (void)height, (void)width, (void)scratch; /* a vector is 1 x 1 */
    struct dense_job job = {.conv = conv,
                            .images = batch,
                            .width = DENSE_TILE,
                            .registers = blocks_of(conv->out) * REGISTERS,
                            .in = in,
                            .out = out};
    while (job.width > 1 && divide_up(job.registers, job.width) < pool_room(team))
        job.width /= 2; /* a tile for each core */
    pool_for(team, divide_up(job.registers, job.width), dense_item, &job);
}

static const struct kernels dense_layers = {.name = SIMD_NAME,
                                            .lanes = LANES,
                                            .active_bytes = sizeof(float),
                                            .linear_bytes = sizeof(float),
                                            .packed_bytes = dense_packed_bytes,
                                            .pack = dense_pack,
                                            .conv = dense_conv};
