/* older_cpu.c - preloaded into a process, has its CPU look like one without AVX-512 and AMX.
 *
 *     cc -O2 -shared -fPIC -o older_cpu.so older_cpu.c
 *     OLDER_CPU=avx2 LD_PRELOAD=./older_cpu.so PROGRAM      AVX2 and FMA
 *     OLDER_CPU=avxvnni LD_PRELOAD=./older_cpu.so PROGRAM   AVX-VNNI beside them
 *
 * So all engines can be timed as on such a CPU, whatever variables they have to hold them back or
 * have not. Linux lets a process forbid itself the CPUID instruction (arch_prctl(2),
 * ARCH_SET_CPUID), where the CPU can fault on it; the handler of that fault executes it and takes
 * bits off the answer. Elsewhere libraries can be loaded whose CPUIDs are UD2 (older_cpu.py), which
 * sets OLDER_CPU_LIBRARIES. What was chosen before this library's constructor ran, like the C
 * library's own memcpy, stays. Threads inherit the ban, programs that are executed do not.
 *
 * Source of the bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A,
 * CPUID.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define SET_CPUID 0x1012 /* ARCH_SET_CPUID */
#define BIT(n)    (1U << (n))

static bool keeps_avxvnni;

static bool allow_cpuid(bool allowed)
{
    return syscall(SYS_arch_prctl, SET_CPUID, (long)allowed) == 0;
}

/* What that leaf would say on the older CPU. */
static void answer(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    enum { EAX, EBX, ECX, EDX };
    __cpuid_count(leaf, subleaf, r[EAX], r[EBX], r[ECX], r[EDX]);
    if (leaf == 7 && subleaf == 0) {
        /* AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; 4VNNIW,
         * 4FMAPS, VP2INTERSECT, FP16; AMX */
        r[EBX] &= ~(BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31));
        r[ECX] &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
        r[EDX] &= ~(BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25));
    }
    if (leaf == 7 && subleaf == 1) {
        r[EAX] &= ~(BIT(5) | BIT(21)); /* AVX-512 BF16, AMX-FP16 */
        r[EAX] &= keeps_avxvnni ? ~0U : ~BIT(4);
        r[EDX] &= ~(BIT(4) | BIT(5) | BIT(10) | BIT(19)); /* AVX-VNNI-INT8 and such, AVX10 */
    }
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    static const uint8_t cpuid[] = {0x0f, 0xa2}, ud2[] = {0x0f, 0x0b};
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    if (memcmp((const void *)registers[REG_RIP], signal_number == SIGILL ? ud2 : cpuid, 2) != 0) {
        signal(signal_number, SIG_DFL); /* another fault: it comes again, and ends the process */
        return;
    }
    uint32_t r[4];
    allow_cpuid(true);
    answer((uint32_t)registers[REG_RAX], (uint32_t)registers[REG_RCX], r);
    allow_cpuid(false);
    registers[REG_RAX] = r[0];
    registers[REG_RBX] = r[1];
    registers[REG_RCX] = r[2];
    registers[REG_RDX] = r[3];
    registers[REG_RIP] += sizeof cpuid;
}

__attribute__((constructor(101))) static void begin(void)
{
    const char *cpu = getenv("OLDER_CPU");
    keeps_avxvnni = cpu && strcmp(cpu, "avxvnni") == 0;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    bool patched = getenv("OLDER_CPU_LIBRARIES") != NULL;
    sigaction(patched ? SIGILL : SIGSEGV, &action, NULL);
    if (!cpu || (!keeps_avxvnni && strcmp(cpu, "avx2") != 0) || (!patched && !allow_cpuid(false))) {
        fprintf(stderr,
                "older_cpu: OLDER_CPU is to be avx2 or avxvnni, and this CPU has to be able to "
                "fault on CPUID (cpuid_fault in /proc/cpuinfo), or the libraries are to be "
                "patched (older_cpu.py)\n");
        exit(1);
    }
}
