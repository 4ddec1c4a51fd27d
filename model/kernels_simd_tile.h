/* kernels_simd_tile.h - the register tile of vector registers; see kernels_tile.h.
 *
 * A tile is R output pixels of a row times J blocks of 16 output channels: one broadcast input word
 * times J weight vectors at a time.
 */
/* The same among the kept sums. */
#define KEPT(t, p, j) ((p) * (t)->kept_pixel + (j) / REGISTERS * (t)->kept_block + (j) % REGISTERS)

typedef word any_word __attribute__((aligned(1), may_alias)); /* a photo's begin anywhere */

INLINE word read_word(const active *from)
{
    return *(const any_word *)(const void *)from;
}

/* Pixels that lie in a line of the cache, at most; one where they take several. */
#define PIXELS_A_LINE (LANES * sizeof(active) < 64 ? 64 / (LANES * sizeof(active)) : 1)

/* Vector registers of the machines that have tiles of 4 blocks. */
#define WIDE_REGISTERS 32

/* sums_add of weights that stay in memory, as the operand of SIMD_ADD: of an expression GCC makes
 * that only at times. */
INLINE sums sums_add_from(sums sum, word value, const word *weights)
{
#ifdef SIMD_ADD
    const weights_register none = {0}, values = value - none;
    __asm__(SIMD_ADD " %2, %1, %0"
            : "+v"(sum)
            : "v"(values), "m"(*(const weights_register *)(const void *)weights));
    return sum;
#else
    return sums_add(sum, value, weights_load(weights));
#endif
}

/* A word of each of R pixels, `step` channels apart, times the weights of J blocks. */
INLINE void add_word(const size_t R, const size_t J, const active *in, const size_t step,
                     const word *weights, size_t panel, sums sum[14][4])
{
    if (R < J * REGISTERS) { /* fewer inputs than weights stay in registers */
        word values[14];
#pragma GCC unroll 14
        for (size_t p = 0; p < R; p++)
            values[p] = read_word(in + p * step);
#pragma GCC unroll 4
        for (size_t j = 0; j < J * REGISTERS; j++) {
            weights_register w = weights_load(weights + AT(j, panel));
#pragma GCC unroll 14
            for (size_t p = 0; p < R; p++)
                sum[p][j] = sums_add(sum[p][j], values[p], w);
        }
        return;
    }
    /* Where sums, weights and a value are a register too many, or GCC would spill a sum. */
    const size_t all = J * REGISTERS, held = all == 4 && R * 4 + 4 >= WIDE_REGISTERS ? 3 : all;
    weights_register w[4];
#pragma GCC unroll 4
    for (size_t j = 0; j < held; j++)
        w[j] = weights_load(weights + AT(j, panel));
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++) {
        word value = read_word(in + p * step);
#pragma GCC unroll 4
        for (size_t j = 0; j < held; j++)
            sum[p][j] = sums_add(sum[p][j], value, w[j]);
        if (held < all)
            sum[p][3] = sums_add_from(sum[p][3], value, weights + AT(3, panel));
    }
}

/* A window of one pixel: row_words is WORDS, but GCC aligns no loop of few turns if it knows. The
 * next input block, or the next tile's first, and other weights lie so far away that the CPU does
 * not foresee them. */
INLINE void add_pixel(const struct tile *t, const size_t R, const size_t J, sums sum[14][4])
{
    const active *in = t->in;
    const word *weights = t->weights, *ahead = t->ahead;
    const size_t in_block = t->in_block, panel = t->panel, row_words = t->row_words;
    const size_t ahead_lines = t->ahead_lines;
    for (size_t left = t->blocks; left > 0; left--) {
        const active *next = left > 1 ? in + in_block : t->in + R * LANES;
        if (R > 1) {
#pragma GCC unroll 14
            for (size_t p = 0; p < R; p++)
                if (p % PIXELS_A_LINE == 0 || p == R - 1)
                    __builtin_prefetch(next + p * LANES);
            for (size_t l = ahead_lines; l > 0; l--, ahead += LANES)
#pragma GCC unroll 4
                for (size_t j = 0; j < J; j++)
                    __builtin_prefetch(ahead + j * panel);
        }
        for (size_t i = row_words; i > 0; i--, in += GROUP, weights += LANES)
            add_word(R, J, in, LANES, weights, panel, sum);
        in = next;
    }
}

