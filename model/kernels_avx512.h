/* kernels_avx512.h - single instructions of AVX-512 (F and BW, BF16 where there) for operations of
 * kernels_vector.h that GCC 12 makes several of. */
#include <immintrin.h>

#define SIMD_MAX(a, b) ((vec)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define SIMD_MIN(a, b) ((vec)_mm512_min_ps((__m512)(a), (__m512)(b)))

/* Rounded once, as by vfmadd231ps, whatever the compiler's options. */
#define SIMD_FP32_ADD(sum, value, w)                                                               \
    ((vec)_mm512_fmadd_ps(_mm512_set1_ps(value), (__m512)(w), (__m512)(sum)))

/* Each 16-bit lane into the upper half of a 32-bit one. */
#define SIMD_BF16_LOAD(from)                                                                       \
    ((vec)_mm512_maskz_permutexvar_epi16(                                                          \
        0xaaaaaaaa,                                                                                \
        _mm512_set_epi16(15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0, 7, 0, 6, 0, 5, 0,   \
                         4, 0, 3, 0, 2, 0, 1, 0, 0, 0),                                            \
        _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(from)))))
#ifdef __AVX512BF16__
#define SIMD_BF16(value) ((bf16_vec)_mm512_cvtneps_pbh((__m512)(value)))
#endif
#define SIMD_NARROW(lanes) ((bf16_vec)_mm512_cvtepi32_epi16((__m512i)(lanes)))

#define SIMD_BYTES(value)                                                                          \
    ((active_lanes)_mm512_cvtusepi32_epi8(_mm512_cvtps_epi32((__m512)(value))))
