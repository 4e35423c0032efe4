/* The loops of a certified training step that torch has no fast form for; training/native.py calls them.
 *
 * Each works on a range of images or shapes, so that threads can share the work. The formulas stand in
 * model/verification/interval_bounds.py and model/layers/warp.py, which the tests hold these against.
 */

#include <math.h>
#include <string.h>

/* As many neighbouring pixels as one instruction takes, and as many of those as the registers hold. */
#ifdef __AVX512F__
enum { WIDTH = 16, LANES = 4 };
#else
enum { WIDTH = 8, LANES = 4 };
#endif
typedef float Lane __attribute__((vector_size(4 * WIDTH), aligned(4)));
typedef int Index __attribute__((vector_size(4 * WIDTH), aligned(4)));

enum { SIDE = 28, STRIDE = 40, EDGE = 4, BLOCK = WIDTH * LANES, LARGEST = 49 };

/* A map of 28 rows in zeros, enough of them for kernels of up to 7x7 and for whole blocks. */
typedef float Padded[(SIDE + 2 * EDGE + 2) * STRIDE];

static void two_step_box(const unsigned char *image, const float *table, Padded lower, Padded upper) {
    memset(lower, 0, sizeof(Padded));
    memset(upper, 0, sizeof(Padded));
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int place = (y + EDGE) * STRIDE + x + EDGE, grey = image[y * SIDE + x];
            lower[place] = table[grey];
            upper[place] = table[256 + grey];
        }
}

/* Offsets of a kernel's taps from the pixel in its centre. */
static int taps(int side, int *offsets) {
    for (int down = 0; down < side; down++)
        for (int right = 0; right < side; right++)
            offsets[down * side + right] = (down - side / 2) * STRIDE + right - side / 2;
    return side * side;
}

/* images (N, 784), table (2, 256), kernels (K, side * side) -> bright, winner (2, N, 784). */
void bright_box(int first, int last, int count, int kernels, int side, const unsigned char *images,
                const float *table, const float *weights, float *bright, unsigned char *winner) {
    int offsets[LARGEST], size = taps(side, offsets), top = EDGE * STRIDE;
    for (int n = first; n < last; n++) {
        Padded ends[2];
        two_step_box(images + n * SIDE * SIDE, table, ends[0], ends[1]);
        float best[2][SIDE * STRIDE + BLOCK];
        int won[2][SIDE * STRIDE + BLOCK];
        for (int start = 0; start < SIDE * STRIDE; start += BLOCK)
            for (int end = 0; end < 2; end++) {
                Lane value[LANES];
                Index index[LANES];
                for (int l = 0; l < LANES; l++) value[l] = (Lane){0} - 1e30f, index[l] = (Index){0};
                for (int k = 0; k < kernels; k++) {
                    Lane response[LANES] = {{0}};
                    for (int t = 0; t < size; t++) {
                        float weight = weights[k * size + t];
                        const float *pixel = ends[weight > 0 ? end : 1 - end] + top + start + offsets[t];
                        for (int l = 0; l < LANES; l++) response[l] += weight * ((const Lane *)pixel)[l];
                    }
                    for (int l = 0; l < LANES; l++) {
                        Index better = response[l] > value[l];
                        value[l] = (Lane)(((Index)response[l] & better) | ((Index)value[l] & ~better));
                        index[l] = (better & k) | (index[l] & ~better);
                    }
                }
                for (int l = 0; l < LANES; l++) {
                    ((Lane *)(best[end] + start))[l] = value[l];
                    ((Index *)(won[end] + start))[l] = index[l];
                }
            }
        for (int end = 0; end < 2; end++)
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < SIDE; x++) {
                    int place = y * STRIDE + x + EDGE, out = ((end * count + n) * SIDE + y) * SIDE + x;
                    bright[out] = fmaxf(best[end][place], 0) / side;
                    winner[out] = won[end][place];
                }
    }
}

/* Adds to of_table (2, 256) and of_weights (K, side * side), zeroed by the caller, one pair a thread. */
void bright_box_backward(int first, int last, int count, int side, const unsigned char *images,
                         const float *table, const float *weights, const float *bright,
                         const unsigned char *winner, const float *gradient, float *of_table,
                         float *of_weights) {
    int offsets[LARGEST], size = taps(side, offsets);
    for (int n = first; n < last; n++) {
        Padded ends[2], of_ends[2];
        two_step_box(images + n * SIDE * SIDE, table, ends[0], ends[1]);
        memset(of_ends, 0, sizeof of_ends);
        for (int end = 0; end < 2; end++)
            for (int pixel = 0; pixel < SIDE * SIDE; pixel++) {
                int at = (end * count + n) * SIDE * SIDE + pixel;
                if (bright[at] <= 0 || gradient[at] == 0) continue;
                float g = gradient[at] / side;
                const float *weight = weights + winner[at] * size;
                float *of_weight = of_weights + winner[at] * size;
                int place = (pixel / SIDE + EDGE) * STRIDE + pixel % SIDE + EDGE;
                for (int t = 0; t < size; t++) {
                    int from = weight[t] > 0 ? end : 1 - end, there = place + offsets[t];
                    of_weight[t] += g * (weight[t] == 0 ? (ends[0][there] + ends[1][there]) / 2 : ends[from][there]);
                    of_ends[from][there] += g * weight[t];
                }
            }
        for (int end = 0; end < 2; end++)
            for (int pixel = 0; pixel < SIDE * SIDE; pixel++) {
                int place = (pixel / SIDE + EDGE) * STRIDE + pixel % SIDE + EDGE;
                of_table[end * 256 + images[n * SIDE * SIDE + pixel]] += of_ends[end][place];
            }
    }
}