INLINE void add_window(const struct tile *t, const size_t R, const size_t J, const size_t step,
                       sums sum[14][4])
{
    const word *weights = t->weights;
    const size_t panel = t->panel, row_words = t->row_words;
    for (size_t b = 0; b < t->blocks; b++)
        for (size_t ky = 0; ky < t->kernel; ky++) {
            const active *in = t->in + b * t->in_block + ky * t->in_row;
            for (size_t i = row_words; i > 0; i--, in += GROUP, weights += LANES)
                add_word(R, J, in, step, weights, panel, sum);
        }
}

/* Stores R pixels x J blocks. How far pixels are apart is known here, so addresses cost nothing. */
INLINE void tile_end(const struct tile *t, const size_t R, const size_t J, const bool relu,
                     sums sum[14][4])
{
    const size_t pixel = LANES * (relu ? sizeof(active) : sizeof(linear));
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
        for (size_t j = 0; j < J; j++)
            block_end(sum[p] + j * REGISTERS, t->bias + j * LANES, t->head, relu,
                      t->out + p * pixel + j * t->out_block);
}

/* x = relu(gates * the sums' values + x), of a pixel's block, and `next`, unless it is NULL, the
 * same as active channels. */
INLINE void join_block(const sums sum[REGISTERS], const float *bias, size_t head,
                       const float *gates, linear *x, active *next, float inverse)
{
    vec block[REGISTERS], gate[REGISTERS], shortcut[REGISTERS];
    for (size_t r = 0; r < REGISTERS; r++) {
        block[r] = sums_value(sum[r], bias + r * SIMD_FLOATS, head);
        gate[r] = LOAD(gates + r * SIMD_FLOATS);
    }
    linear_swap(block);
    linear_swap(gate);
    linear_load_block(x, shortcut);
    for (size_t r = 0; r < REGISTERS; r++)
        block[r] = join(block[r], gate[r], shortcut[r]);
    linear_store_block(x, block);
    if (!next)
        return;
    for (size_t r = 0; r < REGISTERS; r++)
        block[r] *= inverse;
    active_store_block(next, block);
}

/* The same as tile_end of tiles that are joined with the shortcut. */
INLINE void tile_join(const struct tile *t, const size_t R, const size_t J, const bool apart,
                      sums sum[14][4])
{
    const size_t out_block = t->out_block / sizeof(linear);
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
        for (size_t j = 0; j < J; j++) {
            size_t at = p * LANES + j * out_block;
            join_block(sum[p] + j * REGISTERS, t->bias + j * LANES, t->head, t->gates + j * LANES,
                       (linear *)(void *)t->out + at, apart ? t->next + at : NULL, t->inverse);
        }
}

/* The shortcut was written long ago; what a tile takes to multiply is time to fetch it. */
INLINE void fetch_shortcut(const struct tile *t, const size_t R, const size_t J)
{
    const size_t pixel = LANES * sizeof(linear);
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
        for (size_t j = 0; j < J; j++)
            if (p * pixel % 64 == 0 || p == R - 1)
                __builtin_prefetch(t->out + p * pixel + j * t->out_block, 1);
}

/* R pixels x J blocks. */
INLINE void tile_body(const struct tile *t, const size_t R, const size_t J, const enum input input)
{
    sums sum[14][4]; /* only [R][J * REGISTERS] is ever touched, and lives in registers */
#pragma GCC unroll 14
    for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
        for (size_t j = 0; j < J * REGISTERS; j++)
            if (t->resumes)
                sum[p][j] = t->kept[KEPT(t, p, j)];
            else
                sum[p][j] = sums_begin(t->bias + AT(j, LANES), t->head);
    if (input == joined && !t->suspends)
        fetch_shortcut(t, R, J);
    if (input == flat || input == joined)
        add_pixel(t, R, J, sum);
    else
        add_window(t, R, J, pixel_step(input), sum);
    if (t->suspends) {
#pragma GCC unroll 14
        for (size_t p = 0; p < R; p++)
#pragma GCC unroll 4
            for (size_t j = 0; j < J * REGISTERS; j++)
                t->kept[KEPT(t, p, j)] = sum[p][j];
        return;
    }
    if (input == joined && APART && t->next)
        tile_join(t, R, J, true, sum);
    else if (input == joined)
        tile_join(t, R, J, false, sum);
    else if (t->relu)
        tile_end(t, R, J, true, sum);
    else
        tile_end(t, R, J, false, sum);
}

