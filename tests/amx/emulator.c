/* emulator.c - see emulator.h. What the instructions do, and when they fault, is told by the Intel
 * 64 and IA-32 Architectures Software Developer's Manual, volume 2 (LDTILECFG, TILELOADD, TDPBUSD,
 * TDPBF16PS ...). */
#include "emulator.h"
#if defined(__x86_64__)
#include <immintrin.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

/* Sanitizers would only see this file's own arrays, at many times the cost. */
#define PLAIN  __attribute__((no_sanitize("address", "thread", "undefined")))
#define VECTOR __attribute__((target("avx512f,avx512bw,fma")))

struct tiles {
    bool configured;
    unsigned rows[TILES], bytes[TILES];
    uint8_t data[TILES][ROWS][ROW_BYTES];
};

static _Thread_local struct tiles tiles;
static atomic_ulong emulated;

bool __real_amx_supported(void);
bool __wrap_amx_supported(void);

unsigned long amx_emulated(void)
{
    return atomic_load(&emulated);
}

/* What a CPU would answer by an exception ends the test. */
PLAIN static void expect(bool condition, const char *what)
{
    if (condition)
        return;
    ssize_t written = write(2, "amx: ", 5) + write(2, what, strlen(what)) + write(2, "\n", 1);
    (void)written;
    abort();
}

/* ---- decoding: VEX.128.0F38.W0 49, 4B, 5C, 5E ------------------------------------------------ */

enum prefix { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };

struct instruction {
    uint8_t opcode;
    enum prefix prefix;
    unsigned mod, reg, rm, vvvv; /* of ModRM and VEX */
    uint8_t *base;               /* the memory operand's address, without the index */
    int64_t stride;              /* the scaled index; 0 where there is none */
    size_t length;
};

static int64_t general_register(const greg_t *registers, unsigned number)
{
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};
    return registers[order[number]];
}

/* The memory operand behind ModRM at `at`. */
PLAIN static void decode_memory(struct instruction *in, const greg_t *registers,
                                const uint8_t *start, bool high_base, bool high_index)
{
    const uint8_t *at = start + in->length;
    unsigned base = in->rm;
    int64_t address = 0;
    if (in->rm == 4) {
        unsigned sib = *at++, index = (sib >> 3 & 7) + 8 * high_index;
        base = sib & 7;
        in->stride = index != 4 ? general_register(registers, index) * (1 << (sib >> 6)) : 0;
    }
    bool relative = in->mod == 0 && in->rm == 5, baseless = in->mod == 0 && base == 5;
    if (!baseless)
        address = general_register(registers, base + 8 * high_base);
    if (in->mod == 1) {
        address += (int8_t)*at++;
    } else if (in->mod == 2 || baseless) {
        int32_t displacement;
        memcpy(&displacement, at, sizeof displacement);
        at += sizeof displacement;
        address += displacement;
    }
    in->length = (size_t)(at - start);
    if (relative)
        address += registers[REG_RIP] + (int64_t)in->length;
    in->base = (uint8_t *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
}

/* False where it is no tile instruction. */
PLAIN static bool decode(const greg_t *registers, struct instruction *in)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)registers[REG_RIP]; /* NOLINT */
    if (at[0] != 0xc4 || (at[1] & 0x1f) != 2 || (at[2] & 0x84) != 0)
        return false;
    *in = (struct instruction){.opcode = at[3],
                               .prefix = at[2] & 3,
                               .vvvv = ~at[2] >> 3 & 15,
                               .mod = at[4] >> 6,
                               .reg = at[4] >> 3 & 7,
                               .rm = at[4] & 7,
                               .length = 5};
    if (in->opcode != 0x49 && in->opcode != 0x4b && in->opcode != 0x5c && in->opcode != 0x5e)
        return false;
    if (in->mod != 3)
        decode_memory(in, registers, at, !(at[1] & 0x20), !(at[1] & 0x40));
    return true;
}

/* ---- what they do ---------------------------------------------------------------------------- */

PLAIN static void load_config(const uint8_t *from)
{
    expect(from[0] == 1, "ldtilecfg: palette is not 1");
    for (size_t i = 1; i < 16; i++)
        expect(from[i] == 0, "ldtilecfg: reserved byte or start row is not 0");
    memset(&tiles, 0, sizeof tiles);
    for (size_t i = 0; i < 16; i++) {
        unsigned bytes = from[16 + 2 * i] | (unsigned)from[17 + 2 * i] << 8, rows = from[48 + i];
        expect(i < TILES || (rows == 0 && bytes == 0), "ldtilecfg: a ninth tile");
        expect(bytes <= ROW_BYTES && rows <= ROWS, "ldtilecfg: a tile is too large");
        expect((bytes == 0) == (rows == 0), "ldtilecfg: a tile has rows or columns alone");
        if (i < TILES) {
            tiles.rows[i] = rows;
            tiles.bytes[i] = bytes;
        }
    }
    tiles.configured = true;
}

PLAIN static void expect_valid(unsigned tile)
{
    expect(tiles.configured, "a tile instruction without a configuration");
    expect(tile < TILES && tiles.rows[tile] > 0, "a tile that is not configured");
    expect(tiles.bytes[tile] % 4 == 0, "a row is not a whole number of words");
}

PLAIN static void load_or_store(const struct instruction *in)
{
    expect_valid(in->reg);
    expect(in->mod != 3 && in->rm == 4, "a tile's memory operand has no SIB byte");
    bool store = in->prefix == PREFIX_F3;
    uint8_t(*data)[ROW_BYTES] = tiles.data[in->reg];
    if (!store)
        memset(data, 0, sizeof tiles.data[0]);
    for (unsigned row = 0; row < tiles.rows[in->reg]; row++) {
        uint8_t *memory = in->base + row * in->stride;
        if (store)
            memcpy(memory, data[row], tiles.bytes[in->reg]);
        else
            memcpy(data[row], memory, tiles.bytes[in->reg]);
    }
}

