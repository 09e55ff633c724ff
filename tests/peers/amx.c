/* What a product of 16 tokens by 16 rows by 32 columns costs with AMX, whose sums are then added up as floats with a
   scale and a minimum for each row, as Q4_K has them. By hand, on Linux:

       gcc -O2 -march=sapphirerapids tests/peers/amx.c -o amx && ./amx

   A product's sums go from its register into a table, as AMX cannot give them to other registers; a few products later
   they are read from there. After 16 products the floats are put where results are kept. Activations are int8 (sums
   are whole numbers, and take two more instructions each) or bfloat16 (twice the bytes). They stay in the first level
   of the cache, as if many tiles of rows shared them, or come from the second ("far"). Printed are nanoseconds, the best
   of many runs: of a part of the work alone, and of all. */

#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 0x1023, REGISTERS = 18 }; /* of arch_prctl */
enum { UNITS = 16, TABLES = 4, EARLY = 3, BLOCKS = 10, STRIDE = 11776 + 8192, SCALES = 9216, UNIT = 1152,
       RESULTS = 256 };

static char *x, *codes, *tables, *results;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void configure(int bf16)
{
    struct { uint8_t palette, start, none[14]; uint16_t width[16]; uint8_t rows[16]; } c;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (int i = 0; i < 3; i++)
        c.width[i] = 64, c.rows[i] = 16;
    if (!bf16)
        c.width[1] = 32, c.rows[2] = 8;
    __asm__ volatile("" : : "r"(&c) : "memory"); /* or GCC takes the stores for dead */
    _tile_loadconfig(&c);
}

/* Both are inlined into loops of their own for every choice. */
static inline __attribute__((always_inline)) void product(const char *own, long unit, int bf16)
{
    _tile_zero(0);
    _tile_loadd(1, own + (unit % UNITS) * (bf16 ? 64 : 32), STRIDE);
    _tile_loadd(2, codes + (unit % UNITS) * UNIT, 64);
    if (bf16)
        _tile_dpbf16ps(0, 1, 2);
    else
        _tile_dpbssd(0, 1, 2);
    _tile_stored(0, tables + (unit % TABLES) * 1024, 64);
}

static inline __attribute__((always_inline)) void add(__m512 *sums, const char *own, long unit, int bf16)
{
    const char *table = tables + (unit % TABLES) * 1024, *scales = codes + (unit % UNITS) * UNIT + 1024;
    __m512 scale = _mm512_load_ps(scales), minimum = _mm512_load_ps(scales + 64);
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++) {
        const char *of = own + SCALES + t * (long)STRIDE + (unit % UNITS) * 4;
        if (bf16) {
            sums[t] = _mm512_fmadd_ps(_mm512_load_ps(table + 64 * t), scale, sums[t]);
        } else { /* scales of activations are powers of two: their exponents are added */
            __m512i both = _mm512_add_epi32(_mm512_castps_si512(scale), _mm512_set1_epi32(*(const int *)(of + 512)));
            __m512 whole = _mm512_cvtepi32_ps(_mm512_load_si512(table + 64 * t));
            sums[t] = _mm512_fmadd_ps(whole, _mm512_castsi512_ps(both), sums[t]);
        }
        sums[t] = _mm512_fnmadd_ps(minimum, _mm512_set1_ps(*(const float *)of), sums[t]);
    }
}

static inline __attribute__((always_inline)) double run(int bf16, int products, int floats, int far)
{
    double best = 1e9;
    configure(bf16);
    for (int r = 0; r < 3000; r++) {
        double start = now();
        for (int block = 0; block < BLOCKS; block++) {
            const char *own = x + (far ? block * 16L * STRIDE : 0);
            char *y = results + block * 16 * RESULTS;
            __m512 sums[16];
#pragma GCC unroll 16
            for (int t = 0; t < 16; t++)
                sums[t] = _mm512_load_ps(y + t * RESULTS);
            for (long unit = 0; unit < UNITS; unit++) {
                if (products)
                    product(own, unit + EARLY, bf16);
                if (floats)
                    add(sums, own, unit, bf16);
            }
            if (floats)
#pragma GCC unroll 16
                for (int t = 0; t < 16; t++)
                    _mm512_store_ps(y + t * RESULTS, sums[t]);
        }
        double each = (now() - start) / (BLOCKS * UNITS) * 1e9;
        best = each < best ? each : best;
    }
    _tile_release();
    return best;
}

static void fill(char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 2) {
        float f = rand() % 15 + 1;
        memcpy(at + i, (char *)&f + 2, 2);
    }
}

static void fill_floats(char *at, float f)
{
    for (int i = 0; i < 16; i++)
        memcpy(at + 4 * i, &f, 4);
}

int main(void)
{
    if (syscall(SYS_arch_prctl, REQUEST, REGISTERS)) {
        puts("the system does not let this program use AMX");
        return 1;
    }
    x = aligned_alloc(4096, BLOCKS * 16 * STRIDE);
    codes = aligned_alloc(4096, 20480), tables = aligned_alloc(4096, 4096);
    results = aligned_alloc(4096, BLOCKS * 16 * RESULTS), memset(results, 0, BLOCKS * 16 * RESULTS);
    fill(x, BLOCKS * 16 * STRIDE), fill(codes, 20480), memset(tables, 0, 4096);
    for (int t = 0; t < BLOCKS * 16; t++)
        fill_floats(x + t * (long)STRIDE + SCALES, 1), memset(x + t * (long)STRIDE + SCALES + 512, 0, 64);
    for (int unit = 0; unit < UNITS; unit++)
        fill_floats(codes + unit * UNIT + 1024, 0.01f), fill_floats(codes + unit * UNIT + 1088, 0.01f);
    puts("ns of 16 x 16 x 32    floats  products     both  products, far  both, far");
    printf("int8             %10.1f%10.1f%9.1f%15.1f%11.1f\n",
           run(0, 0, 1, 0), run(0, 1, 0, 0), run(0, 1, 1, 0), run(0, 1, 0, 1), run(0, 1, 1, 1));
    printf("bfloat16         %10.1f%10.1f%9.1f%15.1f%11.1f\n",
           run(1, 0, 1, 0), run(1, 1, 0, 0), run(1, 1, 1, 0), run(1, 1, 0, 1), run(1, 1, 1, 1));
}
