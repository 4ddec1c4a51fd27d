/* emulator.h - Intel's tile instructions (AMX) on CPUs that lack them, so that the kernels made of
 * them are tested everywhere: the very instructions, which such a CPU refuses by a SIGILL.
 *
 * Tests are linked with --wrap=amx_supported, which the emulator answers.
 */
#ifndef SENETD_TESTS_AMX_EMULATOR_H
#define SENETD_TESTS_AMX_EMULATOR_H

#include <stdbool.h>

/* Until the test ends the backends named "amx" work in this process: on the CPU's tile registers
 * where it has some, else emulated. False where they cannot, as the CPU lacks AVX-512 too, and
 * under TSan. */
bool amx_emulate(void);

/* The tile instructions emulated so far, of all threads. */
unsigned long amx_emulated(void);

#endif