/* As many sums as a large tile has, independent of each other, on one word and one vector of
 * weights; the empty asm keeps the compiler from seeing that all are alike. */
static double peak(size_t loops)
{
    enum { SUMS = TILE_1 * REGISTERS > 12 ? 12 : TILE_1 * REGISTERS };
    float bias[HEAD_FLOATS * LANES] = {0};
    word words[LANES] = {0};
    sums start[SUMS], sum[SUMS]; /* sum stays in registers, as nothing takes its address */
    for (size_t s = 0; s < SUMS; s++) {
        start[s] = sums_begin(bias + (HEAD_FLOATS - 1) * LANES, LANES);
        __asm__ volatile("" : "+m"(start[s]));
    }
#pragma GCC unroll 12
    for (size_t s = 0; s < SUMS; s++)
        sum[s] = start[s];
    __asm__ volatile("" : : "r"(words) : "memory");
    word value = words[0];
    for (size_t i = 0; i < loops; i++) {
        weights_register w = weights_load(words);
        __asm__ volatile("" : : "r"(words) : "memory");
#pragma GCC unroll 12
        for (size_t s = 0; s < SUMS; s++) {
            weights_forget(&w);
            sum[s] = sums_add(sum[s], value, w);
        }
    }
#pragma GCC unroll 12
    for (size_t s = 0; s < SUMS; s++) {
        start[s] = sum[s];
        __asm__ volatile("" : : "m"(start[s])); /* each sum is wanted */
    }
    return (double)loops * SUMS * SIMD_FLOATS * GROUP;
}

/* One function a shape: tile_<R>x<J>_<input>, and tables of them by R. */
#define TILE(R, J, KIND)                                                                           \
    static void tile_##R##x##J##_##KIND(const struct tile *t)                                      \
    {                                                                                              \
        tile_body(t, R, J, KIND);                                                                  \
    }
#define TILES_3(J, KIND) TILE(1, J, KIND) TILE(2, J, KIND) TILE(3, J, KIND)
#define TILES_5(J, KIND) TILES_3(J, KIND) TILE(4, J, KIND) TILE(5, J, KIND)
#define TILES_6(J, KIND) TILES_5(J, KIND) TILE(6, J, KIND)
#define TILES_7(J, KIND) TILES_6(J, KIND) TILE(7, J, KIND)
#define TILES_12(J, KIND)                                                                          \
    TILES_7(J, KIND)                                                                               \
    TILE(8, J, KIND) TILE(9, J, KIND) TILE(10, J, KIND) TILE(11, J, KIND) TILE(12, J, KIND)
#define TILES_14(J, KIND)  TILES_12(J, KIND) TILE(13, J, KIND) TILE(14, J, KIND)
#define ENTRY(R, J, KIND)  tile_##R##x##J##_##KIND,
#define ENTRIES_3(J, KIND) ENTRY(1, J, KIND) ENTRY(2, J, KIND) ENTRY(3, J, KIND)
#define ENTRIES_5(J, KIND) ENTRIES_3(J, KIND) ENTRY(4, J, KIND) ENTRY(5, J, KIND)
#define ENTRIES_6(J, KIND) ENTRIES_5(J, KIND) ENTRY(6, J, KIND)
#define ENTRIES_7(J, KIND) ENTRIES_6(J, KIND) ENTRY(7, J, KIND)
#define ENTRIES_12(J, KIND)                                                                        \
    ENTRIES_7(J, KIND)                                                                             \
    ENTRY(8, J, KIND)                                                                              \
    ENTRY(9, J, KIND) ENTRY(10, J, KIND) ENTRY(11, J, KIND) ENTRY(12, J, KIND)
