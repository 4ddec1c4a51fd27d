/* amx.h - whether the tile registers of Intel's AMX may be used (Intel 64 and IA-32 Architectures
 * Software Developer's Manual, volume 1, chapter 18). */
#ifndef SENETD_AMX_H
#define SENETD_AMX_H

#include <stdbool.h>

/* True where the CPU multiplies tiles of int8 and of bf16, and the kernel keeps their registers for
 * this process, which is asked of it when first called. Thread-safe. */
bool amx_supported(void);

#endif