/* sum[m] += in[m] times weights: bytes without sign by bytes with. */
PLAIN VECTOR static __m512i dot_bytes(__m512i sum, const uint8_t *in, uint8_t weights[][ROW_BYTES],
                                      unsigned words)
{
    const __m512i low = _mm512_set1_epi32(0xff);
    for (unsigned k = 0; k < words; k++) {
        int32_t word;
        memcpy(&word, in + (size_t)k * 4, 4);
        __m512i all = _mm512_loadu_si512(weights[k]), four = _mm512_set1_epi32(word);
        for (int byte = 0; byte < 4; byte++) {
            __m512i w =
                _mm512_srai_epi32(_mm512_sll_epi32(all, _mm_cvtsi32_si128(24 - 8 * byte)), 24);
            __m512i a = _mm512_and_si512(_mm512_srl_epi32(four, _mm_cvtsi32_si128(8 * byte)), low);
            sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(a, w));
        }
    }
    return sum;
}

/* The same of bf16: the even and the odd channels are summed apart, and those sums then added. */
PLAIN VECTOR static __m512 dot_bf16(__m512 sum, const uint8_t *in, uint8_t weights[][ROW_BYTES],
                                    unsigned words)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000);
    __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
    for (unsigned k = 0; k < words; k++) {
        int32_t word;
        memcpy(&word, in + (size_t)k * 4, 4);
        __m512i all = _mm512_loadu_si512(weights[k]), pair = _mm512_set1_epi32(word);
        even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)),
                               _mm512_castsi512_ps(_mm512_slli_epi32(all, 16)), even);
        odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(pair, upper)),
                              _mm512_castsi512_ps(_mm512_and_si512(all, upper)), odd);
    }
    return _mm512_add_ps(sum, _mm512_add_ps(even, odd));
}

PLAIN VECTOR static void multiply(const struct instruction *in)
{
    unsigned sum = in->reg, left = in->rm, right = in->vvvv;
    bool bf16 = in->opcode == 0x5c;
    expect(in->mod == 3, "a product of memory");
    expect(in->prefix == (bf16 ? PREFIX_F3 : PREFIX_66), "not tdpbf16ps or tdpbusd");
    expect_valid(sum);
    expect_valid(left);
    expect_valid(right);
    expect(sum != left && sum != right && left != right, "a product of a tile with itself");
    expect(tiles.bytes[sum] == tiles.bytes[right] && tiles.rows[sum] == tiles.rows[left] &&
               tiles.bytes[left] == 4 * tiles.rows[right],
           "tiles whose shapes do not match");
    unsigned words = tiles.rows[right], mode = _mm_getcsr();
    __mmask16 columns = (__mmask16)((1U << tiles.bytes[sum] / 4) - 1);
    _mm_setcsr(0x9fc0); /* to nearest even, no exceptions, no subnormal numbers */
    for (unsigned m = 0; m < tiles.rows[sum]; m++) {
        uint8_t *row = tiles.data[sum][m];
        __m512i result;
        if (bf16)
            result = _mm512_castps_si512(
                dot_bf16(_mm512_loadu_ps(row), tiles.data[left][m], tiles.data[right], words));
        else
            result =
                dot_bytes(_mm512_loadu_si512(row), tiles.data[left][m], tiles.data[right], words);
        _mm512_storeu_si512(row, _mm512_maskz_mov_epi32(columns, result));
    }
    _mm_setcsr(mode);
}

PLAIN static bool execute(const struct instruction *in)
{
    if (in->opcode == 0x49 && in->prefix == PREFIX_NONE && in->mod != 3 && in->reg == 0)
        load_config(in->base);
    else if (in->opcode == 0x49 && in->prefix == PREFIX_NONE && in->mod == 3)
        tiles.configured = false; /* tilerelease */
    else if (in->opcode == 0x49 && in->prefix == PREFIX_F2 && in->mod == 3) {
        expect_valid(in->reg); /* tilezero */
        memset(tiles.data[in->reg], 0, sizeof tiles.data[0]);
    } else if (in->opcode == 0x4b && in->prefix != PREFIX_NONE)
        load_or_store(in);
    else if (in->opcode == 0x5c || in->opcode == 0x5e)
        multiply(in);
    else
        return false;
    return true;
}

/* Tile instructions that follow are done at once: a signal costs more than one of them. */
PLAIN static void on_illegal(int signal_number, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct instruction in;
    unsigned long count = 0;
    for (; decode(registers, &in) && execute(&in); count++)
        registers[REG_RIP] += (greg_t)in.length;
    if (count == 0)
        signal(signal_number, SIG_DFL); /* and then the same again */
    atomic_fetch_add_explicit(&emulated, count, memory_order_relaxed);
}

/* cmocka puts handlers of its own in the place of ours when a test ends. */
static bool is_emulating(void)
{
    struct sigaction action;
    return sigaction(SIGILL, NULL, &action) == 0 && action.sa_sigaction == on_illegal;
}

bool __wrap_amx_supported(void)
{
    return is_emulating() || __real_amx_supported();
}

bool amx_emulate(void)
{
#ifdef __SANITIZE_THREAD__
    return false; /* a signal takes so long there */
#endif
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512bf16"))
        return false;
    const struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    return __real_amx_supported() || sigaction(SIGILL, &action, NULL) == 0;
}
#else
bool amx_emulate(void)
{
    return false;
}

unsigned long amx_emulated(void)
{
    return 0;
}
#endif