/* Narrows [*low, *high] to the x with -1 < slope * x + offset < size, some pixels wider. */
static void clip(float slope, float offset, int size, int *low, int *high) {
    if (fabsf(slope) < 1e-6f) {
        if (offset <= -1.1f || offset >= size + .1f) *high = *low - 1;
        return;
    }
    float a = (-1 - offset) / slope, b = (size - offset) / slope;
    float least = floorf(fminf(a, b)), most = ceilf(fmaxf(a, b));
    if (least > *low) *low = least < SIDE ? (int)least : SIDE;
    if (most < *high) *high = most > -1 ? (int)most : -1;
}

/* A base in a frame of zeros one pixel wide: whoever samples it needs no case for its edge. */
typedef float Framed[(SIDE + 2) * (SIDE + 2)];

static void frame(const float *base, int size, Framed framed) {
    memset(framed, 0, sizeof(Framed));
    for (int row = 0; row < size; row++)
        memcpy(framed + (row + 1) * (size + 2) + 1, base + row * size, size * sizeof(float));
}

/* Where a pose takes the first pixel of a row of the canvas, and the pixels of the row that meet the base. */
typedef struct {
    float u, v;
    int low, high;
} Row;

static Row row_of(const float *map, int size, int y) {
    float half = (SIDE - 1) / 2.f, middle = (size - 1) / 2.f;
    Row row = {.u = map[1] * (y - half) + map[2] + middle - map[0] * half,
               .v = map[4] * (y - half) + map[5] + middle - map[3] * half,
               .high = SIDE - 1};
    clip(map[0], row.u, size, &row.low, &row.high);
    clip(map[3], row.v, size, &row.low, &row.high);
    return row;
}

/* bases (F, size, size), poses (F, P, 2, 3) -> templates (F, P, 784) of norm 1, and the norms (F, P). */
void templates(int first, int last, int poses, int size, const float *bases, const float *maps,
               float *templates, float *norms) {
    int stride = size + 2;
    for (int f = first; f < last; f++) {
        Framed base;
        frame(bases + f * size * size, size, base);
        for (int p = f * poses; p < (f + 1) * poses; p++) {
            const float *map = maps + p * 6;
            float *posed = templates + p * SIDE * SIDE, sum = 0;
            memset(posed, 0, SIDE * SIDE * sizeof(float));
            for (int y = 0; y < SIDE; y++) {
                Row row = row_of(map, size, y);
                for (int x = row.low; x <= row.high; x++) {
                    float u = row.u + map[0] * x + 1, v = row.v + map[3] * x + 1;
                    if (u <= 0 || v <= 0 || u >= size + 1 || v >= size + 1) continue;
                    int left = (int)u, above = (int)v;
                    float right = u - left, below = v - above, *corner = base + above * stride + left;
                    float over = corner[0] + right * (corner[1] - corner[0]);
                    float under = corner[stride] + right * (corner[stride + 1] - corner[stride]);
                    float value = posed[y * SIDE + x] = over + below * (under - over);
                    sum += value * value;
                }
            }
            float norm = norms[p] = sqrtf(sum) + 1e-10f, scale = 1 / norm;
            for (int i = 0; i < SIDE * SIDE; i++) posed[i] *= scale;
        }
    }
}

/* of_bases (F, size, size) and of_maps (F, P, 2, 3), zeroed by the caller. */
void templates_backward(int first, int last, int poses, int size, const float *bases, const float *maps,
                        const float *templates, const float *norms, const float *gradient, float *of_bases,
                        float *of_maps) {
    float half = (SIDE - 1) / 2.f;
    int stride = size + 2;
    for (int f = first; f < last; f++) {
        Framed base, of_base = {0};
        frame(bases + f * size * size, size, base);
        for (int p = f * poses; p < (f + 1) * poses; p++) {
            const float *map = maps + p * 6, *posed = templates + p * SIDE * SIDE;
            const float *g = gradient + p * SIDE * SIDE;
            float along = 0, scale = 1 / norms[p], *of_map = of_maps + p * 6;
            for (int i = 0; i < SIDE * SIDE; i++) along += posed[i] * g[i];
            for (int y = 0; y < SIDE; y++) {
                Row row = row_of(map, size, y);
                float by_u = 0, by_v = 0, by_u_x = 0, by_v_x = 0;
                for (int x = row.low; x <= row.high; x++) {
                    float u = row.u + map[0] * x + 1, v = row.v + map[3] * x + 1;
                    if (u <= 0 || v <= 0 || u >= size + 1 || v >= size + 1) continue;
                    int left = (int)u, above = (int)v, at = above * stride + left;
                    float right = u - left, below = v - above, *corner = base + at, *to = of_base + at;
                    float here = (g[y * SIDE + x] - posed[y * SIDE + x] * along) * scale;
                    float over = here * (1 - below), under = here * below;
                    to[0] += over * (1 - right), to[1] += over * right;
                    to[stride] += under * (1 - right), to[stride + 1] += under * right;
                    float du = over * (corner[1] - corner[0]) + under * (corner[stride + 1] - corner[stride]);
                    float dv = here * (corner[stride] - corner[0] +
                                       right * (corner[stride + 1] - corner[stride] - corner[1] + corner[0]));
                    by_u += du, by_v += dv, by_u_x += du * (x - half), by_v_x += dv * (x - half);
                }
                of_map[0] += by_u_x, of_map[1] += by_u * (y - half), of_map[2] += by_u;
                of_map[3] += by_v_x, of_map[4] += by_v * (y - half), of_map[5] += by_v;
            }
        }
        for (int row = 0; row < size; row++)
            for (int x = 0; x < size; x++)
                of_bases[(f * size + row) * size + x] = of_base[(row + 1) * stride + x + 1];
    }
}
