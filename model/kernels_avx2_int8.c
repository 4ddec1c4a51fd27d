/* kernels_avx2_int8.c - int8 on AVX2 alone: even and odd bytes widened to 16 bits, whose pairs of
 * products vpmaddwd adds without saturating (vpmaddubsw would). */
#if defined(__x86_64__)
#include <immintrin.h>
#define SIMD_NAME      "avx2"
#define SIMD_SYMBOL    kernels_avx2_int8
#define SIMD_VECTORS   kernels_avx2
#define SIMD_SUPPORTED (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
#define SIMD_FLOATS    8
#define TILE_1         5
#define TILE_2         0
#define TILE_4         0
#define SIMD_INT8_LOAD                                                                             \
    typedef struct {                                                                               \
        __m256i even, odd;                                                                         \
    } weights_register;                                                                            \
                                                                                                   \
    INLINE weights_register weights_load(const word *from)                                         \
    {                                                                                              \
        __m256i bytes = (__m256i)ILOAD(from);                                                      \
        return (weights_register){_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8),               \
                                  _mm256_srai_epi16(bytes, 8)};                                    \
    }                                                                                              \
                                                                                                   \
    INLINE sums sums_add(sums sum, word value, weights_register w)                                 \
    {                                                                                              \
        __m256i even = _mm256_set1_epi32(value & 0x00ff00ff);                                      \
        __m256i odd = _mm256_set1_epi32(value >> 8 & 0x00ff00ff);                                  \
        return sum + (sums)_mm256_madd_epi16(even, w.even) + (sums)_mm256_madd_epi16(odd, w.odd);  \
    }
#include "kernels_simd_int8.h"
#else
typedef int kernels_avx2_int8_not_for_this_cpu;
#endif