#define ENTRIES_14(J, KIND) ENTRIES_12(J, KIND) ENTRY(13, J, KIND) ENTRY(14, J, KIND)
#define DEFINE_WIDTH(J, most)                                                                      \
    PASTE(TILES_, most)                                                                            \
    (J, flat) PASTE(TILES_, most)(J, joined) PASTE(TILES_, most)(J, dense)                         \
        PASTE(TILES_, most)(J, strided)                                                            \
            PASTE(TILES_, most)(J, photo) static void (*const tiles_##J[INPUTS][most])(            \
                const struct tile *) = {{PASTE(ENTRIES_, most)(J, flat)},                          \
                                        {PASTE(ENTRIES_, most)(J, joined)},                        \
                                        {PASTE(ENTRIES_, most)(J, dense)},                         \
                                        {PASTE(ENTRIES_, most)(J, strided)},                       \
                                        {PASTE(ENTRIES_, most)(J, photo)}};

DEFINE_WIDTH(1, TILE_1)
#if TILE_2
DEFINE_WIDTH(2, TILE_2)
#endif
#if TILE_4
DEFINE_WIDTH(4, TILE_4)
#endif

/* Tiles of `width` blocks for that kind of input, and rows of so many pixels. */
static void tiles_begin(struct tile *tile, size_t width, enum input input, size_t pixels)
{
    (void)pixels;
#if TILE_4
    if (width == 4) {
        tile->most = TILE_4;
        tile->run = tiles_4[input];
        return;
    }
#endif
#if TILE_2
    if (width == 2) {
        tile->most = TILE_2;
        tile->run = tiles_2[input];
        return;
    }
#endif
    (void)width;
    tile->most = TILE_1;
    tile->run = tiles_1[input];
}

static void tiles_end(void)
{
}

/* Output pixels of one row, in tiles of nearly equal size. */
static void run_row(struct tile *tile, size_t pixels, size_t in_step)
{
    size_t tiles = divide_up(pixels, tile->most);
    for (size_t left = tiles; left > 0; left--) {
        size_t count = (pixels + left - 1) / left;
        tile->run[count - 1](tile);
        tile->ahead += tile->blocks * tile->ahead_lines * LANES;
        pixels -= count;
        tile->in += count * in_step;
        tile->out += count * tile->out_pixel;
        tile->next += tile->next ? count * LANES : 0;
        tile->kept += tile->kept ? count * tile->kept_pixel : 0;
    }
}

/* Matrix multiplication by the tiles of a 1x1 convolution, without bias:
 * m[blocks][pixels][16] = weights[blocks][in_blocks][words][16] times v[in_blocks][pixels][16].
 * `next`: the weights of the product that follows, to be prefetched, or NULL. */
static inline void multiply_pixels(const active *v, size_t in_blocks, size_t pixels,
                                   const word *weights, size_t blocks, const word *next, sums *m)
{
    static const float no_bias[4 * LANES];
    size_t panel = in_blocks * WORDS * LANES, wide = widest_of(pixels);
    for (size_t b = 0, width; b < blocks; b += width) {
        width = tile_width(wide, blocks - b);
        struct tile tile = {.in = v,
                            .in_block = pixels * LANES,
                            .blocks = in_blocks,
                            .kernel = 1,
                            .row_words = WORDS,
                            .weights = weights + b * panel,
                            .panel = panel,
                            .bias = no_bias,
                            .suspends = true,
                            .kept = m + b * pixels * REGISTERS,
                            .kept_pixel = REGISTERS,
                            .kept_block = pixels * REGISTERS};
        tiles_begin(&tile, width, flat, pixels);
        aim_ahead(&tile, b + width < blocks || !next ? tile.weights + width * panel : next, WORDS,
                  divide_up(pixels, tile.most));
        run_row(&tile, pixels, LANES);
    }
}
